"""Regions of the compactor, on the real storage actors and a disk in memory: what is given back is the region and nothing else."""

import pykka
import pytest

from actors import messages as m
from actors import space_messages as space
from actors.runtime import sleep
from fasterstore.storage.segment import segment_name
from tests.faults.memory import SharedMemoryDisk
from tests.storage_node import Node

REGION_BYTES = 160 << 20
"""So long that the chunk table of a record of that length would fill a block of the file."""


@pytest.fixture
def node(tmp_path):
    made = Node(tmp_path / "data", SharedMemoryDisk(), segment_target_bytes=1 << 30).start()
    yield made
    made.stop()
    for ref in pykka.ActorRegistry.get_all():
        ref.kill()


def test_giving_an_aborted_region_back_leaves_the_next_one_alone(node):
    aborted = node.writer.ask(space.ReserveRegion(REGION_BYTES))
    following = node.writer.ask(space.ReserveRegion(4096))
    assert following.offset == aborted.offset + REGION_BYTES
    path = f"{node.datadir.segments_dir}/{segment_name(following.segment_id)}"
    fd = node.disk.open(path)
    node.disk.pwrite(fd, b"x" * 4096, following.offset)
    node.disk.close(fd)
    node.writer.tell(m.AbortExtent(aborted.extent, aborted.epoch))
    while not any(op.kind == "punch" for op in node.disk.ops):
        sleep(0.001)
    assert node.disk.contents(path)[following.offset : following.offset + 4096] == b"x" * 4096
