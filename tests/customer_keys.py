"""What a client sends to bring its own key (SSE-C)."""

import hashlib
from base64 import b64encode

TARGET = "x-amz-server-side-encryption-customer-"
SOURCE = "x-amz-copy-source-server-side-encryption-customer-"
A, B = (hashlib.sha256(name).digest() for name in (b"key A", b"key B"))
"""Two keys."""


def bring(key: bytes | None, prefix: str = TARGET) -> dict[str, str]:
    """The three headers; none for no key."""
    if key is None:
        return {}
    encoded, md5 = (b64encode(data).decode() for data in (key, hashlib.md5(key).digest()))
    return {f"{prefix}algorithm": "AES256", f"{prefix}key": encoded, f"{prefix}key-MD5": md5}


def bring_source(key: bytes | None) -> dict[str, str]:
    """The same for the source of a copy."""
    return bring(key, SOURCE)


def told(key: bytes | None) -> dict[str, str]:
    """What the answer says of the key, with lower-case names."""
    return {} if key is None else {f"{TARGET}algorithm": "AES256", f"{TARGET}key-md5": bring(key)[f"{TARGET}key-MD5"]}
