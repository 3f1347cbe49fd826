"""Scrubbing kept copies of the index: a rotted page or row is found and named; a copy that goes meanwhile is no damage."""

import os

import apsw
import pytest

from fasterstore.metadata.index import open_connection
from fasterstore.scrub.damage import What
from fasterstore.scrub.index_copies import CopyScrub
from fasterstore.scrub.progress import Position


@pytest.fixture
def copies(node, tmp_path):
    """The paths of two copies of the node's index, in a folder of their own."""
    made = []
    for name in ("0005.copy", "0006.copy"):
        made.append(str(tmp_path / "copies" / name))
        os.makedirs(tmp_path / "copies", exist_ok=True)
        connection = open_connection(node.index_path, apsw.SQLITE_OPEN_READWRITE, 1024)
        connection.execute("VACUUM INTO ?", (made[-1],))
        connection.close()
    return made


def damage(copies, at=""):
    steps = CopyScrub(os.path.dirname(copies[0])).steps(Position("copies", at))
    return [found for step in steps for found in step.damage]


def flip(path, offset):
    with open(path, "r+b") as file:
        file.seek(offset)
        (byte,) = file.read(1)
        file.seek(offset)
        file.write(bytes([byte ^ 1]))


def test_sound_copies_are_read_and_nothing_is_left_beside_them(copies):
    assert damage(copies) == []
    assert sorted(os.listdir(os.path.dirname(copies[0]))) == ["0005.copy", "0006.copy"]


@pytest.mark.parametrize("offset", [40, 2 * 4096 + 2000, 5 * 4096 + 3900])
def test_a_page_that_rotted_is_found_and_its_copy_named(copies, offset):
    flip(copies[1], offset)
    found = damage(copies)
    assert {one.what for one in found} == {What.COPY}
    assert all("0006.copy" in one.reason for one in found)
    assert damage(copies, "0007.copy") == [], "a round that stood behind it goes on behind it"


def test_the_index_of_a_pinned_snapshot_is_read_too_and_an_unfinished_one_is_not(copies):
    folder = os.path.dirname(copies[0])
    for name in ("before-upgrade", "half.tmp"):
        os.makedirs(f"{folder}/pins/{name}")
        with open(copies[0], "rb") as file, open(f"{folder}/pins/{name}/index.db", "wb") as copy:
            copy.write(file.read())
        flip(f"{folder}/pins/{name}/index.db", 3 * 4096 + 2000)
    assert {found.reason.partition(": ")[0] for found in damage(copies)} == {"snapshots/pins/before-upgrade/index.db"}


def test_a_copy_that_goes_meanwhile_is_no_damage(copies):
    steps = CopyScrub(os.path.dirname(copies[0])).steps(Position("copies"))
    next(steps)
    os.unlink(copies[1])
    assert [found for step in steps for found in step.damage] == []


def test_no_folder_is_no_copy(tmp_path):
    assert list(CopyScrub(str(tmp_path / "none")).steps(Position("copies"))) == []
