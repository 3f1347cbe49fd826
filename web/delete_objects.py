"""DeleteObjects: many keys in one request, each judged for itself. Parse, ask, render.

The journal gets the keys in slices, so that no other request waits for a thousand of them. What a slice did stays done if a later one
cannot be judged: its keys are told as errors, each of which may be tried again. Source: S3 API page DeleteObjects.
"""

from collections.abc import Mapping, Sequence

from actors.messages import DeletedMany, DeleteObjects
from actors.runtime import offload
from fasterstore.model import DeleteIntent
from fasterstore.s3.checksums import CHECKSUM_HEADERS
from fasterstore.s3.delete_xml import ListedKey, Outcome, parse_delete, render_delete_result
from fasterstore.s3.errors import S3Error, from_store
from fasterstore.s3.names import KEY_MAX_BYTES
from fasterstore.s3.xml_reader import LARGE_DOCUMENT_MAX_BYTES
from web.authorise import authorise_keys
from web.body import DOCUMENT_MAX_BYTES, receive_document
from web.bucket_home import home_of_bucket
from web.context import Request
from web.home_refusal import not_home
from web.lookup import need_bucket
from web.object_version import refuse_version
from web.reply import Reply, xml_reply
from web.worker import Worker

SLICE_KEYS = 128


def delete_objects(worker: Worker, request: Request) -> Reply:
    """DeleteObjects. Raises: S3Error."""
    worker.writer()
    need_bucket(worker, request)
    _refuse_without_digest(request.headers)
    body = receive_document(request, worker.blob_key, LARGE_DOCUMENT_MAX_BYTES)
    listed = parse_delete(body) if len(body) <= DOCUMENT_MAX_BYTES else offload(parse_delete, body)
    allowed = authorise_keys(worker, request, [(item.key.encode(), item.version_id is not None) for item in listed.keys])
    outcomes = [_refused(item, may) for item, may in zip(listed.keys, allowed, strict=True)]
    _delete(worker, request.bucket, listed.keys, outcomes)
    return xml_reply(200, render_delete_result([outcome for outcome in outcomes if outcome is not None], listed.quiet))


def _refuse_without_digest(headers: Mapping[str, str]) -> None:
    """A list of what to delete must not be damaged on its way: S3 wants a digest of it."""
    if "content-md5" not in headers and "x-amz-trailer" not in headers and CHECKSUM_HEADERS.keys().isdisjoint(headers):
        raise S3Error("InvalidRequest", "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")


def _refused(item: ListedKey, allowed: bool) -> Outcome | None:
    """What can be said of a key without looking at it; None: it is for the journal."""
    try:
        if not allowed:
            raise S3Error("AccessDenied")
        if len(item.key.encode()) > KEY_MAX_BYTES:
            raise S3Error("KeyTooLongError")
        refuse_version(item.version_id)
    except S3Error as refusal:
        # An id that cannot be one names no version either: it must not refuse the other keys.
        return _outcome(item, S3Error("NoSuchVersion") if refusal.code == "InvalidArgument" else refusal)
    return None


def _delete(worker: Worker, bucket: str, listed: Sequence[ListedKey], outcomes: list[Outcome | None]) -> None:
    """Have the keys deleted that have no outcome yet, and fill in theirs. Raises: S3Error if nothing was deleted at all."""
    places = [place for place, outcome in enumerate(outcomes) if outcome is None]
    broken: S3Error | None = None
    for start in range(0, len(places), SLICE_KEYS):
        chosen = places[start : start + SLICE_KEYS]
        errors: list[S3Error | None] = [broken] * len(chosen)
        if broken is None:
            try:
                errors = _ask(worker, bucket, [listed[place] for place in chosen])
            except S3Error as refusal:
                if not start:
                    raise
                broken, errors = refusal, [refusal] * len(chosen)
        for place, error in zip(chosen, errors, strict=True):
            outcomes[place] = _outcome(listed[place], error)


def _ask(worker: Worker, bucket: str, items: Sequence[ListedKey]) -> list[S3Error | None]:
    intents = [DeleteIntent(item.key.encode(), item.if_match, item.if_modified_secs, item.if_size) for item in items]
    answer: DeletedMany = worker.ask("metadata-journal", DeleteObjects(bucket, intents))
    return [_error(worker, bucket, name) if name else None for name in answer.errors]


def _error(worker: Worker, bucket: str, name: str) -> S3Error:
    if name == "NotHome":  # a key's refusal is its name alone
        home = home_of_bucket(worker.reader(), bucket)
        return not_home(worker.replication, "" if home is None else home.hex())
    return from_store(name)


def _outcome(item: ListedKey, error: S3Error | None) -> Outcome:
    if error is None:
        return Outcome(item.key, item.version_id)
    return Outcome(item.key, item.version_id, error.code, error.message)


HANDLERS = {
    "DeleteObjects": delete_objects,
}
"""By S3 action."""
