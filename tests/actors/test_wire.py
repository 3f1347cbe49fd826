import os
import socket
import struct
from typing import NamedTuple

import msgpack
import pytest

from actors import messages, wire
from actors.wire import ASK, MAX_FRAME_BYTES, PLAIN, REPLY, FrameReader, MalformedFrame, decode, encode
from fasterstore.metadata.upload_schema import pack_map
from fasterstore.model import (
    PARTS_MAX,
    SLICES_MAX,
    BlobLocation,
    CompleteIntent,
    CopyIntent,
    DeleteIntent,
    PartCopyIntent,
    PutIntent,
    Slice,
)

INTENT = PutIntent("bucket", b"a\xffkey", 3, "e" * 32, {"content-type": "text/plain"}, {"colour": "blau"}, {"CRC32": "AAAAAA=="}, None, "*")
PUT = messages.PutObject(INTENT, b"i" * 32, b"body")
LOCATION = BlobLocation(7, 4096, 3, 3, b"r" * 16)


def through(value, kind=ASK):
    return decode(encode(kind, 5, "metadata-journal", value)[1])


@pytest.mark.parametrize(
    "message",
    [
        PUT,
        messages.CommitPut(INTENT, 2, b"i" * 32, LOCATION, 0, None),
        messages.CommitPut(INTENT, 2, b"i" * 32, None, 9, PUT),
        messages.Stored("e" * 32, 1_700_000_000_000, 2**63, True),
        messages.Done(),
        messages.DeletedMany(["", "NoSuchKey"]),
        messages.DeleteObjects("bucket", [DeleteIntent(b"k\xff", "*", 1, 2), DeleteIntent(b"l")]),
        messages.CopyObject(CopyIntent(INTENT, "bucket", b"source", 2**62)),
        messages.CopyPart(PartCopyIntent(INTENT, (Slice(1, 2, 3), Slice(4, 5, 6)), "bucket", b"source", 2**62)),
        messages.CompleteUpload(CompleteIntent("bucket", b"k", 7, 9, b"map", "e-1", {"CRC32": "AAAAAA==-1"}, None, "*")),
        wire.Hello(3, b"i" * 16, b"l" * 16, 8 << 20, 512),
    ],
)
def test_a_message_comes_back_with_its_types_nested_ones_too(message):
    frame = through(message)
    assert (frame.kind, frame.request_id, frame.target) == (ASK, 5, "metadata-journal")
    assert frame.value == message and type(frame.value) is type(message)
    for sent, read in zip(message, frame.value, strict=True):
        assert type(read) is type(sent)
        if isinstance(sent, tuple | list):
            assert [type(part) for part in read] == [type(part) for part in sent]


@pytest.mark.parametrize(
    "message",
    [
        messages.CompleteUpload(
            CompleteIntent("b", b"k" * 1024, 2**62, 2**62, pack_map([(n + 1, 5 << 30) for n in range(PARTS_MAX)]), "e", {})
        ),
        messages.CopyPart(
            PartCopyIntent(INTENT, tuple(Slice(2**62 + n, 2**40, 5 << 30) for n in range(SLICES_MAX)), "b", b"k" * 1024, 2**62)
        ),
        messages.DeleteObjects("b", [DeleteIntent(b"%04d" % n * 256, "e" * 40, 2**62, 2**62) for n in range(1000)]),
        messages.DeletedMany(["PreconditionFailed"] * 1000),
        messages.ConfigureBucket("b", "cors", bytes(1 << 20)),
    ],
    ids=lambda message: type(message).__name__,
)
def test_the_longest_request_of_each_kind_fits_into_a_frame(message):
    assert through(message).value == message


def test_every_wire_type_has_a_decoder_that_counts_its_fields():
    for tag, cls in enumerate(messages.WIRE_TYPES):
        body = msgpack.packb([ASK, 1, "x", tag, [None] * (len(cls._fields) + 1)])
        with pytest.raises(MalformedFrame, match=cls.__name__):
            decode(body)


def test_a_plain_value_keeps_lists_dicts_bytes_and_text():
    value = [{"name": "journal", "handled": 5, "busy": 0.5, "none": None, "raw": b"\xff", "list": [1, [2]]}]
    assert through(value, REPLY).value == value


def test_sequences_of_messages_are_rebuilt():
    class Inner(NamedTuple):
        number: int

    class Outer(NamedTuple):
        many: tuple[Inner, ...]
        few: list[Inner]
        plain: tuple[int, str]
        maybe: tuple[Inner, ...] | None = None

    # Local classes cannot be found by their hints' names from outside.
    Outer.__annotations__.update(many=tuple[Inner, ...], few=list[Inner], plain=tuple[int, str], maybe=tuple[Inner, ...] | None)
    value = Outer((Inner(1), Inner(2)), [Inner(3)], (4, "x"), (Inner(5),))
    read = wire._rebuilder(Outer)(msgpack.unpackb(msgpack.packb(value)))
    assert read == value
    assert {type(read.many[0]), type(read.few[0]), type(read.maybe[0])} == {Inner}


def test_a_hint_that_cannot_be_rebuilt_is_refused_when_the_decoder_is_made():
    for hint in (dict[str, PutIntent], PutIntent | BlobLocation, tuple[int, PutIntent]):
        with pytest.raises(TypeError):
            wire._converter(hint)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xc1",
        msgpack.packb([ASK, 1, "x", PLAIN]),
        msgpack.packb([ASK, 1, "x", PLAIN, 1, 2]),
        msgpack.packb({"kind": ASK}),
        msgpack.packb([ASK, 1, "x", PLAIN, 1]) + b"\x00",
        msgpack.packb([ASK, "1", "x", PLAIN, 1]),
        msgpack.packb([ASK, 1, b"x", PLAIN, 1]),
        msgpack.packb([True, 1, "x", PLAIN, 1]),
        msgpack.packb([ASK, 1, "x", 10_000, []]),
        msgpack.packb([ASK, 1, "x", -2, []]),
        msgpack.packb([99, 1, "x", 0, ["a", "b"]]),
        msgpack.packb([ASK, 1, "x", 0, "ab"]),
        msgpack.packb([ASK, 1, "x", PLAIN, msgpack.ExtType(5, b"x")]),
        msgpack.packb([ASK, 1, "x", PLAIN, 1])[:-1],
        b"\x95" * 5000,
        b"\x95\x02\x01\xa1x\xff\xdd\xff\xff\xff\xff",
    ],
)
def test_what_this_build_cannot_have_sent_is_malformed(body):
    with pytest.raises(MalformedFrame):
        decode(body)


def test_a_value_that_cannot_be_packed_leaves_the_codec_usable():
    for value in ({"x": object()}, 2**70, b"x" * (MAX_FRAME_BYTES + 1)):
        with pytest.raises((TypeError, ValueError, OverflowError)):
            encode(ASK, 1, "x", value)
        assert through(PUT).value == PUT


@pytest.fixture
def pipe():
    left, right = socket.socketpair()
    right.setblocking(False)
    yield left, right
    left.close()
    right.close()


def read_all(reader, right, count):
    frames = []
    while len(frames) < count:
        try:
            frames += reader.read(right.fileno())
        except BlockingIOError:
            continue
    return frames


@pytest.mark.parametrize("piece", [1, 3, 1000, 1 << 20])
def test_frames_are_cut_the_same_wherever_the_stream_was_split(pipe, piece):
    left, right = pipe
    values = [number.to_bytes(2, "little") * number for number in range(0, 60)]
    stream = b"".join(b"".join(encode(ASK, number, "x", value)) for number, value in enumerate(values))
    reader, frames = FrameReader(), []
    for start in range(0, len(stream), piece):
        left.sendall(stream[start : start + piece])
        frames += reader.read(right.fileno())
    assert [frame.value for frame in frames] == values
    left.close()
    assert reader.read(right.fileno()) is None


def test_a_frame_larger_than_the_buffer_and_the_small_ones_round_it_are_read(pipe):
    left, right = pipe
    values = [b"small", os.urandom(MAX_FRAME_BYTES - 100), b"after", os.urandom(700_000), b"end"]
    stream = memoryview(b"".join(b"".join(encode(ASK, 1, "x", value)) for value in values))
    reader, frames = FrameReader(), []
    while stream:
        stream = stream[left.send(stream[: 64 * 1024]) :]
        frames += reader.read(right.fileno())
    frames += read_all(reader, right, len(values) - len(frames))
    assert [frame.value for frame in frames] == values


def test_a_length_over_the_bound_is_refused_before_anything_of_it_is_kept(pipe):
    left, right = pipe
    left.sendall(struct.pack("<I", MAX_FRAME_BYTES + 1))
    with pytest.raises(MalformedFrame):
        FrameReader().read(right.fileno())
