"""Which version of an object a request means. Without versioning there is the current one, whose id is "null", and no other."""

import re

from fasterstore.model import ObjectRow
from fasterstore.s3.errors import S3Error
from web.context import Request
from web.lookup import locate, no_bucket
from web.worker import Worker

_VERSION_ID = re.compile(r"[A-Za-z0-9+/=._-]{32,128}")
"""What an id of some store may look like: such a version is missing, while anything else is no id at all (as on AWS)."""


def refuse_version(version: str | None) -> None:
    """Raises S3Error NoSuchVersion or InvalidArgument unless `version` (None: none was named) is the current one."""
    if version is None or version == "null":
        return
    if _VERSION_ID.fullmatch(version) is not None:
        raise S3Error("NoSuchVersion", VersionId=version)
    text = "Invalid version id specified" if version else "Version id cannot be the empty string"
    raise S3Error("InvalidArgument", text, ArgumentName="versionId", ArgumentValue=version)


def need_object(worker: Worker, request: Request) -> ObjectRow:
    """The version of its key that the request means. Raises: S3Error NoSuchBucket, NoSuchKey, NoSuchVersion, InvalidArgument."""
    found = locate(worker, request)
    if found.bucket is None:
        raise no_bucket(request.bucket)
    if request.query:
        refuse_version(request.query.get("versionId"))
    if found.object is None:
        raise no_key(request)
    return found.object


def no_key(request: Request) -> S3Error:
    """The error for the request's key that is not there."""
    return S3Error("NoSuchKey", Key=key_of(request).decode("utf-8"))


def key_of(request: Request) -> bytes:
    """The key of a request to an object: routes of objects have one always."""
    assert request.key is not None
    return request.key
