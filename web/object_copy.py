"""CopyObject: the same bytes under another name. No byte is moved: the journal counts one more reference.

What is looked at here (size, ETag, metadata) must still be so when the journal names the copy; if the source was changed meanwhile it is
looked at again. Only what is sealed under a customer's key, or is to be, is read and written anew, also under the same key: each stored
body has a key of its own. Source: S3 API page CopyObject.
"""

from collections.abc import Mapping
from typing import NamedTuple

from actors.messages import CopyObject, Stored
from fasterstore.customer_key import CustomerKey, without_check
from fasterstore.digests import CHECKSUM_ALGORITHMS
from fasterstore.errors import DamagedRecord
from fasterstore.metadata.index import Located
from fasterstore.model import CopyIntent, ObjectRow, PutIntent
from fasterstore.s3.copy_result import render_copy_result
from fasterstore.s3.copy_source import COPY_SOURCE_HEADER, CopySource, parse_copy_source, require_source
from fasterstore.s3.errors import S3Error
from fasterstore.s3.sse_c import SOURCE
from fasterstore.s3.xml import OWNER_ID
from web.acl import object_acl
from web.authorise import authorise_source
from web.body import receive_document
from web.context import Request
from web.customer_key import key_of_source, key_to_seal, sealed_system, written_headers
from web.encryption import ENCRYPTION, stored_encrypted
from web.lookup import need_bucket, no_bucket
from web.manifest import verified_pieces
from web.object_content import LOOKUPS, checksum_of, damaged
from web.object_headers import STORAGE_CLASS, WEBSITE_REDIRECT, Description, describe, refuse_unsigned
from web.object_version import key_of, refuse_version
from web.reply import Reply, xml_reply
from web.reread import store_again
from web.worker import Worker

SOURCE_MAX_BYTES = 5 << 30
_SOURCE_ENCRYPTION = "x-amz-copy-source-server-side-encryption"
_NOT_COPIED = (STORAGE_CLASS, WEBSITE_REDIRECT)
"""What a copy has only if its own request says so."""


class _Order(NamedTuple):
    """What a copy is to be, apart from its source: `checksum` is an algorithm's name, "" to keep the source's."""

    source: CopySource
    described: Description
    acl: str
    new_metadata: bool
    new_tags: bool
    checksum: str
    key: CustomerKey | None
    """The customer's under which the copy is to be sealed."""


def copy(worker: Worker, request: Request) -> Reply:
    """CopyObject. Raises: S3Error."""
    worker.writer()
    refuse_unsigned(request, "copy")
    refuse_version(request.query.get("versionId"))
    order = _order(worker, request)
    receive_document(request, worker.blob_key)
    for left in reversed(range(LOOKUPS)):
        found = find_source(worker, request, order.source)
        assert found.object is not None
        source_key = key_of_source(worker, request, found.object)
        try:
            target = _target(request, found.object, order, source_key is not None)
            if source_key is not None or order.key is not None:
                return _written_anew(worker, request, target, found.object, order, source_key)
            return _copied(worker, request, target, found, order)
        except (DamagedRecord, FileNotFoundError) as moved:
            if not left:
                raise damaged(worker, found, moved) from None
        except S3Error as refusal:
            if not left or refusal.code != "OperationAborted":
                raise
    raise AssertionError("unreachable")


def find_source(worker: Worker, request: Request, source: CopySource) -> Located:
    """Where the source of a copy lies now; its object is there, and the request may read it. Raises: S3Error NoSuchBucket, NoSuchKey,
    AccessDenied."""
    found = authorise_source(worker, request, source.bucket, source.key)
    if found.bucket is None:
        raise no_bucket(source.bucket)
    if found.object is None:
        raise S3Error("NoSuchKey", Key=source.key.decode("utf-8"))
    return found


def refuse_source_headers(headers: Mapping[str, str]) -> None:
    """Raises S3Error AccessDenied for another expected owner of the source, NotImplemented for what else is to decrypt it."""
    expected = headers.get("x-amz-source-expected-bucket-owner")
    if expected is not None and expected != OWNER_ID:
        raise S3Error("AccessDenied")
    for name in headers:
        if name.startswith(_SOURCE_ENCRYPTION) and not name.startswith(SOURCE):
            raise S3Error("NotImplemented", Header=name)


def _order(worker: Worker, request: Request) -> _Order:
    headers = request.headers
    source = parse_copy_source(headers[COPY_SOURCE_HEADER])
    refuse_version(source.version_id)
    refuse_source_headers(headers)
    described = describe(headers, worker.keyring.seals)
    checksum = headers.get("x-amz-checksum-algorithm", "").strip().upper()
    if checksum and checksum not in CHECKSUM_ALGORITHMS:
        raise S3Error("InvalidRequest", "Value for x-amz-checksum-algorithm header is invalid.")
    bucket = need_bucket(worker, request)
    acl = object_acl(request, bucket) if described.has_acl else ""
    key = key_to_seal(worker, request) if described.has_key else None
    return _Order(source, described, acl, _replaces(headers, "metadata"), _replaces(headers, "tagging"), checksum, key)


def _replaces(headers: Mapping[str, str], what: str) -> bool:
    name = f"x-amz-{what}-directive"
    directive = headers.get(name, "COPY")
    if directive not in ("COPY", "REPLACE"):
        raise S3Error("InvalidArgument", f"Unknown {what} directive.", ArgumentName=name, ArgumentValue=directive)
    return directive == "REPLACE"


def _target(request: Request, row: ObjectRow, order: _Order, is_sealed: bool) -> PutIntent:
    """The copy of what was found, as it is to be, with the source's checksums. `is_sealed`: the source is. Raises: S3Error."""
    headers = request.headers
    require_source(headers, row.etag, row.modified_ms)
    if row.size_bytes > SOURCE_MAX_BYTES:
        text = f"The specified copy source is larger than the maximum allowable size for a copy source: {SOURCE_MAX_BYTES}"
        raise S3Error("InvalidRequest", text)
    if (request.bucket, request.key) == (order.source.bucket, order.source.key):
        _refuse_unchanged(headers, row, order, is_sealed)
    system, user = order.described.system, order.described.user
    if not order.new_metadata:
        own = {name: system[name] for name in _NOT_COPIED if name in system}
        system = {name: value for name, value in without_check(row.system).items() if name not in _NOT_COPIED} | own
        user = row.user
    if order.key is not None:
        system = sealed_system(system, order.key)
    return PutIntent(
        request.bucket, key_of(request), row.size_bytes, row.etag, system, user, row.checksums, headers.get("if-match"),
        headers.get("if-none-match"), False, order.described.tags if order.new_tags else row.tags, order.acl,
    )  # fmt: skip


def _refuse_unchanged(headers: Mapping[str, str], row: ObjectRow, order: _Order, is_sealed: bool) -> None:
    """Raises S3Error InvalidRequest for a copy of `row` onto itself that would change nothing."""
    changes_encryption = is_sealed or order.key is not None or ENCRYPTION in headers
    if order.new_metadata or order.new_tags or changes_encryption or any(name in headers for name in _NOT_COPIED):
        return
    if not order.checksum or order.checksum in row.checksums:
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, "
            "storage class, website redirect location or encryption attributes.",
        )


def _written_anew(
    worker: Worker, request: Request, target: PutIntent, row: ObjectRow, order: _Order, source_key: CustomerKey | None
) -> Reply:
    """Store the bytes once more. Raises: S3Error; DamagedRecord, FileNotFoundError if they were moved (look again)."""
    names = (order.checksum,) if order.checksum else tuple(row.checksums)
    pieces = verified_pieces(worker, row, 0, row.size_bytes, source_key)
    stored = store_again(worker, request, pieces, target, names, order.key)
    reply = xml_reply(200, render_copy_result(stored.etag, stored.modified_ms, stored.checksums))
    reply.headers += written_headers(worker, order.key)
    return reply


def _copied(worker: Worker, request: Request, target: PutIntent, found: Located, order: _Order) -> Reply:
    """Have the copy named.

    Raises: S3Error; OperationAborted if the source was changed since it was found; DamagedRecord, FileNotFoundError if it was moved.
    """
    assert found.object is not None
    if ENCRYPTION in request.headers and not stored_encrypted(worker, found):
        # A copy is one more reference to the same bytes: what was stored in plaintext before the key was set would stay so.
        raise S3Error("NotImplemented", "The source is not known to be encrypted on disk yet: upload it anew.", Header=ENCRYPTION)
    if order.checksum and order.checksum not in target.checksums:
        target = target._replace(checksums={order.checksum: checksum_of(worker, found, order.checksum)})
    intent = CopyIntent(target, order.source.bucket, order.source.key, found.object.stamp)
    stored: Stored = worker.ask("metadata-journal", CopyObject(intent))
    reply = xml_reply(200, render_copy_result(stored.etag, stored.modified_ms, target.checksums))
    reply.headers += stored_encrypted(worker, found)
    return reply


HANDLERS = {
    "CopyObject": copy,
}
"""By S3 action."""
