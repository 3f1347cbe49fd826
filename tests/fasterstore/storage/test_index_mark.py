"""The mark that makes the next start rebuild the index."""

import random

import pytest

from fasterstore.storage.datadir import open_datadir
from fasterstore.storage.index_mark import clear_index_mark, index_damage, mark_index_damaged
from fasterstore.storage.memory_disk import MemoryDisk


@pytest.fixture
def disk():
    return MemoryDisk()


@pytest.fixture
def datadir(disk):
    return open_datadir(disk, "/data", random.Random(1).randbytes)


def test_there_is_none_until_damage_was_found(disk, datadir):
    assert index_damage(disk, datadir) == ""
    clear_index_mark(disk, datadir)


def test_it_says_what_was_found_on_one_line_and_can_be_cleared(disk, datadir):
    mark_index_damaged(disk, datadir, "page 7\nfails its checksum")
    mark_index_damaged(disk, datadir, "page 8\nfails its checksum")
    assert index_damage(disk, datadir) == "page 8 fails its checksum"
    clear_index_mark(disk, datadir)
    assert index_damage(disk, datadir) == ""


def test_a_mark_without_text_is_a_mark(disk, datadir):
    mark_index_damaged(disk, datadir, " \n")
    assert index_damage(disk, datadir)


def test_it_survives_a_power_cut_and_so_does_its_removal(disk, datadir):
    mark_index_damaged(disk, datadir, "found")
    marked = disk.mark("marked")
    clear_index_mark(disk, datadir)
    cleared = disk.mark("cleared")
    rng = random.Random(2)
    assert {index_damage(state, datadir) for state in disk.crash_states(marked, rng, 20)} == {"found"}
    assert {index_damage(state, datadir) for state in disk.crash_states(cleared, rng, 20)} == {""}
