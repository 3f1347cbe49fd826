"""Transfer-Encoding: chunked as it arrives in pieces: the payload and what is left for the next request are those of a one-shot reader."""

import re

from tests.framing_corpus import BROKEN_CHUNKS, PAYLOAD
from web import chunked_body
from web.request_body import RequestBodyError
from web.wire import PeerGone

DICTIONARY = [b"0\r\n\r\n", b"\r\n", b"\n", b";a=b", b"+", b"0x", b"ffffffffffffffff", b"7fffffffffffffff", b" ", b"\t"]
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,16})\r\n")
_LONG_BYTES = 4096


class PieceWire:
    """The connection's wire, as far as a body sees it: hands out `data` in pieces, then the peer is gone."""

    def __init__(self, data: bytes, piece_bytes: int) -> None:
        self.data, self._piece_bytes = data, piece_bytes

    def receive_body(self, view: memoryview, held_bytes: int = 0) -> int:
        count = min(len(view), self._piece_bytes, len(self.data))
        if not count:
            raise PeerGone
        view[:count] = self.data[:count]
        self.data = self.data[count:]
        return count


def reference(wire: bytes) -> tuple[bytes, bytes] | None:
    """(payload, what follows the body), None for a body that is malformed or not whole."""
    payload, at = b"", 0
    while (match := _SIZE.match(wire, at)) is not None:
        size, at = int(match[1], 16), match.end()
        line_end = wire[at + size : at + size + 2]
        if line_end != b"\r\n":
            return None
        payload += wire[at : at + size]
        at += size + 2
        if not size:
            return payload, wire[at:]
    return None


def seeds() -> list[bytes]:
    """Whole bodies, and broken ones that are short; two bytes in front say how they are cut and read."""
    whole = b"f\r\n" + PAYLOAD + b"\r\n3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\n"
    return [b"\x01\x01" + whole, b"\x07\xff" + whole] + [b"\x05\x20" + raw for raw in BROKEN_CHUNKS.values() if len(raw) < _LONG_BYTES]


def one_input(data: bytes) -> None:
    """Read a body in pieces and compare. Raises: anything, on a finding."""
    if len(data) < 2:
        return
    piece_bytes, read_bytes, raw = data[0] % 32 + 1, data[1] + 1, data[2:]
    wire = PieceWire(raw[piece_bytes:], piece_bytes)
    body = chunked_body.ChunkedBody(wire, raw[:piece_bytes], False)  # type: ignore[arg-type]
    expected = reference(raw)
    pieces = []
    try:
        while piece := body.read(read_bytes):
            pieces.append(piece)
    except RequestBodyError:
        assert expected is None, "a good body was refused"
        assert not body.finished
        return
    assert expected is not None, "a bad body was accepted"
    assert b"".join(pieces) == expected[0]
    assert body.finished and body.leftover() + wire.data == expected[1]


def plant() -> None:
    """A chunk size may have a sign."""
    chunked_body._CHUNK_SIZE = re.compile(rb"[+-]?[0-9A-Fa-f]{1,16}")
