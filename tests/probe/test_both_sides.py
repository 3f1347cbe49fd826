"""What the comparison of two nodes notices: one object, tag, setting or bucket changed behind its back on a real node."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.node import RunningNode
from tests.probe.both_sides import contents, differences, outline, wait_identical
from tests.probe.two_settings import change, put_tags, tag_header
from tools.client import Client

BUCKET, KEY, BODY = "both", "folder/key", b"body"
HEADERS = {"x-amz-meta-mark": "mark", "content-type": "text/plain", **tag_header({"name": "value"})}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with RunningNode(tmp_path_factory.mktemp("both") / "data", workers=0) as node:
        yield node.client()


@pytest.fixture
def filled(client: Client) -> Client:
    if BUCKET not in client.list_buckets():
        client.create_bucket(BUCKET)
    client.put(BUCKET, KEY, BODY, HEADERS)
    client.put(BUCKET, "other", b"other")
    change(client, BUCKET, "cors", "before")
    return client


PLANTED: dict[str, tuple[Callable[[Client], object], str]] = {
    "bytes": (lambda client: client.put(BUCKET, KEY, b"b0dy", HEADERS), "'bytes'"),
    "metadata": (lambda client: client.put(BUCKET, KEY, BODY, HEADERS | {"x-amz-meta-mark": "replaced"}), "replaced"),
    "header": (lambda client: client.put(BUCKET, KEY, BODY, HEADERS | {"content-type": "text/html"}), "text/html"),
    "tags": (lambda client: put_tags(client, BUCKET, KEY, {"name": "replaced"}), "Value=replaced"),
    "acl": (lambda client: client.request("PUT", BUCKET, KEY, (("acl", ""),), {"x-amz-acl": "public-read"}), "AllUsers"),
    "deleted": (lambda client: client.delete(BUCKET, KEY), "b has None"),
    "added": (lambda client: client.put(BUCKET, "one more", b""), "one more"),
    "setting": (lambda client: change(client, BUCKET, "cors", "after"), "mark.after.example"),
    "setting gone": (lambda client: change(client, BUCKET, "cors", None), "NoSuchCORSConfiguration"),
    "bucket": (lambda client: client.create_bucket("one-more"), "('bucket', 'one-more')"),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_change_behind_its_back_is_noticed(planted: str, filled: Client) -> None:
    do, said = PLANTED[planted]
    before = contents(filled)
    assert not differences(before, contents(filled)), "nothing was changed"
    do(filled)
    found = differences(before, contents(filled))
    assert any(said in line for line in found), found
    assert not any("'other'" in line for line in found), "of an object that nobody touched"


def test_the_same_bytes_under_another_time_are_a_difference_in_the_lists_alone(filled: Client) -> None:
    before = outline(filled)
    time.sleep(1.1)  # headers show whole seconds
    filled.put(BUCKET, KEY, BODY, HEADERS)
    (found,) = differences(before, outline(filled))
    assert KEY in found


def test_waiting_ends_at_once_when_alike_and_at_the_deadline_with_what_is_left(client: Client, tmp_path: Path) -> None:
    left, seen = wait_identical(client, client, time.monotonic() + 30)
    assert not left and seen
    with RunningNode(tmp_path / "data", workers=0) as stranger:
        stranger.client().create_bucket("stranger")
        left, _ = wait_identical(client, stranger.client(), time.monotonic() + 0.5)
        assert any("stranger" in line for line in left)
