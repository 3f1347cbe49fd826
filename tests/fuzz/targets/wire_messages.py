"""msgpack messages between the processes: read, or refused as malformed; whole or in pieces, and what is read can be sent again."""

import os
import types
from typing import Any, NewType, Union, get_args, get_origin, get_type_hints

from actors import wire
from actors.messages import WIRE_TYPES
from actors.wire import ASK, FrameReader, MalformedFrame

DICTIONARY = [
    b"\x95\x02\x01\xa1a", b"\xff", b"\xc0", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc6\xff\xff\xff\xff", b"\xc7\x00\x01",
    b"\x90",
]  # fmt: skip
_WHOLE_BYTES = 1 << 16


def sample(hint: Any) -> Any:
    """A value of that type, however deep."""
    if isinstance(hint, NewType):
        return sample(hint.__supertype__)
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return sample(next(arg for arg in args if arg is not type(None)))
    if origin is list:
        return [sample(args[0])]
    if origin is tuple:
        return tuple(sample(arg) for arg in args if arg is not Ellipsis)
    if isinstance(hint, type) and issubclass(hint, tuple) and hasattr(hint, "_fields"):
        hints = get_type_hints(hint)
        return hint(*(sample(hints[name]) for name in hint._fields))
    return {int: 7, str: "text", bytes: b"bytes", bool: True, float: 1.5, dict: {"a": "b"}, tuple: (), list: []}.get(hint)


def seeds() -> list[bytes]:
    """A message of each type; the first byte says whether it comes alone or as a stream."""
    frames = [wire.encode(ASK, 5, "actor", sample(cls)) for cls in (*WIRE_TYPES, wire.Hello, wire.Greeting, wire.Progress, wire.Failure)]
    bodies = [b"\x00" + body for _, body in frames]
    stream = b"".join(prefix + body for prefix, body in frames[:6])
    return [*bodies, b"\x01" + stream, b"\x09" + stream, b"\x01" + b"\xff\xff\xff\xff"]


def one_input(data: bytes) -> None:
    """Read one message, or a stream of them. Raises: anything, on a finding."""
    if not data:
        return
    if data[0] % 2:
        _stream(data[1:], data[0] // 2 + 1)
        return
    frame = _decoded(data[1:])
    if frame is not None:
        _again(frame)


def _decoded(body: bytes) -> wire.Frame | None:
    try:
        return wire.decode(body)
    except MalformedFrame:
        return None


def _again(frame: wire.Frame) -> None:
    try:
        _, body = wire.encode(*frame)
    except (TypeError, ValueError, OverflowError):
        return
    again = wire.encode(*wire.decode(body))[1]
    assert again == body


def _stream(raw: bytes, piece_bytes: int) -> None:
    found = [_read(raw[:_WHOLE_BYTES], size) for size in (piece_bytes, _WHOLE_BYTES)]
    # In pieces the frames before a bad one have been handed out already.
    assert found[0][: len(found[1])] == found[1]


def _read(raw: bytes, piece_bytes: int) -> list[str]:
    reader = FrameReader()
    receiving, sending = os.pipe()
    frames: list[str] = []
    try:
        os.set_blocking(receiving, False)
        for start in range(0, len(raw), piece_bytes):
            os.write(sending, raw[start : start + piece_bytes])
            frames += [repr(frame) for frame in reader.read(receiving) or []]
    except MalformedFrame:
        pass
    finally:
        os.close(receiving)
        os.close(sending)
    return frames


def plant() -> None:
    """The number of a type's fields is not looked at."""

    def rebuilder(cls: Any) -> Any:
        return lambda fields: cls(*fields)

    wire._REBUILD = [rebuilder(cls) for cls in wire._TYPES]
