"""RenameObject: another name for an object in the same bucket, in one step.

Conditions on ETags are the journal's to judge; those on dates are judged here on what is there now, and the journal is told what that was.
Source: S3 API page RenameObject.
"""

from collections.abc import Mapping

from actors.messages import RenameObject
from fasterstore.model import RenameIntent
from fasterstore.s3.conditions import failed_date
from fasterstore.s3.copy_source import RENAME_SOURCE_HEADER, CopySource, conditions_of, parse_rename_source
from fasterstore.s3.errors import S3Error
from web.authorise import authorise_source
from web.body import receive_document
from web.bucket_home import refuse_away_from_home
from web.context import Request
from web.lookup import locate, need_bucket
from web.object_content import LOOKUPS
from web.object_copy import find_source
from web.object_headers import refuse_unsigned
from web.object_version import key_of
from web.reply import Reply
from web.worker import Worker

_DATES = ("if-modified-since", "if-unmodified-since")
_EMPTY_LENGTH = ("Content-Length", "0")


def rename(worker: Worker, request: Request) -> Reply:
    """RenameObject. Raises: S3Error."""
    worker.writer()
    refuse_unsigned(request, "rename")
    headers = request.headers
    if RENAME_SOURCE_HEADER not in headers:
        raise S3Error("InvalidRequest", f"Missing required header for this request: {RENAME_SOURCE_HEADER}")
    source_key = parse_rename_source(headers[RENAME_SOURCE_HEADER], request.bucket)
    receive_document(request, worker.blob_key)
    need_bucket(worker, request)
    authorise_source(worker, request, request.bucket, source_key)
    of_source, of_target = conditions_of(headers, f"{RENAME_SOURCE_HEADER}-"), conditions_of(headers)
    if of_source or of_target:
        refuse_away_from_home(worker, request.bucket)
    intent = RenameIntent(
        request.bucket, source_key, key_of(request), of_target.get("if-match"), of_target.get("if-none-match"), of_source.get("if-match"),
        of_source.get("if-none-match"),
    )  # fmt: skip
    for left in reversed(range(LOOKUPS)):
        intent = _pinned(worker, request, intent, of_source, of_target)
        try:
            worker.ask("metadata-journal", RenameObject(intent))
            break
        except S3Error as refusal:
            if not left or refusal.code != "OperationAborted":
                raise
    return Reply(200, [_EMPTY_LENGTH])


def _pinned(
    worker: Worker, request: Request, intent: RenameIntent, of_source: Mapping[str, str], of_target: Mapping[str, str]
) -> RenameIntent:
    """The intent, tied to the objects whose dates were judged here. Raises: S3Error NoSuchKey, PreconditionFailed."""
    source = find_source(worker, CopySource(intent.bucket, intent.key, None)).object
    assert source is not None
    if any(name in of_source for name in _DATES):
        _refuse_date(of_source, source.modified_ms)
        intent = intent._replace(source_stamp=source.stamp)
    if any(name in of_target for name in _DATES):
        target = locate(worker, request, again=True).object
        _refuse_date(of_target, None if target is None else target.modified_ms)
        intent = intent._replace(target_stamp=0 if target is None else target.stamp)
    return intent


def _refuse_date(conditions: Mapping[str, str], modified_ms: int | None) -> None:
    failed = failed_date(conditions, modified_ms)
    if failed is not None:
        raise S3Error("PreconditionFailed", Condition=failed)


HANDLERS = {
    "RenameObject": rename,
}
"""By S3 action."""
