"""The frame codec between processes: bytes in, typed values out. Owns no socket and no state but a receive buffer.

A frame is {0, 4, u32 little-endian, length of the rest} {4, length, msgpack} of the array [kind, request id, target, tag, fields]:

    kind        int   HELLO, PROGRESS, ASK, TELL, REPLY, FAILURE
    request id  int   pairs ASK with REPLY or FAILURE; chosen by the asker, never used twice on a connection; else 0
    target      str   an actor's name (ASK, TELL), else ""
    tag         int   the type's place in the table below, PLAIN for a value made of msgpack's own types only
    fields      any   the NamedTuple as an array, or the plain value

Both ends are the same build, so there is no version. Nested NamedTuples are rebuilt by their type hints; one decoder per type is
compiled at import. Every length is bounded. Must never trust a length before it was compared with its bound.
"""

import os
import struct
import types
from collections.abc import Callable
from typing import Any, NamedTuple, NewType, Union, get_args, get_origin, get_type_hints

import msgpack

from actors.messages import WIRE_TYPES

HELLO, PROGRESS, ASK, TELL, REPLY, FAILURE = range(6)
PLAIN = -1
MAX_FRAME_BYTES = 4 * 1024 * 1024
"""A longer frame closes the connection."""
MAX_ITEMS = 128 * 1024
"""Elements of one array or map."""
READ_BYTES = 256 * 1024
"""What one read takes at most: three messages with full bodies, or some thousand small ones."""

_PREFIX = struct.Struct("<I")
_FRAME_PARTS = 5


class MalformedFrame(Exception):
    """The peer sent what this build cannot have sent: the connection is closed."""


class Hello(NamedTuple):
    """Storage -> worker, once a connection, when storage is ready: which life and which files this is, and what may be in flight.

    `index_uuid` and `log_uuid` are 16 bytes; `credit_bytes` bounds the frames and `max_depth` the asks without an answer yet.
    """

    epoch: int
    index_uuid: bytes
    log_uuid: bytes
    credit_bytes: int
    max_depth: int


class Greeting(NamedTuple):
    """Worker -> storage, the first frame: the worker's incarnation number."""

    worker: int


class Progress(NamedTuple):
    """Storage -> worker, before Hello: what the start is busy with; `done` of `total` in units that `text` names."""

    text: str
    done: int
    total: int


class Failure(NamedTuple):
    """Fields of a FAILURE: `error` is ActorDeadError or ActorFailure, raised at the asker."""

    error: str
    actor: str
    text: str


class Frame(NamedTuple):
    """One frame as read; `value` is rebuilt."""

    kind: int
    request_id: int
    target: str
    value: Any


def _rebuilder(cls: Any) -> Callable[[Any], Any]:
    """The decoder of one NamedTuple type: checks the number of fields, rebuilds nested types."""
    count = len(cls._fields)
    hints = get_type_hints(cls)
    nested = [(place, convert) for place, name in enumerate(cls._fields) if (convert := _converter(hints[name])) is not None]
    new = tuple.__new__

    def rebuild(fields: Any) -> Any:
        if type(fields) is not list or len(fields) != count:
            raise MalformedFrame(f"{cls.__name__} takes {count} fields")
        for place, convert in nested:
            fields[place] = convert(fields[place])
        return new(cls, fields)

    return rebuild


def _converter(hint: Any) -> Callable[[Any], Any] | None:
    """What turns msgpack's value into the hinted type; None where they are the same.

    Raises: TypeError for a hint that cannot cross the wire, at import.
    """
    if isinstance(hint, NewType):
        return _converter(hint.__supertype__)
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _optional(hint, [convert for arg in args if (convert := _converter(arg)) is not None])
    if hint is tuple or origin is tuple:
        return _sequence(tuple, args)
    if origin is list:
        convert = _converter(args[0])
        return None if convert is None else _sequence(list, args)
    if any(_converter(arg) is not None for arg in args):
        raise TypeError(f"{hint} cannot be rebuilt from the wire")
    if isinstance(hint, type) and issubclass(hint, tuple):
        return _rebuilder(hint)
    return None


def _optional(hint: Any, converts: list[Callable[[Any], Any]]) -> Callable[[Any], Any] | None:
    if not converts:
        return None
    if len(converts) > 1 or len(get_args(hint)) > 2:
        raise TypeError(f"{hint} is ambiguous on the wire")
    convert = converts[0]
    return lambda value: None if value is None else convert(value)


def _sequence(cls: Any, args: tuple[Any, ...]) -> Callable[[Any], Any]:
    item = args[0] if args else Any
    if len(args) > 1 and args[1] is not Ellipsis and any(_converter(arg) is not None for arg in args):
        raise TypeError(f"tuple{list(args)} cannot be rebuilt from the wire")
    convert = None if item is Ellipsis else _converter(item)

    def rebuild(values: Any) -> Any:
        if type(values) is not list:
            raise MalformedFrame("an array was expected")
        return cls(values if convert is None else map(convert, values))

    return rebuild


_TYPES: tuple[type[Any], ...] = (*WIRE_TYPES, Hello, Greeting, Progress, Failure)
_TAGS = {cls: tag for tag, cls in enumerate(_TYPES)}
_REBUILD = [_rebuilder(cls) for cls in _TYPES]
_packer = msgpack.Packer()


def encode(kind: int, request_id: int, target: str, value: Any) -> tuple[bytes, bytes]:
    """A frame as its prefix and its body (apart, so that a large body is not copied once more).

    Raises: TypeError, ValueError, OverflowError if `value` has no place on the wire: not packable, or over MAX_FRAME_BYTES.
    """
    body = _packer.pack((kind, request_id, target, _TAGS.get(type(value), PLAIN), value))
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(f"a frame of {len(body)} bytes with {type(value).__name__}")
    return _PREFIX.pack(len(body)), body


def decode(body: bytes | memoryview) -> Frame:
    """The frame in `body` (without prefix). Raises: MalformedFrame."""
    try:
        kind, request_id, target, tag, fields = msgpack.unpackb(
            body,
            max_str_len=MAX_FRAME_BYTES,
            max_bin_len=MAX_FRAME_BYTES,
            max_array_len=MAX_ITEMS,
            max_map_len=MAX_ITEMS,
            max_ext_len=0,
        )
    except Exception as error:
        # msgpack documents no closed set of errors for bad input; all of them mean the same here.
        raise MalformedFrame(f"{type(error).__name__}: {error}") from None
    if type(kind) is not int or type(request_id) is not int or type(target) is not str or type(tag) is not int:
        raise MalformedFrame("a frame's head has wrong types")
    if tag == PLAIN:
        return Frame(kind, request_id, target, fields)
    if not (0 <= tag < len(_REBUILD) and HELLO <= kind <= FAILURE):
        raise MalformedFrame(f"kind {kind}, tag {tag}")
    return Frame(kind, request_id, target, _REBUILD[tag](fields))


class FrameReader:
    """Cuts a stream into frames; one buffer, read into in place, that grows for a long frame and shrinks after it."""

    __slots__ = ("_buffer", "_end")

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(READ_BYTES))
        self._end = 0

    def read(self, fd: int) -> list[Frame] | None:
        """One read from a non-blocking descriptor and the frames it completes; None at the end of the stream.

        Raises: BlockingIOError, OSError, MalformedFrame.
        """
        count = os.readv(fd, [self._buffer[self._end :]])
        if count == 0:
            return None
        self._end += count
        return self._cut()

    def _cut(self) -> list[Frame]:
        buffer, end = self._buffer, self._end
        frames: list[Frame] = []
        start = 0
        needed = READ_BYTES
        while end - start >= _PREFIX.size:
            (length,) = _PREFIX.unpack_from(buffer, start)
            if length > MAX_FRAME_BYTES:
                raise MalformedFrame(f"a frame of {length} bytes")
            after = start + _PREFIX.size + length
            if after > end:
                needed = max(READ_BYTES, _PREFIX.size + length)
                break
            frames.append(decode(buffer[start + _PREFIX.size : after]))
            start = after
        self._keep(start, needed)
        return frames

    def _keep(self, start: int, needed: int) -> None:
        """Move what lies after `start` to the front of a buffer of `needed` bytes."""
        rest = bytes(self._buffer[start : self._end]) if start else b""
        if len(self._buffer) != needed:
            rest = rest or bytes(self._buffer[start : self._end])
            self._buffer = memoryview(bytearray(needed))
        elif not start:
            return
        self._buffer[: len(rest)] = rest
        self._end = len(rest)
