"""The small JSON files: read back as written, refused when what they say has changed, believed without a checksum if they are old."""

import json

import pytest

from fasterstore.errors import UnsupportedFormat
from fasterstore.storage.atomic_file import json_bytes, read_json, write_atomically
from fasterstore.storage.memory_disk import MemoryDisk

DOCUMENT = {"version": 1, "key": "AAECAwQ=", "list": [1, 2], "name": {"b": 1, "a": 2}}


def read(data):
    disk = MemoryDisk()
    write_atomically(disk, "/file", data)
    return read_json(disk, "/file")


def test_what_is_written_is_read_without_the_checksum():
    data = json_bytes(DOCUMENT)
    assert json.loads(data) == DOCUMENT | {"crc32": "e2cd7414"}
    assert read(data) == DOCUMENT


def test_an_old_file_has_no_checksum_and_is_believed():
    assert read(json.dumps(DOCUMENT).encode()) == DOCUMENT


def test_every_flipped_bit_is_refused_or_changes_nothing_that_is_said():
    data = json_bytes(DOCUMENT)
    changed_nothing = 0
    for place in range(len(data) * 8):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        try:
            found = read(bytes(flipped))
        except UnsupportedFormat:
            continue
        # A space that became another, or a bit of the checksum's own name.
        assert {name: value for name, value in found.items() if name in DOCUMENT} == DOCUMENT
        changed_nothing += 1
    assert changed_nothing < len(data)


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b'"text"', b"\xff"])
def test_anything_else_is_refused(data):
    with pytest.raises(UnsupportedFormat):
        read(data)
