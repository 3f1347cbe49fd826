"""What SigV4's signer and verifier share: canonical pieces, the string to sign, the signing key. Judges nothing.

All text is latin-1: one character is one byte of the wire. Source: S3 API Reference, "Authenticating Requests (AWS Signature
Version 4)".
"""

import hashlib
import hmac
import re
from calendar import timegm
from collections.abc import Iterable, Mapping
from functools import lru_cache
from time import gmtime, strftime
from urllib.parse import quote, unquote_to_bytes

ALGORITHM = "AWS4-HMAC-SHA256"
UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()

_TIMESTAMP = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII)
_TIMESTAMP_CHARS = 16
_BLANKS = re.compile(r"[ \t]+")
_CANONICAL_PATH = re.compile(r"[A-Za-z0-9._~/-]*")


def uri_encode(data: bytes, slash: bool) -> str:
    """AWS's UriEncode: all but A-Z a-z 0-9 - . _ ~ becomes %XX in upper case; `/` stays if `slash`."""
    return quote(data, safe="/" if slash else "")


def encode_path(bucket: str, key: bytes = b"") -> str:
    """The path to send for a bucket and key ("" and b"" for the service and the bucket itself)."""
    return f"/{uri_encode(bucket.encode(), False)}" + (f"/{uri_encode(key, True)}" if key else "") if bucket else "/"


def encode_query(pairs: Iterable[tuple[str, str]]) -> str:
    """The query to send for names and values, in the given order."""
    return "&".join(f"{uri_encode(name.encode(), False)}={uri_encode(value.encode(), False)}" for name, value in pairs)


def canonical_path(raw_path: str) -> str:
    """`raw_path` decoded once and encoded again the canonical way; dots and doubled slashes stay (S3's exception)."""
    if _CANONICAL_PATH.fullmatch(raw_path) is not None:
        return raw_path
    return uri_encode(unquote_to_bytes(raw_path.encode("latin-1")), True)


def query_pairs(raw_query: str) -> list[tuple[str, str]]:
    """Names and values as they were sent, without decoding; empty pieces are left out, a missing value is empty."""
    pairs = []
    for piece in raw_query.split("&"):
        if piece:
            name, _, value = piece.partition("=")
            pairs.append((name, value))
    return pairs


def join_sorted(pairs: list[tuple[str, str]]) -> str:
    """The canonical query of already encoded pairs: sorted by name, then by value."""
    return "&".join([f"{name}={value}" for name, value in sorted(pairs)])


def _encode_again(text: str) -> str:
    # In a query a plus is a space (form encoding): that is also how its value is read later, so signature and meaning agree.
    return uri_encode(unquote_to_bytes(text.replace("+", " ").encode("latin-1")), False)


def encode_pairs_again(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Each name and value decoded once and encoded the canonical way."""
    return [(_encode_again(name), _encode_again(value)) for name, value in pairs]


def canonical_headers(names: Iterable[str], headers: Mapping[str, str]) -> str:
    """`name:value\\n` for each of the sorted `names`: trimmed, runs of blanks made one; a header that is missing has no value."""
    parts = []
    for name in names:
        # Only these two are blanks: str.strip() would take the last byte of an "à" in UTF-8 (0xA0) for one.
        value = headers.get(name, "").strip(" \t")
        if "  " in value or "\t" in value:
            value = _BLANKS.sub(" ", value)
        parts.append(f"{name}:{value}\n")
    return "".join(parts)


def canonical_request(method: str, path: str, query: str, header_block: str, signed_headers: str, payload_hash: str) -> str:
    """The canonical request of already canonical parts; `header_block` from `canonical_headers`."""
    return f"{method}\n{path}\n{query}\n{header_block}\n{signed_headers}\n{payload_hash}"


def string_to_sign(timestamp: str, scope: str, request: str) -> str:
    """The string to sign: `timestamp` as YYYYMMDDThhmmssZ, `scope` as date/region/service/aws4_request."""
    return f"{ALGORITHM}\n{timestamp}\n{scope}\n{hashlib.sha256(request.encode('latin-1')).hexdigest()}"


def hmac_hex(key: bytes, text: str) -> str:
    """HMAC-SHA256 in lower-case hex."""
    return hmac.digest(key, text.encode("latin-1"), "sha256").hex()


@lru_cache(maxsize=256)
def signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """The 32-byte key of one day, region and service. Bounded cache: four HMACs a day instead of four a request."""
    key = b"AWS4" + secret.encode("utf-8")
    for part in (date, region, service, "aws4_request"):
        key = hmac.digest(key, part.encode("latin-1"), "sha256")
    return key


def timestamp_secs(timestamp: str) -> int | None:
    """YYYYMMDDThhmmssZ as Unix seconds; None if it is no such text or no such moment."""
    # Judged by length before the cache: a header of 64 KiB must not stay in it.
    return _timestamp_secs(timestamp) if len(timestamp) == _TIMESTAMP_CHARS else None


@lru_cache(maxsize=1024)
def _timestamp_secs(timestamp: str) -> int | None:
    match = _TIMESTAMP.fullmatch(timestamp)
    if match is None:
        return None
    year, month, day, hour, minute, second = map(int, match.groups())
    if year < 1970 or not 1 <= month <= 12 or not 1 <= day <= 31 or hour > 23 or minute > 59 or second > 60:
        return None
    return timegm((year, month, day, hour, minute, second, 0, 1, 0))


def format_timestamp(unix_secs: int) -> str:
    """Unix seconds as YYYYMMDDThhmmssZ."""
    return strftime("%Y%m%dT%H%M%SZ", gmtime(unix_secs))


def format_iso(unix_secs: int) -> str:
    """Unix seconds as 2013-05-24T00:00:00Z, the form in which S3's errors show times."""
    return strftime("%Y-%m-%dT%H:%M:%SZ", gmtime(unix_secs))
