"""What no node of this build can have sent, although it is well-formed: names and texts that cannot be served, bytes of another length.

Whoever knows the token may send anything, by mistake too; what is stored here must be such that every reader can answer with it. Pure.
"""

import re
from functools import lru_cache

from fasterstore.customer_key import CHECK_NAME
from fasterstore.digests import CHECKSUM_ALGORITHMS
from fasterstore.replication.change import BlobContent, BucketState, Change, ManifestContent, ObjectState, Piece
from fasterstore.replication.plausible_settings import is_acl, is_readable
from fasterstore.s3.errors import S3Error
from fasterstore.s3.names import validate_bucket, validate_key
from fasterstore.sealed_body import sealed_bytes

_NO_HEADER = re.compile("[\0\r\n]|[^\0-\xff]")
"""Values are sent as latin-1, one line each."""
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]*")
"""Of user metadata, behind its prefix."""
_HEADERS = frozenset(
    ("content-type", "cache-control", "content-disposition", "content-encoding", "content-language", "expires", CHECK_NAME)
)
"""Names of system metadata besides those of S3's own headers. All are sent as they are, and another Content-Length would be believed."""
TIME_MAX_MS = 253_402_300_799_999
"""The last of the year 9999: no client reads a later Last-Modified, and one in a listing spoils all of it."""


def is_plausible(change: Change) -> bool:
    """May this change be joined at all?"""
    if isinstance(change, BucketState):
        return _is_bucket_name(change.name) and _is_bucket(change)
    if not (_is_bucket_name(change.bucket) and _is_key(change.key)):
        return False
    if not isinstance(change, ObjectState):
        return change.deleted_ms <= TIME_MAX_MS
    return change.modified_ms <= TIME_MAX_MS and is_acl(change.acl) and _is_sendable(change) and _has_its_bytes(change)


def _is_bucket(state: BucketState) -> bool:
    registers = state.registers
    return all(create.created_ms <= TIME_MAX_MS for create in registers.creates) and all(
        setting.document is None or is_readable(setting.name, setting.document) for setting in registers.settings
    )


@lru_cache(maxsize=1024)
def _is_bucket_name(name: str) -> bool:
    try:
        validate_bucket(name)
    except S3Error:
        return False
    return True


def _is_key(key: bytes) -> bool:
    try:
        validate_key(key)
    except S3Error:
        return False
    return True


def _is_sendable(state: ObjectState) -> bool:
    if not (
        all(name in _HEADERS or (name.startswith("x-amz-") and _NAME.fullmatch(name)) for name in state.system)
        and all(map(_NAME.fullmatch, state.user))
        and state.checksums.keys() <= CHECKSUM_ALGORITHMS.keys()
    ):
        return False
    texts = [state.etag, *state.system, *state.system.values(), *state.user, *state.user.values(), *state.checksums.values()]
    if isinstance(state.content, ManifestContent):
        for part in state.content.parts:
            if not part.checksums.keys() <= CHECKSUM_ALGORITHMS.keys():
                return False
            texts += (part.etag, *part.checksums.values())
    return not any(map(_NO_HEADER.search, texts))


def _has_its_bytes(state: ObjectState) -> bool:
    content, is_sealed = state.content, CHECK_NAME in state.system
    if isinstance(content, BlobContent):
        return content.piece.length == state.size_bytes and _is_whole(content.piece, is_sealed)
    if isinstance(content, ManifestContent) and is_sealed:
        # Under a customer's key only whole records become parts.
        return all(piece.first == 0 and _is_whole(piece, True) for part in content.parts for piece in part.pieces)
    return True


def _is_whole(piece: Piece, is_sealed: bool) -> bool:
    return piece.record_bytes == (sealed_bytes(piece.length) if is_sealed else piece.length)
