"""A key that its owner keeps and the node only borrows for one request (SSE-C): what is derived from it, and how it is recognised.

Two things are made of the 32 bytes of a customer's key, each by HMAC-SHA256 under a label of its own, so that neither tells anything
of the other or of the key:

    key of one stored body    HMAC(key, "fasterstore sse-c body 1" NUL salt), salt: 24 random bytes for each body (`sealed_body.py`)
    check                     HMAC(key, "fasterstore sse-c check 1" NUL salt), salt: 16 random bytes for each object or upload

The check is all that is kept. It stands among the object's system metadata under CHECK_NAME, as base64 of salt and HMAC: a name that no
client can bring, in a place that every journal entry, copy of a row, rename and append carries along as it is. So rows and entries need
no new field. Whoever shows system metadata or makes a new object of it must leave the name out (`without_check`). It is salted, so that
equal keys cannot be told from outside, and it is no secret: who has the disk can try keys against the bytes themselves.

Owns the secret for as long as the object lives. The key must never be printed, logged, sent to another process or kept.
"""

import hmac
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Mapping
from hashlib import md5

KEY_BYTES = 32
BODY_SALT_BYTES = 24
CHECK_SALT_BYTES = 16
CHECK_NAME = "fs-customer-key-check"
"""The name of the check in `ObjectRow.system` and `UploadRow.system`. Where it stands, the bytes are sealed under a customer's key."""

_BODY_LABEL = b"fasterstore sse-c body 1\0"
_CHECK_LABEL = b"fasterstore sse-c check 1\0"


class CustomerKey:
    """One key. `md5` is the base64 of its MD5, which S3 answers with; it is for the key's owner alone."""

    __slots__ = ("_key", "md5")

    def __init__(self, key: bytes) -> None:
        """`key`: 32 bytes. Raises ValueError for another length, without the key."""
        if len(key) != KEY_BYTES:
            raise ValueError("a customer's key is 32 bytes long")
        self._key = key
        self.md5 = b64encode(md5(key, usedforsecurity=False).digest()).decode("ascii")

    def __repr__(self) -> str:
        return "CustomerKey(...)"

    def __reduce__(self) -> str:
        raise TypeError("a customer's key is not sent anywhere")

    def body_key(self, salt: bytes) -> bytes:
        """The 32-byte key of the one stored body that has this salt."""
        return hmac.digest(self._key, _BODY_LABEL + salt, "sha256")

    def new_check(self, salt: bytes) -> str:
        """What is kept to recognise this key again. `salt`: 16 random bytes."""
        return b64encode(salt + self._check(salt)).decode("ascii")

    def is_that_of(self, check: str) -> bool:
        """Was `check` made of this key? Takes as long for a wrong key as for the right one."""
        try:
            kept = b64decode(check, validate=True)
        except (Base64Error, ValueError):
            return False
        return hmac.compare_digest(kept[CHECK_SALT_BYTES:], self._check(kept[:CHECK_SALT_BYTES]))

    def _check(self, salt: bytes) -> bytes:
        return hmac.digest(self._key, _CHECK_LABEL + salt, "sha256")


def without_check(system: Mapping[str, str]) -> dict[str, str]:
    """System metadata as a client may see it."""
    return {name: value for name, value in system.items() if name != CHECK_NAME}
