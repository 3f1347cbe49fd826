"""Journal entries: read, or refused by name; what is read is written back as the same entry."""

from pathlib import Path

import msgpack

from fasterstore.errors import DamagedLog, UnsupportedFormat
from fasterstore.metadata import entries

_GOLDEN = Path(__file__).parents[2] / "golden" / "journal_entries_v1.txt"
DICTIONARY = [bytes([0x94, kind, 1, 0xC4]) for kind in range(1, 32)] + [
    b"\xc0",
    b"\x90",
    b"\x80",
    b"\xc4\x00",
    b"\xdf\xff\xff\xff\xff",
    b"\xdd\xff\xff\xff\xff",
]


def golden() -> list[bytes]:
    """The entries that pin the format."""
    return [bytes.fromhex(line.split()[-1]) for line in _GOLDEN.read_text().splitlines() if line and not line.startswith("#")]


def seeds() -> list[bytes]:
    """Those, whole, and in parts: {0} entry; {1, kind} fields."""
    whole = golden()
    parts = []
    for data in whole:
        kind, _version, logical, annex = msgpack.unpackb(data)
        fields = (msgpack.unpackb(logical) if logical else []) + (msgpack.unpackb(annex) if annex else [])
        parts.append(bytes([1, kind]) + msgpack.packb(fields))
    return [b"\x00" + data for data in whole] + parts


def one_input(data: bytes) -> None:
    """Read one entry. Raises: anything, on a finding."""
    if len(data) < 2:
        return
    raw = data[1:] if data[0] % 2 == 0 else msgpack.packb((data[1] % 40, 1, data[2:], b""))
    try:
        entry = entries.decode(raw)
    except (UnsupportedFormat, DamagedLog):
        return
    written = entries.encode(entry)
    assert entries.encode(entries.decode(written)) == written


def plant() -> None:
    """The number of fields is not looked at."""

    def lax(data: bytes) -> entries.Entry:
        kind, _version, logical, annex = msgpack.unpackb(data)
        return entries._BY_KIND[kind](*msgpack.unpackb(logical), *msgpack.unpackb(annex))

    entries.decode = lax
