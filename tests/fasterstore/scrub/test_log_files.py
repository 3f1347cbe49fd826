"""Scrubbing finished journal files: a flipped bit anywhere, a missing link or a swapped file is found; the writer's file is left alone."""

import pytest

from fasterstore.scrub.damage import What
from fasterstore.scrub.log_files import LogScrub
from fasterstore.scrub.progress import Position
from fasterstore.storage.wal import list_files
from fasterstore.storage.wal_format import file_name
from fasterstore.storage.wal_recovery import recover


@pytest.fixture
def log(make_scrubbed):
    """A log of several files on a memory disk, its folder and uuid."""
    node = make_scrubbed()
    made = recover(node.disk, node.datadir.journal_dir, node.datadir.log_uuid, 0, node.random_bytes, rotate_bytes=4096, step_bytes=4096)
    for number in range(40):
        made.writer.append(made.writer.build([b"%d" % number * 200], number + 1))
    made.writer.close()
    return node


BEGINNING = Position("log")


def damage(node, position=BEGINNING):
    found = LogScrub(node.disk, node.datadir.journal_dir, node.datadir.log_uuid).steps(position)
    return [damage for step in found for damage in step.damage]


def paths(node):
    folder = node.datadir.journal_dir
    return [f"{folder}/{file_name(first)}" for first in list_files(node.disk, folder)]


def flip(node, path, offset):
    data = bytearray(node.disk.contents(path))
    data[offset] ^= 1
    node.disk.replace(path, bytes(data))


def test_a_sound_log_is_read_and_nothing_is_found(log):
    assert len(paths(log)) > 3
    assert damage(log) == []


@pytest.mark.parametrize("offset", [5, 40, 130, 190, 700, 3000])
def test_a_flipped_bit_in_a_finished_file_is_found_and_its_place_is_named(log, offset):
    flip(log, paths(log)[1], offset)
    (found,) = damage(log)
    assert found.what is What.LOG
    assert file_name(list_files(log.disk, log.datadir.journal_dir)[1]) in found.reason


def test_the_file_that_is_being_written_is_left_alone(log):
    flip(log, paths(log)[-1], 200)
    assert damage(log) == []


def test_a_file_that_took_the_place_of_another_and_a_gap_are_found(log):
    second, third = paths(log)[1:3]
    log.disk.replace(second, log.disk.contents(third))
    assert "another file" in damage(log)[0].reason


def test_a_file_that_was_retired_meanwhile_is_no_damage(log):
    scrub = LogScrub(log.disk, log.datadir.journal_dir, log.datadir.log_uuid).steps(Position("log"))
    first = next(scrub)
    log.disk.unlink(paths(log)[1])
    assert [found for step in [first, *scrub] for found in step.damage] == []


def test_a_round_goes_on_behind_the_file_it_has_read(log):
    flip(log, paths(log)[0], 200)
    first = list_files(log.disk, log.datadir.journal_dir)[0]
    assert damage(log, Position("log", "", first)) == []
