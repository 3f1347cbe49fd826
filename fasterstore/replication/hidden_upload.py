"""Names of the uploads in which a peer's objects of parts are put together: never listed, and no S3 call reaches one.

Such an upload is known by its token, so that a transfer that was cut short goes on with the parts that have arrived.
"""

from hmac import compare_digest

TOKEN_PREFIX = "replica:"
SYSTEM_NAME = "x-fs-replica"
"""Name in the upload's system metadata: no client can send one like it."""


def hidden_token(log_uuid: bytes, manifest: int) -> str:
    """Return the token of the upload that becomes the manifest with that number in the log `log_uuid` (16 bytes)."""
    return f"{TOKEN_PREFIX}{log_uuid.hex()}:{manifest}"


def becomes(token: str, log_uuid: bytes, manifest: int) -> bool:
    """Return whether an upload with that token becomes, or a manifest with it was, that manifest of the log."""
    return compare_digest(token, hidden_token(log_uuid, manifest))


def is_hidden(token: str) -> bool:
    """Return whether an upload with that token is a peer's, and not a client's."""
    return token.startswith(TOKEN_PREFIX)
