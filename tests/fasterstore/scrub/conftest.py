"""A node of real storage actors whose files a round reads, and the pieces of a round."""

import pykka
import pytest

from actors.messages import CreateBucket
from fasterstore.metadata.index import IndexView
from fasterstore.scrub.progress import Position
from fasterstore.scrub.round import Round
from fasterstore.storage.disk import RealDisk
from fasterstore.storage.quarantine import Quarantine
from fasterstore.storage.segment import segment_name
from tests.storage_node import Node

BODIES = {b"key-%d" % number: b"%d," % number * (50 + 300 * number) for number in range(12)}


class Scrubbed(Node):
    """A node, and what a round finds in it."""

    def fill(self):
        self.journal.ask(CreateBucket("b"))
        for key, body in BODIES.items():
            self.put(key, body)
        self.settle()
        return self

    def blob(self, key):
        view = IndexView(self.index_path)
        try:
            return view.locate("b", key).blob
        finally:
            view.close()

    def segment_path(self, blob):
        return f"{self.datadir.segments_dir}/{segment_name(blob.location.segment_id)}"

    def rot(self, blob, place):
        """Flip a bit of a record's byte `place`."""
        fd = self.disk.open(self.segment_path(blob))
        offset = blob.location.offset + place
        (byte,) = self.disk.pread(fd, 1, offset)
        self.disk.pwrite(fd, bytes([byte ^ 1]), offset)
        self.disk.close(fd)

    def quarantine(self, **limits):
        return Quarantine(self.disk, self.datadir.quarantine_dir, **{"min_free_bytes": 0, **limits})

    def steps(self, position=None, quarantine=None):
        """Every step of a round from `position` on."""
        made = Round(self.disk, self.datadir, quarantine or self.quarantine(), position or Position())
        try:
            return list(iter(made.step, None))
        finally:
            made.close()

    def damage(self):
        return [found for step in self.steps() for found in step.damage]


@pytest.fixture
def make_scrubbed(tmp_path):
    made = []

    def make(**settings):
        made.append(Scrubbed(tmp_path / f"data-{len(made)}", **settings))
        return made[-1]

    yield make
    for node in made:
        node.stop()
    for ref in pykka.ActorRegistry.get_all():
        ref.kill()


@pytest.fixture
def node(make_scrubbed):
    """Started, with a few records in small segments."""
    return make_scrubbed(segment_target_bytes=16 << 10).start().fill()


@pytest.fixture
def real_node(make_scrubbed):
    return make_scrubbed(disk=RealDisk(), segment_target_bytes=16 << 10).start().fill()
