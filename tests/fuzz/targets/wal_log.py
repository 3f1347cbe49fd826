"""The write-ahead log and its witness after edits of any kind: recovered or refused, and every entry that is read is the one written."""

import functools

from fasterstore.digests import crc32c
from fasterstore.errors import DamagedLog, StorageFull, UnsupportedFormat, VolumeSuspect
from fasterstore.storage import wal_format, wal_recovery, witness
from fasterstore.storage.memory_disk import MemoryDisk
from fasterstore.storage.wal_recovery import read_from, recover
from tests.fuzz.edits import COPY, CUT, FLIP, INSERT, OVERWRITE, ZERO, edited, step

DICTIONARY = [wal_format.FRAME_MAGIC, wal_format.FILE_MAGIC, witness.MAGIC]
FOLDER = "/data/journal"
_REFUSALS = (DamagedLog, UnsupportedFormat, StorageFull, VolumeSuspect)
_FORGED, _WITNESSED, _FIRST_FILE = 1, 2, 4
ENTRIES = [b"entry-%d" % number * (number % 7 + 1) for number in range(1, 25)]


def _random(length: int) -> bytes:
    return b"R" * length


@functools.cache
def _log() -> dict[str, bytes]:
    """The files of a log of 24 entries in frames of three, over two files."""
    disk = MemoryDisk()
    for folder in ("/data", FOLDER):
        disk.mkdir(folder)
    writer = recover(disk, FOLDER, None, 0, _random, rotate_bytes=1200, step_bytes=512).writer
    for first in range(0, len(ENTRIES), 3):
        writer.append(writer.build(ENTRIES[first : first + 3], first + 1))
        writer.sync()
    writer.close()
    files = {name: disk.contents(f"{FOLDER}/{name}") for name in sorted(disk.listdir(FOLDER))}
    assert len(files) >= 2
    return files


def seeds() -> list[bytes]:
    """Nothing changed, each kind of edit, and forged frames."""
    edits = [
        step(FLIP, 700, 1, 3),
        step(CUT, 500, 90),
        step(ZERO, 300, 200),
        step(INSERT, 200, 9, 7),
        step(COPY, 128, 40, 90),
        step(OVERWRITE, 5, 1, 9),
    ]
    plain = [bytes([flags, 0]) + edit for flags in (0, _WITNESSED, _FIRST_FILE) for edit in edits]
    return [b"\x00\x00", b"\x02\x00", *plain, *(bytes([_FORGED, count]) + b"\x04\x00\x00\x00abcd" for count in (0, 1, 2, 255))]


def one_input(data: bytes) -> None:
    """Edit the log, recover and read it. Raises: anything, on a finding."""
    if len(data) < 2:
        return
    flags, script = data[0], data[2:]
    files = dict(_log())
    name = sorted(files)[0 if flags & _FIRST_FILE else -1]
    if flags & _FORGED:
        files[name] = _forged(files[name], data[1], script)
    else:
        files[name] = edited(files[name], script)
    _read_witness(script)
    disk = MemoryDisk()
    for folder in ("/data", FOLDER):
        disk.mkdir(folder)
    for file_name, content in files.items():
        fd = disk.open(f"{FOLDER}/{file_name}", create=True)
        disk.pwrite(fd, content, 0)
        disk.close(fd)
    known_lsn = data[1] % (len(ENTRIES) + 1) if flags & _WITNESSED else 0
    try:
        recovered = recover(disk, FOLDER, None, known_lsn, _random)
    except _REFUSALS:
        return
    assert recovered.head_lsn >= known_lsn
    recovered.writer.close()
    found = []
    try:
        for lsn, entry in read_from(disk, FOLDER, 1):
            found.append(entry)
            assert lsn == len(found)
    except _REFUSALS:
        assert flags & _FORGED
        return
    assert len(found) == recovered.head_lsn
    if not flags & _FORGED:
        assert found == ENTRIES[: len(found)], "an entry that was not written"


def _forged(content: bytes, count: int, payload: bytes) -> bytes:
    """A frame behind the last, valid to the last bit, with whatever payload and count: what only a defect of ours could write."""
    header = wal_format.unpack_file_header(content)
    assert header is not None
    walk = wal_format.FileWalk(content, header).finish()
    packed = wal_format._pack_frame(wal_format.FRAME_MAGIC, len(payload), walk.next_lsn, count, 0, walk.previous_hash)
    body = packed + crc32c(packed, header.crc_seed).to_bytes(4, "little") + payload
    return content[: walk.end] + body + wal_format.blake3(body, key=header.salt).digest()


def _read_witness(script: bytes) -> None:
    good = witness.pack_slot(7, b"u" * 16, 42)
    try:
        slot = witness.unpack_slot(edited(good, script))
    except UnsupportedFormat:
        return
    assert slot in (None, (7, b"u" * 16, 42)), slot


def plant() -> None:
    """A frame is taken for good without its hash."""

    def lax(self: wal_format.FileWalk) -> wal_format.FrameAt | None:
        fields = self._unpack(self.end)
        if fields is None:
            self.reason = "the frame header fails its checksum"
            return None
        offset, end = self.end, self.end + wal_format.FRAME_OVERHEAD_BYTES + fields[1]
        self.end, self.next_lsn, self.previous_hash = end, fields[2] + fields[3], self._data[end - 32 : end]
        return wal_format.FrameAt(offset, end, fields[2], self.next_lsn - 1)

    wal_format.FileWalk._next_frame = lax  # type: ignore[method-assign]
    assert wal_recovery.FileWalk is wal_format.FileWalk
