"""Names of kept copies, pinned; which log they still need; moving and copying database files."""

import os

import pytest

from fasterstore.storage.disk import RealDisk
from fasterstore.storage.kept_copies import KeptCopy, copy_file, files_of, list_copies, log_mark, move_aside, newest_lsn, older_lsn, whole

LOG = bytes.fromhex("00a1b2c3") + bytes(12)
NAME = "00000000000012ab-018bcfe5687b-00a1b2c3.copy"
COPY = KeptCopy(0x12AB, 1_700_000_000_123, "00a1b2c3", "copy")


@pytest.fixture
def folder(tmp_path):
    return str(tmp_path)


def touch(folder, *names):
    for name in names:
        with open(os.path.join(folder, name), "wb") as file:
            file.write(name.encode())


def test_the_name_is_the_documented_one_and_means_the_copy(folder):
    assert COPY.name == NAME
    touch(folder, NAME)
    assert list_copies(RealDisk(), folder) == [COPY]
    assert log_mark(LOG) == COPY.mark


def test_other_names_and_copies_of_another_log_are_left_alone(folder):
    touch(folder, NAME, "x", "pins", NAME + "-wal", NAME.upper(), NAME.replace("copy", "old"), "12ab-1-00a1b2c3.copy")
    touch(folder, NAME.replace("00a1b2c3", "ffffffff"))
    assert list_copies(RealDisk(), folder, LOG) == [COPY]
    assert len(list_copies(RealDisk(), folder)) == 2


def test_copies_are_ordered_by_lsn_whatever_their_kind(folder):
    touch(folder, *(COPY._replace(lsn=lsn, kind=kind).name for lsn, kind in ((9, "copy"), (3, "roll"), (20, "copy"), (1, "roll.tmp"))))
    found = list_copies(RealDisk(), folder, LOG)
    assert [copy.lsn for copy in found] == [1, 3, 9, 20]
    assert [copy.lsn for copy in whole(found)] == [9, 20]
    assert newest_lsn(found) == 20
    assert newest_lsn([]) == 0


def copies(*pairs):
    return [COPY._replace(lsn=lsn, kind=kind) for lsn, kind in pairs]


def test_the_log_is_needed_from_the_older_of_the_two_newest_copies_and_a_roll_counts_with_where_it_began():
    assert older_lsn([]) == 0
    assert older_lsn(copies((50, "copy"))) == 0
    assert older_lsn(copies((50, "copy"), (60, "copy"))) == 50
    assert older_lsn(copies((50, "roll"), (60, "copy"))) == 50
    assert older_lsn(copies((0, "roll"), (60, "copy"))) == 0
    assert older_lsn(copies((60, "copy"), (50, "roll.tmp"))) == 0
    assert older_lsn(copies((10, "copy"), (50, "copy"), (60, "copy"))) == 50


def test_a_database_is_moved_aside_with_what_lies_beside_it_and_never_onto_another(folder):
    quarantine = os.path.join(folder, "quarantine")
    os.mkdir(quarantine)
    for number in range(3):
        touch(folder, "i.db", "i.db-wal")
        target = move_aside(RealDisk(), os.path.join(folder, "i.db"), quarantine, "i.db")
        assert target == os.path.join(quarantine, "i.db" if number == 0 else f"i.db.{number}")
        assert files_of(RealDisk(), target) == [target, target + "-wal"]
        assert files_of(RealDisk(), os.path.join(folder, "i.db")) == []
    assert len(os.listdir(quarantine)) == 6


def test_a_file_is_copied_whole_over_whatever_was_there(folder):
    source, target = os.path.join(folder, "a"), os.path.join(folder, "b")
    body = os.urandom((1 << 20) + 5)
    with open(source, "wb") as file:
        file.write(body)
    with open(target, "wb") as file:
        file.write(bytes(3 << 20))
    steps = list(copy_file(RealDisk(), source, target))
    assert steps == [(1 << 20, len(body)), (len(body), len(body))]
    with open(target, "rb") as file:
        assert file.read() == body
