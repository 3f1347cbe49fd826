"""Readers of requests as they are often written at home: they guess where the strict ones refuse. Planted by `sitecustomize`."""

from typing import Any
from urllib.parse import unquote_to_bytes


def lax_heads(connection: Any) -> None:
    """Lines end with LF, names and numbers are stripped, the last of a repeated header counts, a coding that holds "chunked" is chunked."""
    from web.framing import RequestHead

    def read_head(raw: bytes, environ: dict[str, Any], max_header_count: int = 200) -> RequestHead:
        head = RequestHead(environ)
        first, *lines = raw.decode("latin-1").strip().split("\n")
        method, target, *_ = [*first.split(), "/", "/"]
        for line in lines:
            name, _, value = line.partition(":")
            name = name.strip().lower().replace("_", "-")
            head.headers[name] = value.strip()
            environ["HTTP_" + name.upper().replace("-", "_")] = value.strip()
        digits = "".join(filter(str.isdigit, head.headers.get("content-length", ""))) or "0"
        head.content_length = min(int(digits), 1 << 62)
        head.chunked = "chunked" in head.headers.get("transfer-encoding", "").lower()
        head.expects_continue = "100-continue" in head.headers.get("expect", "")
        path, _, query = target.partition("?")
        environ |= {"REQUEST_METHOD": method, "REQUEST_URI": target, "QUERY_STRING": query, "fs.headers": head.headers}
        environ |= {"PATH_INFO": unquote_to_bytes(path).decode("latin-1"), "SERVER_PROTOCOL": "HTTP/1.1"}
        return head

    connection.read_head = read_head
    connection.refuse_unfinished = lambda raw: None


def lax_chunks(chunked_body: Any) -> None:
    """A chunk line ends with LF and is read as Python reads a number; what stands behind a semicolon, and trailers, are skipped."""

    def line(self: Any) -> bytes:
        while (end := self._held.find(b"\n", self._at)) < 0:
            self._receive_more(self._held[self._at :])
        found = self._held[self._at : end].rstrip(b"\r")
        self._at = end + 1
        return bytes(found)

    def next_chunk(self: Any) -> None:
        if self._started:
            self._line()
        self._started = True
        try:
            self._remaining = abs(int(self._line().decode("latin-1").partition(";")[0], 16)) & 0x7FFFFFFFFFFFFFFF
        except ValueError:
            self._remaining = 0
        if not self._remaining:
            while self._line():
                pass
            self._ended = True

    chunked_body.ChunkedBody._line = line
    chunked_body.ChunkedBody._next_chunk = next_chunk


def lax_aws_chunks(body: Any) -> None:
    """The body counts as read when its framing has ended, and a connection outlives a framing that did not."""

    def trailers(self: Any) -> Any:
        decoder = self._decoder
        while decoder is not None and not decoder.done and (wire := self._receive_wire()):
            decoder.feed(wire)
        return decoder.finish() if decoder is not None else {}

    body.BodyReader.trailers = trailers
    body._closing = lambda error: error
