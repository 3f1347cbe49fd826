"""Reads a multipart/form-data body whose last field is a file: first the fields, then the file's bytes as they come.

Pulls the body through a function and holds no more of it than one piece and a delimiter, so a file may have any size. The fields before
the file are bounded together; what follows the file is not read. How long the file is nobody knows before its end: the delimiter is
looked for in its bytes. Decides nothing about the fields.
Source: RFC 7578 (form-data), RFC 2046 section 5.1.1 (delimiters); S3 API page PostObject (20 KB of fields, nothing counts after `file`).
"""

import re
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from fasterstore.s3.errors import S3Error

FIELDS_MAX_BYTES = 20 * 1024
PIECE_BYTES = 256 * 1024

FILE_FIELD = "file"
IGNORED_PREFIX = "x-ignore-"

_CRLF = b"\r\n"
_MEDIA_TYPE = re.compile(r"\s*multipart/form-data\s*(?:;|$)", re.IGNORECASE)
_BOUNDARY = re.compile(r';\s*boundary=(?:"([^"]*)"|([^\s;"]+))', re.IGNORECASE)
_BOUNDARY_CHARS = re.compile(r"[!-~ ]{0,199}[!-~]")
"""RFC 2046 allows 70; nobody is that strict, and a bound is all that is needed."""
_DISPOSITION = re.compile(r"content-disposition\s*:\s*form-data\s*((?:;.*)?)", re.IGNORECASE)
_PARAMETER = re.compile(r';\s*([a-z]+\*?)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))\s*', re.IGNORECASE)
_EXTENDED = re.compile(r"utf-8'[^']*'(.*)", re.IGNORECASE)

Receive = Callable[[int], bytes]
"""Up to so many bytes of the body, at least one; b"" at its end."""


class Form(NamedTuple):
    """What stands before the file's bytes.

    `fields` maps lower-case names to values; names that begin with x-ignore- are left out. `filename` is the last part of the path that
    the client gave its file, "" if it gave none. `has_file`: the file's bytes are next; False if the form ended without one.
    """

    fields: dict[str, str]
    filename: str
    has_file: bool


def is_form(content_type: str) -> bool:
    """Is that the media type of a form with a file?"""
    return _MEDIA_TYPE.match(content_type) is not None


class FormReader:
    """Reads one form. `read_fields` first, then `file_pieces`."""

    __slots__ = ("_buffer", "_delimiter", "_ended", "_receive", "bytes_in")

    def __init__(self, content_type: str, receive: Receive) -> None:
        """`content_type` as the header says, with its boundary. Raises: S3Error MalformedPOSTRequest without a usable one."""
        found = _BOUNDARY.search(content_type) if is_form(content_type) else None
        boundary = (found[1] or found[2] or "") if found is not None else ""
        if _BOUNDARY_CHARS.fullmatch(boundary) is None:
            raise S3Error("MalformedPOSTRequest")
        self._receive = receive
        self._delimiter = b"\r\n--" + boundary.encode("ascii")
        # As if the line before the first delimiter had just ended.
        self._buffer = _CRLF
        self._ended = False
        self.bytes_in = 0
        """Bytes of the body taken in so far."""

    def read_fields(self) -> Form:
        """Read up to the file's first byte.

        Raises: S3Error MalformedPOSTRequest, MaxPostPreDataLengthExceeded, InvalidArgument for a field that stands there twice; and
        what receiving raises.
        """
        fields: dict[str, str] = {}
        left = FIELDS_MAX_BYTES
        # Whatever stands before the first delimiter belongs to nobody.
        left -= len(self._take_until(self._delimiter, left))
        while self._part_follows(left):
            head = self._take_until(_CRLF + _CRLF, left)
            left -= len(head) + len(self._delimiter)
            name, filename = _read_head(head)
            if name == FILE_FIELD:
                return Form(fields, filename, True)
            value = self._take_until(self._delimiter, left)
            left -= len(value)
            if name in fields:
                raise S3Error("InvalidArgument", "Each form field may stand there once.", ArgumentName=name)
            if not name.startswith(IGNORED_PREFIX):
                fields[name] = _text(value)
        return Form(fields, "", False)

    def file_pieces(self) -> Iterator[bytes]:
        """The bytes of the file, up to its delimiter; none of what follows.

        Raises: S3Error MalformedPOSTRequest if the body ends before the file does, and what receiving raises.
        """
        delimiter = self._delimiter
        buffer = self._buffer
        while (end := buffer.find(delimiter)) < 0:
            # The last bytes may be the beginning of a delimiter.
            safe = len(buffer) - len(delimiter) + 1
            if safe > 0:
                yield buffer[:safe]
                buffer = buffer[safe:]
            buffer += self._receive_more()
        if end:
            yield buffer[:end]
        self._buffer = buffer[end + len(delimiter) :]
        self._part_follows(FIELDS_MAX_BYTES)

    def _part_follows(self, left: int) -> bool:
        """After a delimiter: does another part follow, or is this the end? Raises: S3Error MalformedPOSTRequest."""
        while len(self._buffer) < len(_CRLF):
            self._buffer += self._receive_more()
        if self._buffer.startswith(b"--"):
            return False
        if self._take_until(_CRLF, left).strip(b" \t"):
            raise S3Error("MalformedPOSTRequest")
        return True

    def _take_until(self, mark: bytes, limit: int) -> bytes:
        """What stands before `mark`, at most `limit` bytes; both are taken. Raises: S3Error MaxPostPreDataLengthExceeded."""
        while (end := self._buffer.find(mark)) < 0 and len(self._buffer) <= limit + len(mark):
            self._buffer += self._receive_more()
        if not 0 <= end <= limit:
            raise S3Error("MaxPostPreDataLengthExceeded")
        taken = self._buffer[:end]
        self._buffer = self._buffer[end + len(mark) :]
        return taken

    def _receive_more(self) -> bytes:
        piece = self._receive(PIECE_BYTES)
        if not piece:
            raise S3Error("MalformedPOSTRequest")
        self.bytes_in += len(piece)
        return piece


def _read_head(head: bytes) -> tuple[str, str]:
    """(lower-case name, file name without its folders) of a part. Raises: S3Error MalformedPOSTRequest."""
    for line in _text(head).split("\r\n"):
        disposition = _DISPOSITION.fullmatch(line)
        if disposition is not None:
            parameters = _parameters(disposition[1])
            name = parameters.get("name")
            if not name:
                break
            filename = _extended(parameters.get("filename*", "")) or parameters.get("filename", "")
            # Some browsers send whole paths, of either kind of system.
            return name.lower(), filename.replace("\\", "/").rpartition("/")[2]
    raise S3Error("MalformedPOSTRequest")


def _parameters(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        match = _PARAMETER.match(text, at)
        if match is None:
            raise S3Error("MalformedPOSTRequest")
        quoted = match[2]
        # Only a quote is ever escaped: a lone backslash is part of a Windows path.
        found.setdefault(match[1].lower(), match[3] if quoted is None else quoted.replace('\\"', '"'))
        at = match.end()
    return found


def _extended(value: str) -> str:
    match = _EXTENDED.fullmatch(value)
    return "" if match is None else _text(unquote_to_bytes(match[1]))


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise S3Error("MalformedPOSTRequest", "The fields of a form must be UTF-8.") from None
