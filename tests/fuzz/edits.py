"""Turns fuzz input into edits of bytes that are protected by checksums, which random bytes would never get past."""

from collections.abc import Iterator

STEP_BYTES = 6
EDITS_MAX = 32
FLIP, CUT, ZERO, INSERT, COPY, OVERWRITE = range(6)


def edited(base: bytes, script: bytes) -> bytes:
    """`base` after the edits that `script` says: six bytes each {operation, offset u24, length, byte}."""
    content = bytearray(base)
    for operation, at, length, value in steps(script):
        at %= len(content) + 1
        if operation == FLIP and at < len(content):
            content[at] ^= 1 << (value % 8)
        elif operation == CUT:
            del content[at : at + length]
        elif operation == ZERO:
            content[at : at + length] = bytes(min(length, len(content) - at))
        elif operation == INSERT:
            content[at:at] = bytes([value]) * length
        elif operation == COPY:
            piece = content[at : at + length * 4]
            target = value * 8 % (len(content) + 1)
            content[target : target + len(piece)] = piece
        elif operation == OVERWRITE and at < len(content):
            content[at] = value
    return bytes(content)


def steps(script: bytes) -> Iterator[tuple[int, int, int, int]]:
    """(operation, offset, length, byte) of each edit."""
    for start in range(0, min(len(script), EDITS_MAX * STEP_BYTES) - STEP_BYTES + 1, STEP_BYTES):
        step = script[start : start + STEP_BYTES]
        yield step[0] % 6, int.from_bytes(step[1:4], "little"), step[4], step[5]


def step(operation: int, at: int, length: int = 1, value: int = 0) -> bytes:
    """The six bytes of one edit."""
    return bytes([operation]) + at.to_bytes(3, "little") + bytes([length, value])
