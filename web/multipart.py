"""CreateMultipartUpload, UploadPart, CompleteMultipartUpload, AbortMultipartUpload: parse, ask, render.

Completing an upload moves no byte: the parts are looked at here, and the journal writes down their map if the upload is still what was
looked at. The last word on conditions is the journal's. Lists, copies of parts and attributes have modules of their own.
Source: S3 API pages of the four actions.
"""

import os
import re
from collections.abc import Mapping, Sequence

from actors.messages import AbortUpload, CompleteUpload, CreateUpload, Stored, UploadMade
from actors.runtime import offload, sleep
from fasterstore.customer_key import CHECK_NAME, CustomerKey
from fasterstore.digests import CHECKSUM_ALGORITHMS
from fasterstore.metadata.multipart import (
    PART_MAX_BYTES,
    Checks,
    Completed,
    ListedPart,
    check_part_number,
    complete,
    composed_etag,
    in_order,
    parse_upload_id,
    upload_id,
)
from fasterstore.model import PARTS_MAX, CompleteIntent, PartRow, PutIntent, UploadIntent, UploadRow
from fasterstore.s3.checksums import CHECKSUM_HEADERS, COMPOSITE, ChecksumRequest
from fasterstore.s3.composite import checksum_choice
from fasterstore.s3.errors import S3Error
from fasterstore.s3.multipart_xml import parse_complete, render_completed, render_initiated
from fasterstore.s3.sse_c import key_headers
from fasterstore.s3.xml_reader import LARGE_DOCUMENT_MAX_BYTES
from web.acl import object_acl
from web.body import DOCUMENT_MAX_BYTES, plan_body, receive_document
from web.bucket_home import refuse_away_from_home
from web.context import Request
from web.customer_key import key_of_part, key_to_complete, key_to_repeat, key_to_seal, sealed_system, written_headers
from web.encryption import upload_encrypted
from web.lookup import need_bucket
from web.object_headers import describe, refuse_unbuilt, refuse_unsigned
from web.object_version import key_of
from web.peer_state import require_peer
from web.reply import Headers, Reply, xml_reply
from web.sealing import store
from web.worker import Worker

LOOKS = 3
"""How often an upload is looked at anew when a part came or went between the look and the journal's word."""
ROWS_IN_A_TURN = 250
"""Part rows read before other requests get a turn: about two milliseconds."""
LARGE_LIST_PARTS = 500
"""Lists of more parts are parsed and checked in a native thread."""
_TOKEN_BYTES = 16
_SIZE_MAX_CHARS = 19
_MD5_HEX = re.compile(r"[0-9a-f]{32}")
CHANGED = "OperationAborted"
"""How S3 calls what the journal calls UploadChanged and SourceChanged."""


def create(worker: Worker, request: Request) -> Reply:
    """CreateMultipartUpload. Raises: S3Error."""
    worker.writer()
    bucket = need_bucket(worker, request)
    described = describe(request.headers, worker.keyring.seals)
    if described.tags:
        refuse_unsigned(request, "set tags")
    acl = object_acl(request, bucket) if described.has_acl else ""
    customer_key = key_to_seal(worker, request) if described.has_key else None
    system = described.system if customer_key is None else sealed_system(described.system, customer_key)
    algorithm, checksum_type = checksum_choice(request.headers)
    receive_document(request, worker.blob_key)
    key = key_of(request)
    token = os.urandom(_TOKEN_BYTES).hex()
    intent = UploadIntent(request.bucket, key, token, system, described.user, described.tags, acl, algorithm, checksum_type)
    made: UploadMade = worker.ask("metadata-journal", CreateUpload(intent))
    reply = xml_reply(200, render_initiated(request.bucket, key, upload_id(made.number, token)))
    reply.headers += written_headers(worker, customer_key)
    if algorithm:
        reply.headers += (("x-amz-checksum-algorithm", algorithm), ("x-amz-checksum-type", checksum_type))
    return reply


def upload_part(worker: Worker, request: Request) -> Reply:
    """UploadPart: an earlier part of that number is replaced. Raises: S3Error."""
    worker.writer()
    number = part_number(request)
    upload = open_upload(worker, request)
    refuse_unbuilt(request.headers)
    customer_key = key_of_part(worker, request, upload)
    plan = plan_body(request, min(worker.settings.max_request_bytes, PART_MAX_BYTES))
    plan = plan._replace(checksums=_with_declared(plan.checksums, upload))
    intent = PutIntent(request.bucket, upload.key, plan.size_bytes, "", {}, {}, {}, upload=upload.number, part=number)
    stored = store(worker, request, plan, intent, customer_key)
    headers: Headers = [("ETag", f'"{stored.etag}"'), ("Content-Length", "0"), *written_headers(worker, customer_key)]
    headers += [(CHECKSUM_ALGORITHMS[name].header, value) for name, value in stored.checksums.items()]
    return Reply(200, headers)


def complete_upload(worker: Worker, request: Request) -> Reply:
    """CompleteMultipartUpload; the same one again gets the same answer while the object is there. Raises: S3Error."""
    worker.writer()
    need_bucket(worker, request)
    if "if-match" in request.headers or "if-none-match" in request.headers:
        refuse_away_from_home(worker, request.bucket)
    checks = _checks(request.headers)
    # Here these headers tell of the object, and not, as everywhere else, of the body that comes with them.
    request.headers = {name: value for name, value in request.headers.items() if name not in CHECKSUM_HEADERS}
    body = receive_document(request, worker.blob_key, LARGE_DOCUMENT_MAX_BYTES)
    listed = in_order(parse_complete(body) if len(body) <= DOCUMENT_MAX_BYTES else offload(parse_complete, body))
    for left in reversed(range(LOOKS)):
        upload = find_upload(worker, request)
        if upload is None:
            return _completed_before(worker, request, listed)
        customer_key = key_to_complete(worker, request, upload)
        completed = _completed(worker, upload, listed, checks)
        intent = CompleteIntent(
            request.bucket, upload.key, upload.number, upload.version, completed.part_map, completed.etag, completed.checksums,
            request.headers.get("if-match"), request.headers.get("if-none-match"),
        )  # fmt: skip
        try:
            stored: Stored = worker.ask("metadata-journal", CompleteUpload(intent))
        except S3Error as refusal:
            # NoSuchUpload: another Complete of this upload, perhaps the same, was faster; the next look tells.
            if not left or refusal.code not in (CHANGED, "NoSuchUpload"):
                raise
        else:
            told = _encryption_told(worker, upload.system, customer_key)
            return _answer(request, stored.etag, completed.checksums, told)
    raise AssertionError("unreachable")


def abort(worker: Worker, request: Request) -> Reply:
    """AbortMultipartUpload. Raises: S3Error."""
    worker.writer()
    upload = open_upload(worker, request)
    worker.ask("metadata-journal", AbortUpload(request.bucket, upload.key, upload.number))
    return Reply(204, [])


def open_upload(worker: Worker, request: Request) -> UploadRow:
    """The open upload that the query names. Raises: S3Error NoSuchBucket, NoSuchUpload."""
    upload = find_upload(worker, request)
    if upload is None:
        raise no_upload(request)
    return upload


def find_upload(worker: Worker, request: Request) -> UploadRow | None:
    """The same, None if there is none, or not of this key. Raises: S3Error NoSuchBucket."""
    bucket = need_bucket(worker, request)
    named = parse_upload_id(request.query["uploadId"])
    if named is None:
        return None
    number, token = named
    upload = worker.reader().uploads.upload(bucket.bucket_id, key_of(request), number)
    return upload if upload is not None and upload.token == token else None


def no_upload(request: Request) -> S3Error:
    """The error for an upload that is not open."""
    return S3Error("NoSuchUpload", UploadId=request.query["uploadId"])


def part_number(request: Request) -> int:
    """The part that the query names. Raises: S3Error InvalidArgument."""
    text = request.query.get("partNumber", "")
    if not (text.isascii() and text.isdigit() and len(text) <= len(str(PARTS_MAX))):
        raise S3Error(
            "InvalidArgument",
            f"Part number must be an integer between 1 and {PARTS_MAX}, inclusive",
            ArgumentName="partNumber",
            ArgumentValue=text,
        )
    check_part_number(int(text))
    return int(text)


def _with_declared(asked: ChecksumRequest, upload: UploadRow) -> ChecksumRequest:
    """What is computed of a part: for an upload with an algorithm that one, whether or not the client sends a value to compare.

    Raises S3Error InvalidRequest for another one, or none where the client must have it for CompleteMultipartUpload.
    """
    declared = upload.algorithm
    if not declared or asked.names == (declared,):
        return asked
    if asked.names or upload.checksum_type == COMPOSITE:
        sent = asked.names[0].lower() if asked.names else "null"
        raise S3Error(
            "InvalidRequest",
            f"Checksum Type mismatch occurred, expected checksum Type: {declared.lower()}, actual checksum Type: {sent}",
        )
    return asked._replace(names=(declared,))


def _checks(headers: Mapping[str, str]) -> Checks:
    size = headers.get("x-amz-mp-object-size")
    if size is not None and not (size.isascii() and size.isdigit() and len(size) <= _SIZE_MAX_CHARS):
        raise S3Error("InvalidRequest", "Value for x-amz-mp-object-size header is invalid.")
    checksums = {name: headers[header] for header, name in CHECKSUM_HEADERS.items() if header in headers}
    checksum_type = headers.get("x-amz-checksum-type", "").strip().upper()
    return Checks(None if size is None else int(size), checksums, checksum_type)


def _completed(worker: Worker, upload: UploadRow, listed: Sequence[ListedPart], checks: Checks) -> Completed:
    """What the upload becomes. Raises: S3Error."""
    rows = _part_rows(worker, upload.number)
    if len(listed) <= LARGE_LIST_PARTS:
        return complete(listed, rows, upload.algorithm, upload.checksum_type, checks)
    return offload(complete, listed, rows, upload.algorithm, upload.checksum_type, checks)


def _part_rows(worker: Worker, number: int) -> dict[int, PartRow]:
    """All parts of an upload that are there now. The index is asked for anew at each batch: during a switch it may have gone."""
    rows: dict[int, PartRow] = {}
    last = 0
    while True:
        batch = worker.reader().uploads.parts_after(number, last, ROWS_IN_A_TURN)
        # Where the bytes lie does not matter here, and copied parts may have so many pieces that all of them would be 70 MB.
        rows.update((row.number, row._replace(slices=())) for row in batch)
        if len(batch) < ROWS_IN_A_TURN:
            return rows
        last = batch[-1].number
        sleep(0)


def _completed_before(worker: Worker, request: Request, listed: Sequence[ListedPart]) -> Reply:
    """The answer to a Complete that has been carried out already and is sent again, as clients do that lost the first answer.

    It is the same one if the object still consists of what that upload became, and the list gives the same ETag.
    Raises: S3Error NoSuchUpload, ServiceUnavailable (no peer has it yet).
    """
    named = parse_upload_id(request.query["uploadId"])
    index = worker.reader()
    row = index.locate(request.bucket, key_of(request)).object
    if named is not None and row is not None and row.manifest == named[0] and all(_MD5_HEX.fullmatch(part.etag) for part in listed):
        manifest = index.uploads.manifest(row.manifest)
        etag = composed_etag([part.etag for part in listed])
        if manifest is not None and (manifest.token, manifest.etag, row.etag) == (named[1], etag, etag):
            require_peer(worker, row)
            told = _encryption_told(worker, row.system, key_to_repeat(worker, request, row))
            return _answer(request, etag, row.checksums, told)
    raise no_upload(request)


def _encryption_told(worker: Worker, system: Mapping[str, str], customer_key: CustomerKey | None) -> Headers:
    """What is said of the encryption of an upload, or an object, with that system metadata; `customer_key` is the key that was sent."""
    if customer_key is not None:
        return key_headers(customer_key)
    return [] if CHECK_NAME in system else upload_encrypted(worker)


def _answer(request: Request, etag: str, checksums: Mapping[str, str], encryption: Headers) -> Reply:
    scheme = "https" if request.is_secure else "http"
    location = f"{scheme}://{request.headers.get('host', '')}{request.raw_path}"
    reply = xml_reply(200, render_completed(location, request.bucket, key_of(request), etag, checksums))
    reply.headers += encryption
    return reply


HANDLERS = {
    "CreateMultipartUpload": create,
    "UploadPart": upload_part,
    "CompleteMultipartUpload": complete_upload,
    "AbortMultipartUpload": abort,
}
"""By S3 action."""
