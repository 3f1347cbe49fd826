"""CopyObject: the same bytes under another name. No byte is moved: the journal counts one more reference.

What is looked at here (size, ETag, metadata) must still be so when the journal names the copy; if the source was changed meanwhile it is
looked at again. Source: S3 API page CopyObject.
"""

from collections.abc import Mapping
from typing import NamedTuple

from actors.messages import CopyObject, Stored
from fasterstore.digests import CHECKSUM_ALGORITHMS
from fasterstore.errors import DamagedRecord
from fasterstore.metadata.index import Located
from fasterstore.model import CopyIntent, ObjectRow, PutIntent
from fasterstore.s3.copy_result import render_copy_result
from fasterstore.s3.copy_source import COPY_SOURCE_HEADER, CopySource, parse_copy_source, require_source
from fasterstore.s3.errors import S3Error
from fasterstore.s3.xml import OWNER_ID
from web.acl import object_acl
from web.authorise import authorise_source
from web.body import receive_document
from web.context import Request
from web.encryption import ENCRYPTION, stored_encrypted
from web.lookup import need_bucket, no_bucket
from web.object_content import LOOKUPS, checksum_of, damaged
from web.object_headers import STORAGE_CLASS, WEBSITE_REDIRECT, Description, describe, refuse_unsigned
from web.object_version import key_of, refuse_version
from web.reply import Reply, xml_reply
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


def copy(worker: Worker, request: Request) -> Reply:
    """CopyObject. Raises: S3Error."""
    worker.writer()
    refuse_unsigned(request, "copy")
    refuse_version(request.query.get("versionId"))
    order = _order(worker, request)
    receive_document(request, worker.blob_key)
    authorise_source(worker, request, order.source.bucket, order.source.key)
    for left in reversed(range(LOOKUPS)):
        found = find_source(worker, order.source)
        try:
            target = _target(worker, request, found, order)
            return _copied(worker, target, found, order.source)
        except (DamagedRecord, FileNotFoundError) as moved:
            if not left:
                raise damaged(worker, found, moved) from None
        except S3Error as refusal:
            if not left or refusal.code != "OperationAborted":
                raise
    raise AssertionError("unreachable")


def find_source(worker: Worker, source: CopySource) -> Located:
    """Where the source of a copy lies now; its object is there. Raises: S3Error NoSuchBucket, NoSuchKey."""
    found = worker.reader().locate(source.bucket, source.key)
    if found.bucket is None:
        raise no_bucket(source.bucket)
    if found.object is None:
        raise S3Error("NoSuchKey", Key=source.key.decode("utf-8"))
    return found


def refuse_source_headers(headers: Mapping[str, str]) -> None:
    """Raises S3Error AccessDenied for another expected owner of the source, NotImplemented if the source is to be decrypted."""
    expected = headers.get("x-amz-source-expected-bucket-owner")
    if expected is not None and expected != OWNER_ID:
        raise S3Error("AccessDenied")
    for name in headers:
        if name.startswith(_SOURCE_ENCRYPTION):
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
    return _Order(source, described, acl, _replaces(headers, "metadata"), _replaces(headers, "tagging"), checksum)


def _replaces(headers: Mapping[str, str], what: str) -> bool:
    name = f"x-amz-{what}-directive"
    directive = headers.get(name, "COPY")
    if directive not in ("COPY", "REPLACE"):
        raise S3Error("InvalidArgument", f"Unknown {what} directive.", ArgumentName=name, ArgumentValue=directive)
    return directive == "REPLACE"


def _target(worker: Worker, request: Request, found: Located, order: _Order) -> PutIntent:
    """The copy of what was found, as it is to be. Raises: S3Error; DamagedRecord, FileNotFoundError if it was moved (look again)."""
    row, headers = found.object, request.headers
    assert row is not None
    if ENCRYPTION in headers and not stored_encrypted(worker, found):
        # A copy is one more reference to the same bytes: what was stored in plaintext before the key was set would stay so.
        raise S3Error("NotImplemented", "The source is not known to be encrypted on disk yet: upload it anew.", Header=ENCRYPTION)
    require_source(headers, row.etag, row.modified_ms)
    if row.size_bytes > SOURCE_MAX_BYTES:
        text = f"The specified copy source is larger than the maximum allowable size for a copy source: {SOURCE_MAX_BYTES}"
        raise S3Error("InvalidRequest", text)
    if (request.bucket, request.key) == (order.source.bucket, order.source.key):
        _refuse_unchanged(headers, row, order)
    system, user = order.described.system, order.described.user
    if not order.new_metadata:
        own = {name: system[name] for name in _NOT_COPIED if name in system}
        system = {name: value for name, value in row.system.items() if name not in _NOT_COPIED} | own
        user = row.user
    checksums = row.checksums
    if order.checksum and order.checksum not in checksums:
        checksums = {order.checksum: checksum_of(worker, found, order.checksum)}
    return PutIntent(
        request.bucket, key_of(request), row.size_bytes, row.etag, system, user, checksums, headers.get("if-match"),
        headers.get("if-none-match"), False, order.described.tags if order.new_tags else row.tags, order.acl,
    )  # fmt: skip


def _refuse_unchanged(headers: Mapping[str, str], row: ObjectRow, order: _Order) -> None:
    """Raises S3Error InvalidRequest for a copy of `row` onto itself that would change nothing."""
    if order.new_metadata or order.new_tags or any(name in headers for name in (*_NOT_COPIED, ENCRYPTION)):
        return
    if not order.checksum or order.checksum in row.checksums:
        raise S3Error(
            "InvalidRequest",
            "This copy request is illegal because it is trying to copy an object to itself without changing the object's metadata, "
            "storage class, website redirect location or encryption attributes.",
        )


def _copied(worker: Worker, target: PutIntent, found: Located, source: CopySource) -> Reply:
    """Have the copy named. Raises: S3Error; OperationAborted if the source was changed since it was found."""
    assert found.object is not None
    intent = CopyIntent(target, source.bucket, source.key, found.object.stamp)
    stored: Stored = worker.ask("metadata-journal", CopyObject(intent))
    reply = xml_reply(200, render_copy_result(stored.etag, stored.modified_ms, target.checksums))
    reply.headers += stored_encrypted(worker, found)
    return reply


HANDLERS = {
    "CopyObject": copy,
}
"""By S3 action."""
