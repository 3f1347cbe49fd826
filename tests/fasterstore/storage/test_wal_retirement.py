"""Which log files may go."""

import pytest

from fasterstore.storage.memory_disk import MemoryDisk
from fasterstore.storage.wal import LogFile, log_files
from fasterstore.storage.wal_retirement import retirable_below

FILES = [LogFile(1, 100), LogFile(11, 100), LogFile(21, 100), LogFile(31, 100), LogFile(41, 100)]


def below(*, files=FILES, durable=1000, copy=1000, wanted=(), retention=10_000):
    return retirable_below(files, durable_applied=durable, copy_lsn=copy, wanted_after=wanted, retention_bytes=retention)


def test_all_but_the_current_file_may_go_once_index_and_copies_hold_everything():
    assert below() == 41


@pytest.mark.parametrize(("lsn", "expected"), [(0, 1), (9, 1), (10, 11), (19, 11), (20, 21), (39, 31), (40, 41)])
def test_index_and_older_copy_each_keep_every_file_with_an_entry_they_lack(lsn, expected):
    assert below(durable=lsn) == expected
    assert below(copy=lsn) == expected


def test_a_pin_or_a_peer_keeps_what_lies_above_it():
    assert below(wanted=(35, 15)) == 11
    assert below(wanted=(1000,)) == 41


def test_pins_and_peers_hold_back_the_newest_bytes_only():
    assert below(wanted=(0,), retention=299) == 31
    assert below(wanted=(0,), retention=300) == 21
    assert below(wanted=(0,), retention=0) == 41


def test_retention_never_overrules_index_and_copy():
    assert below(durable=15, wanted=(0,), retention=0) == 11
    assert below(copy=15, wanted=(0,), retention=0) == 11


def test_an_empty_folder_has_nothing_to_give_up():
    assert below(files=[]) == 0


def test_files_are_listed_with_their_lengths_and_nothing_else_is_taken_for_one():
    disk = MemoryDisk()
    disk.mkdir("/j")
    for name, length in (("000000000000000b.wal", 20), ("0000000000000001.wal", 10), ("witness", 5), ("0000000000000015.wal.tmp", 5)):
        disk.pwrite(disk.open(f"/j/{name}", create=True), bytes(length), 0)
    assert log_files(disk, "/j") == [LogFile(1, 10), LogFile(11, 20)]
