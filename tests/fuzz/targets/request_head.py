"""A request head (llhttp and the framing rules): what is accepted must read the same to a second, independent reader."""

import re
from typing import Any

from tests.framing_corpus import REFUSED_HEADS
from web import framing
from web.refusal import REASONS, HttpRefusal, render_refusal

DICTIONARY = [
    b"GET ", b" HTTP/1.1\r\n", b"\r\n\r\n", b"Host: x\r\n", b"Content-Length: ", b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Upgrade: h2c\r\n", b"\n", b"\x00", b"\x0b", b"\xa0", b"HTTP/1.0",
    b"CONNECT ", b"http://", b"%00", b"+", b"0x",
]  # fmt: skip

_LINE = re.compile(rb"([A-Z-]+) (/[\x21-\x7e]*) HTTP/1\.([01])")
_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_LENGTH = re.compile(rb"[ \t]*([0-9]{1,19})[ \t]*")
_HOST = re.compile(rb"[ \t]*([A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?[ \t]*")
_SHORT_BYTES = 256


def seeds() -> list[bytes]:
    """Heads that are accepted, and a part of the corpus of those that are not."""
    plain = [
        b"GET /b/k?list-type=2 HTTP/1.1\r\nHost: x:9000\r\nAuthorization: AWS4-HMAC-SHA256 a\r\nx-amz-date: 1\r\n\r\n",
        b"PUT /b/%C3%A4 HTTP/1.1\r\nHost: [::1]:9000\r\nContent-Length: 5\r\nExpect: 100-continue\r\nx-meta-a: 1\r\nx-meta-a: 2\r\n\r\n",
        b"PUT /b/k HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive, Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HEAD / HTTP/1.0\r\n\r\n",
    ]
    return plain + [raw for raw in REFUSED_HEADS.values() if len(raw) < _SHORT_BYTES]


def one_input(data: bytes) -> None:
    """Read a head and compare. Raises: anything, on a finding."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        framing.refuse_unfinished(data)
        return
    raw = data[: end + 4]
    environ: dict[str, Any] = {}
    try:
        head = framing.read_head(raw, environ)
    except HttpRefusal as refusal:
        assert refusal.status in REASONS
        assert render_refusal(refusal, "ID", "").endswith(b"</Error>")
        return
    first, *lines = raw[:-4].split(b"\r\n")
    line = _LINE.fullmatch(first)
    assert line is not None, first
    headers: dict[bytes, list[bytes]] = {}
    for text in lines:
        name, colon, value = text.partition(b":")
        assert colon and _TOKEN.fullmatch(name) and _VALUE.fullmatch(value), text
        headers.setdefault(name.lower().replace(b"_", b"-"), []).append(value)
    _compare(head, headers, line[3] == b"1")
    assert environ["REQUEST_METHOD"].encode() == line[1]
    assert environ["REQUEST_URI"].encode() == line[2]
    assert head.header_count == len(lines)
    for cut in range(1, min(len(raw), _SHORT_BYTES)):
        assert framing.refuse_unfinished(raw[:cut]) is None, raw[:cut]


def _compare(head: framing.RequestHead, headers: dict[bytes, list[bytes]], is_11: bool) -> None:
    lengths, codings = headers.get(b"content-length", []), headers.get(b"transfer-encoding", [])
    hosts = headers.get(b"host", [])
    assert len(lengths) + len(codings) <= 1
    assert len(hosts) == 1 if is_11 else len(hosts) <= 1
    assert all(_HOST.fullmatch(host) for host in hosts), hosts
    if lengths:
        length = _LENGTH.fullmatch(lengths[0])
        assert length is not None and int(length[1]) == head.content_length < 2**63
    else:
        assert head.content_length == 0
    assert head.chunked == bool(codings)
    assert not codings or (codings[0].strip(b" \t").lower() == b"chunked" and is_11)
    expected = [value.strip(b" \t").lower() for value in headers.get(b"expect", [])]
    assert head.expects_continue == (is_11 and expected == [b"100-continue"])


def plant() -> None:
    """Any Host is taken."""
    framing._HOST = re.compile(r"[^\n]*")
