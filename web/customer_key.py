"""Customers' keys (SSE-C) in requests: when one is needed, when none may be given, and whether it is the right one.

A key lives in one request of one worker. It is never told to another process, kept, or put into a refusal; what is kept instead is a
check by which it is known again (`fasterstore/customer_key.py`). Objects, uploads and the sources of copies each have their own refusals.
Source: S3 user guide, "Using server-side encryption with customer-provided keys"; S3 API pages of the actions; codes and texts as AWS
answers, which refuses these headers over plain HTTP while this node warns of it once.
"""

import logging
import os
from collections.abc import Mapping

from fasterstore.customer_key import CHECK_NAME, CHECK_SALT_BYTES, CustomerKey
from fasterstore.model import ObjectRow, UploadRow
from fasterstore.s3.errors import S3Error
from fasterstore.s3.sse_c import ALGORITHM, SOURCE, TARGET, brings_key, key_headers, parse_customer_key
from web.authenticate import is_local
from web.context import Request
from web.encryption import written_encrypted
from web.object_headers import refuse_unsigned
from web.reply import Headers
from web.worker import Worker

logger = logging.getLogger(__name__)

_NOT_APPLICABLE = "The encryption parameters are not applicable to this object."
_NEEDED = "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to retrieve the object."
_NEEDED_FOR_PART = (
    "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate encryption parameters."
)
_NEEDED_FOR_CHECKSUMS = "To retrieve Part Checksum data requests must include appropriate encryption parameters."
_ANOTHER_KEY = "The provided encryption parameters did not match the ones used originally."


def key_to_seal(worker: Worker, request: Request) -> CustomerKey:
    """The key that the request brings for what it writes. Raises: S3Error, as every function here."""
    refuse_unsigned(request, "bring an encryption key")
    return _brought(worker, request, TARGET)


def sealed_system(system: Mapping[str, str], key: CustomerKey) -> dict[str, str]:
    """System metadata of a new object or upload whose bytes are sealed under `key`."""
    return {**system, CHECK_NAME: key.new_check(os.urandom(CHECK_SALT_BYTES))}


def written_headers(worker: Worker, key: CustomerKey | None) -> Headers:
    """What the answer to a write says of the encryption of the bytes that it brought."""
    return written_encrypted(worker) if key is None else key_headers(key)


def key_of_object(worker: Worker, request: Request, row: ObjectRow) -> CustomerKey | None:
    """The key that opens an object which is to be read; None for one that needs none, for which no key may be given.

    Raises: S3Error InvalidRequest, AccessDenied for a key that is not the object's, and what parsing the headers raises.
    """
    check = row.system.get(CHECK_NAME)
    if check is None:
        if ALGORITHM in request.headers:
            raise S3Error("InvalidRequest", _NOT_APPLICABLE)
        return None
    return _opening(worker, request, check, TARGET)


def key_of_source(worker: Worker, request: Request, row: ObjectRow) -> CustomerKey | None:
    """The same for the object that is copied from."""
    check = row.system.get(CHECK_NAME)
    if check is None:
        if brings_key(request.headers, SOURCE):
            raise S3Error("InvalidRequest", _NOT_APPLICABLE)
        return None
    return _opening(worker, request, check, SOURCE)


def key_of_part(worker: Worker, request: Request, upload: UploadRow) -> CustomerKey | None:
    """The key under which a part of that upload is sealed; None for an upload that began without one. Raises: S3Error InvalidRequest."""
    return _of_upload(worker, request, upload, _NEEDED_FOR_PART)


def key_to_complete(worker: Worker, request: Request, upload: UploadRow) -> CustomerKey | None:
    """The key that goes with a Complete. Nothing is sealed or opened then, and many clients send none.

    So it is needed where AWS needs it: for an upload with a checksum algorithm, whose checksum is told in the answer.
    """
    if not upload.algorithm and not brings_key(request.headers):
        return None
    return _of_upload(worker, request, upload, _NEEDED)


def key_to_list(worker: Worker, request: Request, upload: UploadRow) -> CustomerKey | None:
    """The key that goes with a ListParts: the same rule, since parts are listed with their checksums."""
    if not upload.algorithm and not brings_key(request.headers):
        return None
    return _of_upload(worker, request, upload, _NEEDED_FOR_CHECKSUMS)


def key_to_repeat(worker: Worker, request: Request, row: ObjectRow) -> CustomerKey | None:
    """The same for a Complete that is sent again, when its upload has become that object."""
    if not row.checksums and not brings_key(request.headers):
        return None
    return key_of_object(worker, request, row)


def refuse_other_key(row: ObjectRow, key: CustomerKey | None) -> None:
    """What is added to an object is sealed as the object is. Raises: S3Error InvalidRequest, AccessDenied."""
    check = row.system.get(CHECK_NAME)
    if check is None and key is not None:
        raise S3Error("InvalidRequest", _NOT_APPLICABLE)
    if check is not None:
        if key is None:
            raise S3Error("InvalidRequest", _NEEDED)
        if not key.is_that_of(check):
            raise S3Error("AccessDenied")


def _of_upload(worker: Worker, request: Request, upload: UploadRow, needed: str) -> CustomerKey | None:
    check = upload.system.get(CHECK_NAME)
    if check is None:
        if brings_key(request.headers):
            raise S3Error("InvalidRequest", _NOT_APPLICABLE)
        return None
    if not brings_key(request.headers):
        raise S3Error("InvalidRequest", needed)
    key = _brought(worker, request, TARGET)
    if not key.is_that_of(check):
        raise S3Error("InvalidRequest", _ANOTHER_KEY)
    return key


def _opening(worker: Worker, request: Request, check: str, prefix: str) -> CustomerKey:
    if not brings_key(request.headers, prefix):
        raise S3Error("InvalidRequest", _NEEDED)
    key = _brought(worker, request, prefix)
    if not key.is_that_of(check):
        raise S3Error("AccessDenied")
    return key


def _brought(worker: Worker, request: Request, prefix: str) -> CustomerKey:
    key = parse_customer_key(request.headers, prefix)
    if not (worker.told_of_plain_keys or request.is_secure or is_local(request)):
        worker.told_of_plain_keys = True
        logger.warning("customers' keys (SSE-C) come from %s over plain HTTP: anybody on the way can read them", request.peer_ip)
    return key
