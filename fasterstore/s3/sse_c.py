"""The headers of SSE-C: three that bring a customer's key, three that bring the key of a copy's source, two that answer.

Owns the names and the wording of the refusals, in none of which anything of a key may stand. When a key is needed, and whether it is the
right one, is for `web/customer_key.py`.
Source: S3 user guide, "Using server-side encryption with customer-provided keys"; codes and texts as AWS answers.
"""

import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Mapping
from hmac import compare_digest

from fasterstore.customer_key import KEY_BYTES, CustomerKey
from fasterstore.s3.errors import S3Error

TARGET = "x-amz-server-side-encryption-customer-"
"""What the headers begin with that bring the key of the object itself."""
SOURCE = "x-amz-copy-source-server-side-encryption-customer-"
"""The same for the source of a copy."""
ALGORITHM = f"{TARGET}algorithm"
CUSTOMER_KEY = f"{TARGET}key"
OTHER_ENCRYPTION = "x-amz-server-side-encryption"
AES256 = "AES256"

_KEY_VALUES = re.compile(
    r"((?:(?:x-amz-copy-source|x-amz)-server-side-encryption-customer-key|x-amz-security-token)[:=])[^\n&]+", re.IGNORECASE
)
_REQUESTS = "Requests specifying Server Side Encryption with Customer provided keys must provide"


def brings_key(headers: Mapping[str, str], prefix: str = TARGET) -> bool:
    """Is any of the three headers there? `prefix` is TARGET or SOURCE; names are lower case."""
    return f"{prefix}algorithm" in headers or f"{prefix}key" in headers or f"{prefix}key-md5" in headers


def refuse_two_methods(headers: Mapping[str, str]) -> None:
    """For a request that brings a key. Raises: S3Error InvalidArgument if it asks for another encryption besides."""
    if OTHER_ENCRYPTION in headers:
        text = "Server Side Encryption with Customer provided key is incompatible with the encryption method specified"
        raise S3Error("InvalidArgument", text, ArgumentName=OTHER_ENCRYPTION, ArgumentValue=headers[OTHER_ENCRYPTION])


def parse_customer_key(headers: Mapping[str, str], prefix: str = TARGET) -> CustomerKey:
    """The key that the headers bring; all three must be there and agree.

    Raises: S3Error InvalidArgument; InvalidEncryptionAlgorithmError for another algorithm than AES256.
    """
    algorithm, key, key_md5 = (headers.get(f"{prefix}{name}") for name in ("algorithm", "key", "key-md5"))
    if algorithm is None:
        raise _invalid(f"{_REQUESTS} a valid encryption algorithm.", f"{prefix}algorithm")
    if algorithm != AES256:
        raise S3Error("InvalidEncryptionAlgorithmError", ArgumentName=f"{prefix}algorithm")
    if key is None:
        raise _invalid(f"{_REQUESTS} an appropriate secret key.", f"{prefix}key")
    if key_md5 is None:
        raise _invalid(f"{_REQUESTS} the client calculated MD5 of the secret key.", f"{prefix}key-MD5")
    try:
        secret = b64decode(key, validate=True)
    except (Base64Error, ValueError):
        secret = b""
    if len(secret) != KEY_BYTES:
        raise _invalid("The secret key was invalid for the specified algorithm.", f"{prefix}key")
    found = CustomerKey(secret)
    if not compare_digest(found.md5.encode(), key_md5.encode("latin-1", "replace")):
        raise _invalid("The calculated MD5 hash of the key did not match the hash that was provided.", f"{prefix}key-MD5")
    return found


def key_headers(key: CustomerKey) -> list[tuple[str, str]]:
    """What an answer says of the key that was used."""
    return [(ALGORITHM, AES256), (f"{TARGET}key-MD5", key.md5)]


def hide_keys(text: str) -> str:
    """A canonical request, or what another signature covers, without customers' keys and session tokens: it may be shown in a refusal."""
    return _KEY_VALUES.sub(r"\1(not shown)", text)


def _invalid(text: str, name: str) -> S3Error:
    return S3Error("InvalidArgument", text, ArgumentName=name)
