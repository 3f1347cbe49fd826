import pytest

from actors.directory import Directory
from actors.runtime import GeventActor, ask
from actors.transport import RemoteRef
from fasterstore.errors import InvariantError


class Named(GeventActor):
    def on_receive(self, message):
        return self.name


def test_a_registered_name_gives_its_ref_local_or_remote():
    directory = Directory()
    local, remote = Named.start(name="local one"), RemoteRef(lambda: None, "remote one")
    directory.register("cache", local)
    directory.register("metadata-journal", remote)
    assert ask(directory.get("cache"), 1, 5) == "local one"
    assert directory.get("metadata-journal") is remote
    assert directory.names() == ["cache", "metadata-journal"]
    local.stop(timeout=5)


def test_a_name_registered_again_passes_to_the_new_ref():
    directory = Directory()
    former, present = RemoteRef(lambda: None, "a"), RemoteRef(lambda: None, "b")
    directory.register("cache", former)
    directory.register("cache", present)
    assert directory.get("cache") is present


def test_an_unknown_name_is_a_defect_for_get_and_none_for_find():
    directory = Directory()
    with pytest.raises(InvariantError, match="no actor is registered as 'cache'"):
        directory.get("cache")
    assert directory.find("cache") is None
