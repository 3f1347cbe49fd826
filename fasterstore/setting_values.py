"""How the text of one setting becomes a value: the parsers that the table in `settings.py` names.

Owns no state and knows no variable by name. Each parser takes the text as it stands in the environment, never empty, and returns the
value or raises ValueError; the table holds the words that say what would have been right.
"""

import base64
import ipaddress
import re
from collections.abc import Callable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import NamedTuple
from urllib.parse import urlsplit

from fasterstore.s3.errors import S3Error
from fasterstore.s3.names import validate_bucket

MEBIBYTE = 1 << 20
_MAX_PORT = 65_535
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,62})(\.[A-Za-z0-9_][A-Za-z0-9_-]{0,62})*\Z")
_ACCESS_KEY = re.compile(r"[!-+\-.0-<>-~]{1,128}\Z")
_SECRET = re.compile(r"[!-~]{8,256}\Z")
_TOKEN = re.compile(r"[!-~]{1,256}\Z")
_REGION = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_DIGITS = re.compile(r"[0-9]{1,18}\Z")
_BOOLEANS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


class BindAddress(NamedTuple):
    """Where to listen: `host` without brackets (a name, IPv4 or IPv6), `port` 0 lets the system choose."""

    host: str
    port: int

    @property
    def is_ipv6(self) -> bool:
        """The host is an IPv6 address."""
        return ":" in self.host

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if self.is_ipv6 else f"{self.host}:{self.port}"


class StartBucket(NamedTuple):
    """A bucket that is created at start if it is missing; a `public` one lets everybody list and read."""

    name: str
    public: bool


def bind_address(text: str) -> BindAddress:
    """`HOST:PORT`, `[IPV6]:PORT`, or `:PORT` for every IPv4 address."""
    host, colon, port_text = text.strip().rpartition(":")
    if not colon or not _DIGITS.match(port_text) or int(port_text) > _MAX_PORT:
        raise ValueError("no port")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        ipaddress.IPv6Address(host)
    elif not host:
        host = "0.0.0.0"
    elif host.replace(".", "").isdigit():
        ipaddress.IPv4Address(host)
    elif not _HOST_NAME.match(host):
        raise ValueError("no host")
    return BindAddress(host, int(port_text))


def origin_url(text: str) -> str:
    """`http(s)://HOST[:PORT]` in the one form in which two of them can be compared: lower case, no default port, no trailing slash.

    Nothing else may follow. IPv6 addresses are shortened (RFC 5952).
    """
    text = text.strip()
    parts = urlsplit(text)
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or parts.path not in ("", "/"):
        raise ValueError("not an origin")
    if parts.query or parts.fragment or "@" in parts.netloc or not re.match(r"[!-~]+\Z", text):
        raise ValueError("more than an origin")
    if parts.port == 0:  # reading .port also raises for one out of range
        raise ValueError("no port")
    host = f"[{ipaddress.IPv6Address(parts.hostname)}]" if ":" in parts.hostname else parts.hostname
    port = "" if parts.port in (None, _DEFAULT_PORTS[parts.scheme]) else f":{parts.port}"
    return f"{parts.scheme}://{host}{port}"


def origin_list(text: str) -> tuple[str, ...]:
    """Origins separated by commas, each once, in order; blanks around them are dropped."""
    return tuple(dict.fromkeys(origin_url(part) for part in text.split(",") if part.strip()))


def whole_number(low: int, high: int, unit: int = 1) -> Callable[[str], int]:
    """A parser for decimal digits within the bounds, inclusive; the result is multiplied by `unit`."""

    def parse(text: str) -> int:
        if not _DIGITS.match(text.strip()) or not low <= int(text) <= high:
            raise ValueError("not a number, or out of bounds")
        return int(text) * unit

    return parse


def one_of(*choices: str) -> Callable[[str], str]:
    """A parser for one of a few words, in any case."""

    def parse(text: str) -> str:
        word = text.strip().lower()
        if word not in choices:
            raise ValueError("not a choice")
        return word

    return parse


def boolean(text: str) -> bool:
    """`true` or `false`; also 1/0, yes/no and on/off, as people write them."""
    try:
        return _BOOLEANS[text.strip().lower()]
    except KeyError:
        raise ValueError("not a boolean") from None


def path(text: str) -> str:
    """Any path; control characters are a mistake."""
    if not text.strip() or re.search(r"[\x00-\x1f\x7f]", text):
        raise ValueError("not a path")
    return text


def access_key(text: str) -> str:
    """What can stand in a SigV4 credential scope without ambiguity."""
    if not _ACCESS_KEY.match(text):
        raise ValueError("not an access key")
    return text


def secret(text: str) -> str:
    """A secret that is not trivially short."""
    if not _SECRET.match(text):
        raise ValueError("not a secret")
    return text


def key_base64(text: str) -> bytes:
    """A key of 32 bytes."""
    key = base64.b64decode(text.strip(), validate=True)
    if len(key) != 32:
        raise ValueError("not 32 bytes")
    return key


def token(text: str) -> str:
    """What can stand after `Authorization: Bearer`."""
    if not _TOKEN.match(text):
        raise ValueError("not a token")
    return text


def region(text: str) -> str:
    """What can stand in a SigV4 credential scope as the region."""
    if not _REGION.match(text):
        raise ValueError("not a region")
    return text


def bucket_list(text: str) -> tuple[StartBucket, ...]:
    """Buckets separated by commas, each once, in order; `:public` may follow a name. Blanks around them are dropped."""
    buckets = tuple(dict.fromkeys(_start_bucket(part.strip()) for part in text.split(",") if part.strip()))
    if len({bucket.name for bucket in buckets}) != len(buckets):
        raise ValueError("one bucket both public and not")
    return buckets


def _start_bucket(text: str) -> StartBucket:
    name, colon, word = text.partition(":")
    if colon and word != "public":
        raise ValueError("not a word for a bucket")
    try:
        validate_bucket(name)
    except S3Error:
        raise ValueError("not a bucket name") from None
    return StartBucket(name, bool(colon))


def domain(text: str) -> str | None:
    """A lower-case host name without port; None if empty."""
    if not text:
        return None
    name = text.lower().strip(".")
    if _HOST_NAME.match(name) is None:
        raise ValueError("not a host name")
    return name


def networks(text: str) -> tuple[IPv4Network | IPv6Network, ...]:
    """Networks or single addresses separated by commas; blanks around them are dropped."""
    return tuple(ip_network(part.strip()) for part in text.split(",") if part.strip())
