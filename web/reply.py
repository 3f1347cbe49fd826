"""What a handler returns: status, headers and body. Owns nothing; it is turned into WSGI in `web/app.py` and nowhere else.

A body is a sequence of byte strings, sent with the head in one write, or one that is made while it is sent (`web/streamed_body.py`).
"""

from collections.abc import Sequence
from functools import lru_cache
from http import HTTPStatus

from fasterstore.s3.xml import http_date
from web.streamed_body import StreamedBody

STATUS_LINES: dict[int, str] = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}

Headers = list[tuple[str, str]]


class Reply:
    """One answer. `headers` are (name, value) with latin-1 values; Content-Length is the handler's to set."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, headers: Headers, body: Sequence[bytes | memoryview] | StreamedBody = ()) -> None:
        self.status = status
        self.headers = headers
        self.body = body


def xml_reply(status: int, document: bytes) -> Reply:
    """An XML answer with its length."""
    return Reply(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(document)))], (document,))


def text_reply(status: int, text: str) -> Reply:
    """A short plain text answer, for people and probes."""
    raw = text.encode()
    return Reply(status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(raw)))], (raw,))


def json_reply(status: int, document: bytes) -> Reply:
    """A JSON answer from its encoded document."""
    return Reply(status, [("Content-Type", "application/json"), ("Content-Length", str(len(document)))], (document,))


@lru_cache(maxsize=4096)
def http_date_of(second: int) -> str:
    """Unix time in whole seconds as an HTTP date (RFC 9110, 5.6.7). Hot objects share few dates, hence the cache."""
    return http_date(second * 1000)
