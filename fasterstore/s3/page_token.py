"""Continuation tokens: a position in a list, opaque to clients. Web-safe base64 of a CRC32C and the position, without padding.

The checksum tells a mangled or made-up token from one that was given out; it keeps nobody from making one, and need not: a token
says nothing that start-after could not say.
"""

import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error

from fasterstore.digests import crc32c
from fasterstore.s3.errors import S3Error

_CRC = struct.Struct("<I")


def pack_token(position: bytes) -> str:
    """The token for `position`, the name of a page's last entry."""
    return urlsafe_b64encode(_CRC.pack(crc32c(position)) + position).rstrip(b"=").decode("ascii")


def unpack_token(token: str) -> bytes:
    """The position; b"" for an empty token, which is as none. Raises S3Error InvalidArgument for any other that was not given out."""
    if not token:
        return b""
    try:
        raw = urlsafe_b64decode(token.encode("ascii") + b"=" * (-len(token) % 4))
    except (Base64Error, UnicodeEncodeError):
        raw = b""
    position = raw[_CRC.size :]
    # Compared as text: the decoder passes over what is no base64.
    if not position or token != pack_token(position):
        raise S3Error("InvalidArgument", "The continuation token provided is incorrect", ArgumentName="continuation-token")
    return position
