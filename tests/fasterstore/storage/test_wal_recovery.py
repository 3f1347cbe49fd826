"""What recovery decides: torn, damaged or clean, case by case; each acknowledged frame is found or its loss is named."""

import errno
import os
import random
from typing import NamedTuple

import pytest

from fasterstore.digests import crc32c
from fasterstore.errors import DamagedLog, StorageFull, UnsupportedFormat, VolumeSuspect
from fasterstore.storage import wal_format
from fasterstore.storage.memory_disk import MemoryDisk
from fasterstore.storage.wal import WalWriter
from fasterstore.storage.wal_recovery import Recovered, list_files, read_from, recover

FOLDER = "/journal"
LOG = bytes(range(16))
ROTATE_BYTES = 900
STEP_BYTES = 256


class Placed(NamedTuple):
    """One appended frame: where it lies, and its LSNs."""

    path: str
    offset: int
    end: int
    first_lsn: int
    last_lsn: int


def start(disk: MemoryDisk, witness_lsn: int = 0, log_uuid: bytes | None = LOG, verify_from_lsn: int = 1) -> Recovered:
    return recover(
        disk, FOLDER, log_uuid, witness_lsn, os.urandom,
        verify_from_lsn=verify_from_lsn, rotate_bytes=ROTATE_BYTES, step_bytes=STEP_BYTES,
    )  # fmt: skip


def empty_log() -> tuple[MemoryDisk, WalWriter]:
    disk = MemoryDisk()
    disk.mkdir(FOLDER)
    disk.fsync_dir("/")
    return disk, start(disk).writer


def put(disk: MemoryDisk, writer: WalWriter, *entries: bytes, sync: bool = True) -> Placed:
    frame = writer.build(list(entries), writer.head_lsn + 1)
    writer.reserve(len(frame.data))
    writer.write(frame)
    if sync:
        writer.sync()
    path = f"{FOLDER}/{frame.file_first_lsn:016x}.wal"
    offset = disk.contents(path).index(frame.data)
    return Placed(path, offset, offset + len(frame.data), frame.first_lsn, frame.last_lsn)


def build_log(frames: int = 12) -> tuple[MemoryDisk, list[Placed]]:
    """A log of frames with one to three entries each, several to a file and several files."""
    disk, writer = empty_log()
    return disk, [put(disk, writer, *(b"entry %d of %d" % (part, n) for part in range(n % 3 + 1))) for n in range(frames)]


def change(disk: MemoryDisk, path: str, offset: int, data: bytes) -> None:
    content = bytearray(disk.contents(path))
    content[offset : offset + len(data)] = data
    disk.replace(path, bytes(content))


def flip(disk: MemoryDisk, path: str, offset: int, bit: int = 0) -> None:
    change(disk, path, offset, bytes([disk.contents(path)[offset] ^ 1 << bit]))


def lsns(disk: MemoryDisk) -> list[int]:
    return [lsn for lsn, _entry in read_from(disk, FOLDER, 1)]


def assert_goes_on(disk: MemoryDisk, head_lsn: int) -> None:
    """The recovered log takes more entries, and a second recovery finds them all and nothing torn."""
    again = start(disk, head_lsn)
    assert (again.head_lsn, again.torn_bytes, again.torn_copy_path) == (head_lsn, 0, None)
    put(disk, again.writer, b"after")
    last = start(disk, head_lsn + 1)
    assert (last.head_lsn, last.torn_bytes) == (head_lsn + 1, 0)
    assert lsns(disk) == list(range(1, head_lsn + 2))


def test_an_empty_folder_becomes_a_new_log():
    disk, writer = empty_log()
    assert (writer.head_lsn, writer.durable_lsn, writer.log_uuid) == (0, 0, LOG)
    assert list(read_from(disk, FOLDER, 1)) == []
    assert_goes_on(disk, 0)


def test_an_empty_folder_whose_log_was_durable_is_damage():
    disk = MemoryDisk()
    disk.mkdir(FOLDER)
    with pytest.raises(DamagedLog, match="no log file"):
        start(disk, witness_lsn=1)
    assert disk.listdir(FOLDER) == []


def test_a_log_keeps_its_uuid_and_another_one_is_refused():
    disk, frames = build_log()
    assert start(disk, log_uuid=None).writer.log_uuid == LOG
    with pytest.raises(DamagedLog, match="belongs to the log"):
        start(disk, log_uuid=b"x" * 16)
    assert start(disk, frames[-1].last_lsn).head_lsn == frames[-1].last_lsn


def test_a_clean_log_is_found_whole():
    disk, frames = build_log()
    assert len(list_files(disk, FOLDER)) >= 3
    recovered = start(disk, frames[-1].last_lsn)
    assert recovered[1:] == (frames[-1].last_lsn, 0, None)
    assert recovered.writer.durable_lsn == frames[-1].last_lsn
    assert_goes_on(disk, frames[-1].last_lsn)


@pytest.mark.parametrize("rest", ["cut", "zeros", "garbage"])
def test_a_tail_torn_at_any_byte_of_the_last_frame_is_copied_aside_and_dropped(rest):
    disk, frames = build_log(5)
    last = frames[-1]
    whole = disk.contents(last.path)
    for place in range(last.offset, last.end):
        kept = whole[:place]
        torn = kept + {"cut": b"", "zeros": bytes(1000), "garbage": b"\xaa" * 300}[rest]
        case = MemoryDisk()
        case.mkdir(FOLDER)
        for lsn in list_files(disk, FOLDER):
            name = wal_format.file_name(lsn)
            case.close(case.open(f"{FOLDER}/{name}", create=True))
            case.replace(f"{FOLDER}/{name}", disk.contents(f"{FOLDER}/{name}"))
        case.replace(last.path, torn)
        aside = torn[last.offset :].rstrip(b"\0")
        recovered = start(case, witness_lsn=last.first_lsn - 1)
        assert (recovered.head_lsn, recovered.torn_bytes) == (last.first_lsn - 1, len(aside))
        if aside:
            assert recovered.torn_copy_path is not None
            assert case.contents(recovered.torn_copy_path) == aside
        else:
            assert recovered.torn_copy_path is None
        assert case.contents(last.path) == whole[: last.offset]
        assert_goes_on(case, last.first_lsn - 1)


def test_a_flipped_bit_is_a_torn_tail_in_the_last_frame_and_damage_in_any_other():
    disk, frames = build_log()
    rng = random.Random(11)
    for frame in frames:
        for place in range(frame.offset, frame.end):
            case = disk.snapshot()
            flip(case, frame.path, place, rng.randrange(8))
            if frame is frames[-1]:
                assert start(case, frame.first_lsn - 1).head_lsn == frame.first_lsn - 1
                continue
            with pytest.raises(DamagedLog, match=f"{frame.path} at offset {frame.offset}:"):
                start(case)
            with pytest.raises(DamagedLog):
                lsns(case)


def test_a_flipped_bit_in_any_file_header_is_damage():
    disk, _frames = build_log()
    for first in list_files(disk, FOLDER):
        path = f"{FOLDER}/{wal_format.file_name(first)}"
        for place in range(wal_format.FILE_HEADER_BYTES):
            case = disk.snapshot()
            flip(case, path, place, place % 8)
            with pytest.raises(DamagedLog, match=f"{path} at offset 0"):
                start(case)


def test_damage_changes_nothing_on_the_disk():
    disk, frames = build_log()
    flip(disk, frames[0].path, frames[0].end - 1)
    ops = len(disk.ops)
    for _attempt in range(2):
        with pytest.raises(DamagedLog):
            start(disk)
    assert len(disk.ops) == ops


def test_a_witness_above_the_tail_is_damage_whatever_the_tail_looks_like():
    disk, frames = build_log()
    last = frames[-1]
    with pytest.raises(DamagedLog, match=f"{last.path} at offset {last.end}"):
        start(disk.snapshot(), last.last_lsn + 1)
    for tail in (b"", b"\xff"):
        for witness_lsn in (last.first_lsn, last.last_lsn):
            case = disk.snapshot()
            case.replace(last.path, disk.contents(last.path)[: last.offset] + tail)
            with pytest.raises(DamagedLog, match=f"{last.path} at offset {last.offset}"):
                start(case, witness_lsn)


def test_an_intact_header_behind_a_bad_frame_speaks_even_if_its_own_frame_is_torn():
    disk, frames = build_log(11)
    before, last = frames[-2:]
    assert before.path == last.path
    for place in (before.offset, before.offset + 70, before.end - 1):
        case = disk.snapshot()
        change(case, last.path, last.offset + 64, bytes(last.end - last.offset - 64))
        flip(case, before.path, place)
        with pytest.raises(DamagedLog, match=f"LSN {before.first_lsn} was durable"):
            start(case)


def test_two_frames_under_one_sync_are_torn_together_when_the_first_did_not_arrive():
    disk, writer = empty_log()
    put(disk, writer, b"durable")
    lost, _kept = put(disk, writer, b"unsynced", sync=False), put(disk, writer, b"unsynced too", sync=False)
    for gap in (bytes(lost.end - lost.offset), b"\xee" * 20):
        case = disk.snapshot()
        change(case, lost.path, lost.offset, gap)
        recovered = start(case, 1)
        assert recovered.head_lsn == 1
        assert recovered.torn_copy_path is not None
        assert b"unsynced too" in case.contents(recovered.torn_copy_path)
        assert_goes_on(case, 1)


def test_bytes_of_a_client_never_pass_for_a_later_frame():
    disk, writer = empty_log()
    packed = wal_format._FRAME_HEADER.pack(wal_format.FRAME_MAGIC, 0, 99, 1, 98, bytes(32))
    planted = packed + crc32c(packed).to_bytes(4, "little")
    other = wal_format.build_frame(wal_format.make_file_header(LOG, bytes(32), 1, bytes(32), 0), [b"e"], 99, 98, bytes(32))
    last = put(disk, writer, b"x" + planted + b"y" + other.data)
    flip(disk, last.path, last.offset + 70)
    assert start(disk).head_lsn == 0
    assert_goes_on(disk, 0)


def test_an_earlier_frame_in_the_place_of_the_next_is_damage():
    disk, frames = build_log()
    last = frames[-1]
    content = disk.contents(last.path)
    again = content[last.offset : last.end]
    disk.replace(last.path, content[: last.end] + again)
    with pytest.raises(DamagedLog, match=f"at offset {last.end}: .*does not follow"):
        start(disk)


def test_a_missing_file_is_damage_unless_it_is_the_oldest():
    disk, frames = build_log()
    firsts = list_files(disk, FOLDER)
    head_lsn = frames[-1].last_lsn
    for first in firsts:
        for verify_from_lsn in (1, head_lsn + 1):
            case = disk.snapshot()
            case.unlink(f"{FOLDER}/{wal_format.file_name(first)}")
            if first == firsts[0]:
                assert start(case, head_lsn).head_lsn == head_lsn
                with pytest.raises(DamagedLog, match=f"begins at LSN {firsts[1]}"):
                    lsns(case)
                assert next(iter(read_from(case, FOLDER, firsts[1])))[0] == firsts[1]
            else:
                with pytest.raises(DamagedLog, match="is missing|was durable"):
                    start(case, head_lsn, verify_from_lsn=verify_from_lsn)
                if first != firsts[-1]:
                    with pytest.raises(DamagedLog):
                        lsns(case)


def test_a_file_under_another_files_name_is_damage():
    disk, _frames = build_log()
    firsts = list_files(disk, FOLDER)
    paths = [f"{FOLDER}/{wal_format.file_name(first)}" for first in firsts]
    for path in paths[1:]:
        case = disk.snapshot()
        case.replace(path, disk.contents(paths[0]))
        with pytest.raises(DamagedLog, match=f"{path} at offset 0: the file begins at LSN 1"):
            start(case)


def test_a_file_cut_at_a_frame_is_damage_unless_it_is_the_last():
    disk, frames = build_log()
    frame = next(frame for frame, following in zip(frames, frames[1:], strict=False) if frame.path != following.path)
    disk.replace(frame.path, disk.contents(frame.path)[: frame.offset])
    with pytest.raises(DamagedLog, match=f"{frame.path} at offset {frame.offset}: the file ends at LSN {frame.first_lsn - 1}"):
        start(disk)
    with pytest.raises(DamagedLog):
        lsns(disk)


def test_anything_behind_the_last_frame_of_a_file_is_damage_unless_the_file_is_the_last():
    disk, frames = build_log()
    frame = next(frame for frame, following in zip(frames, frames[1:], strict=False) if frame.path != following.path)
    disk.replace(frame.path, disk.contents(frame.path)[: frame.end] + b"\1")
    with pytest.raises(DamagedLog, match=f"{frame.path} at offset {frame.end}"):
        start(disk)
    with pytest.raises(DamagedLog, match=f"{frame.path} at offset {frame.end}"):
        lsns(disk)


def test_a_last_file_without_frames_that_follows_another_log_end_is_damage():
    disk, _frames = build_log(5)
    start(disk).writer.reserve(ROTATE_BYTES * 2)
    path = f"{FOLDER}/{wal_format.file_name(list_files(disk, FOLDER)[-1])}"
    header = wal_format.unpack_file_header(disk.contents(path))
    assert header is not None
    disk.replace(path, wal_format.pack_file_header(header._replace(previous_hash=b"other" * 6 + b"ab")))
    with pytest.raises(DamagedLog, match=f"{path} at offset 0: the file does not follow"):
        start(disk)
    with pytest.raises(DamagedLog):
        lsns(disk)


def test_files_that_will_not_be_replayed_are_checked_by_header_only():
    disk, frames = build_log()
    head_lsn = frames[-1].last_lsn
    old = frames[0]
    flip(disk, old.path, old.end - 1)
    later = next(frame for frame in frames if frame.path != old.path)
    with pytest.raises(DamagedLog):
        start(disk, verify_from_lsn=later.first_lsn - 1)
    assert start(disk, verify_from_lsn=later.first_lsn).head_lsn == head_lsn
    assert next(iter(read_from(disk, FOLDER, later.first_lsn)))[0] == later.first_lsn
    flip(disk, old.path, 60)
    with pytest.raises(DamagedLog):
        start(disk, verify_from_lsn=head_lsn + 1)


def log_with_a_file_begun(content: bytes) -> tuple[MemoryDisk, str, int]:
    """A log whose last file, first LSN head + 1, holds `content` and never held a frame."""
    disk, frames = build_log(5)
    head_lsn = frames[-1].last_lsn
    path = f"{FOLDER}/{wal_format.file_name(head_lsn + 1)}"
    disk.close(disk.open(path, create=True))
    disk.replace(path, content)
    return disk, path, head_lsn


UNREADABLE = [b"", bytes(20), bytes(128), bytes(1000), b"FSWL\1\0", b"\xff" * 128 + bytes(500)]


@pytest.mark.parametrize("content", UNREADABLE)
@pytest.mark.parametrize("verify_all", [True, False])
def test_a_last_file_whose_creation_was_torn_is_made_again(content, verify_all):
    disk, path, head_lsn = log_with_a_file_begun(content)
    recovered = start(disk, head_lsn, verify_from_lsn=1 if verify_all else head_lsn + 1)
    aside = content.rstrip(b"\0")
    assert (recovered.head_lsn, recovered.torn_bytes) == (head_lsn, len(aside))
    if aside:
        assert recovered.torn_copy_path is not None
        assert disk.contents(recovered.torn_copy_path) == aside
    assert wal_format.unpack_file_header(disk.contents(path)) is not None
    assert_goes_on(disk, head_lsn)


@pytest.mark.parametrize("content", UNREADABLE)
def test_a_first_file_whose_creation_was_torn_is_made_again(content):
    disk = MemoryDisk()
    disk.mkdir(FOLDER)
    path = f"{FOLDER}/{wal_format.file_name(1)}"
    disk.close(disk.open(path, create=True))
    disk.replace(path, content)
    with pytest.raises(DamagedLog):
        start(disk, 1)
    assert start(disk).head_lsn == 0
    assert_goes_on(disk, 0)


@pytest.mark.parametrize("content", UNREADABLE)
def test_an_unreadable_last_file_that_held_durable_entries_is_damage(content):
    disk, path, head_lsn = log_with_a_file_begun(content)
    with pytest.raises(DamagedLog, match=f"{path} at offset 0: .*LSN {head_lsn + 1} was durable"):
        start(disk, head_lsn + 1)
    disk.replace(path, content.ljust(128, b"\0") + b"anything")
    with pytest.raises(DamagedLog, match="something behind it"):
        start(disk, head_lsn)


def test_an_unreadable_last_file_that_does_not_follow_is_damage():
    disk, path, head_lsn = log_with_a_file_begun(b"")
    for lsn in (head_lsn, head_lsn + 2):
        case = disk.snapshot()
        case.rename(path, f"{FOLDER}/{wal_format.file_name(lsn)}")
        with pytest.raises(DamagedLog, match=f"the file ends at LSN {head_lsn}"):
            start(case, head_lsn)
    for first in list_files(disk, FOLDER)[:-1]:
        disk.unlink(f"{FOLDER}/{wal_format.file_name(first)}")
    with pytest.raises(DamagedLog, match="no file leads up"):
        start(disk)


def test_an_empty_last_file_is_taken_up():
    disk, frames = build_log(5)
    writer = start(disk).writer
    writer.reserve(ROTATE_BYTES * 2)
    head_lsn = frames[-1].last_lsn
    assert list_files(disk, FOLDER)[-1] == head_lsn + 1
    with pytest.raises(DamagedLog):
        start(disk.snapshot(), head_lsn + 1)
    assert_goes_on(disk, head_lsn)


def test_a_later_version_is_refused_and_never_taken_for_torn():
    disk, path, head_lsn = log_with_a_file_begun(b"")
    header = bytearray(wal_format.pack_file_header(wal_format.make_file_header(LOG, bytes(32), head_lsn + 1, bytes(32), 1)))
    header[4] = 2
    header[124:] = crc32c(bytes(header[:124])).to_bytes(4, "little")
    disk.replace(path, bytes(header))
    with pytest.raises(UnsupportedFormat):
        start(disk)
    assert disk.contents(path) == header


def test_left_over_temporary_files_are_removed_and_other_files_left_alone():
    disk, frames = build_log(3)
    for name in ("0000000000000099.wal.tmp", "witness", "readme.txt"):
        disk.close(disk.open(f"{FOLDER}/{name}", create=True))
    assert start(disk).head_lsn == frames[-1].last_lsn
    assert {name for name in disk.listdir(FOLDER) if parsed(name) is None} == {"witness", "readme.txt"}


def parsed(name: str) -> int | None:
    return wal_format.parse_file_name(name)


def torn_log() -> tuple[MemoryDisk, int]:
    disk, frames = build_log(5)
    last = frames[-1]
    flip(disk, last.path, last.end - 1)
    return disk, last.first_lsn - 1


def test_a_full_disk_refuses_the_start_and_leaves_the_log_as_it_was():
    disk, head_lsn = torn_log()
    before = {name: disk.contents(f"{FOLDER}/{name}") for name in disk.listdir(FOLDER)}
    disk.capacity_bytes = sum(map(len, before.values())) + 100
    with pytest.raises(StorageFull):
        start(disk, head_lsn)
    assert {name: disk.contents(f"{FOLDER}/{name}") for name in before} == before
    disk.capacity_bytes = None
    assert start(disk, head_lsn).head_lsn == head_lsn
    assert_goes_on(disk, head_lsn)


@pytest.mark.parametrize("operation", ["open", "pread", "truncate", "pwrite", "fsync", "rename", "mkdir", "fsync_dir", "unlink"])
@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC])
def test_a_start_that_fails_anywhere_says_so_and_the_next_one_finds_the_same(operation, error):
    expected = VolumeSuspect if error == errno.EIO else StorageFull
    torn, head_lsn = torn_log()
    torn.close(torn.open(f"{FOLDER}/0000000000000001.wal.tmp", create=True))
    for after in range(20):
        disk = torn.snapshot()
        disk.fail_next(operation, error, after=after)
        try:
            start(disk, head_lsn)
        except expected:
            # The same page cache, as after a kill; then a power cut at the end of the second start.
            assert start(disk, head_lsn).head_lsn == head_lsn
            for state in disk.crash_states(len(disk.ops), random.Random(after), 10):
                assert_goes_on(state, head_lsn)
        else:
            assert after > 0, "this operation is never used"
            return
