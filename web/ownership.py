"""Ownership controls of a bucket: whether it has ACLs at all.

Stored as the setting "ownership": the name (one of OWNERSHIPS) as ASCII bytes. A bucket without the setting has ACLs, as with
ObjectWriter, and answers OwnershipControlsNotFoundError: that is AWS's answer for a bucket without the setting, ceph/s3-tests expects
it of a new bucket and terraform takes it for "not there yet"; and the canned ACLs that MinIO's users send must go on being accepted.
With BucketOwnerEnforced ACLs are neither set nor looked at. Source: S3 user guide, "Controlling ownership of objects and disabling
ACLs for your bucket"; API pages of the three actions.
"""

from actors.messages import ConfigureBucket
from fasterstore.model import BucketRow
from fasterstore.s3.errors import S3Error
from fasterstore.s3.xml_reader import children, need_text, parse_document
from fasterstore.s3.xml_text import document, element
from web.body import receive_document
from web.context import Request
from web.lookup import need_bucket
from web.reply import Reply, xml_reply
from web.worker import Worker

ACLS_DISABLED = "BucketOwnerEnforced"
OWNERSHIPS = frozenset((ACLS_DISABLED, "BucketOwnerPreferred", "ObjectWriter"))
NAME = "ownership"


def ownership_of(bucket: BucketRow) -> str:
    """The bucket's ownership setting, "" if it has none."""
    stored: bytes = bucket.settings.get(NAME, b"")
    return stored.decode("ascii")


def get(worker: Worker, request: Request) -> Reply:
    """GetBucketOwnershipControls. Raises: S3Error OwnershipControlsNotFoundError."""
    name = ownership_of(need_bucket(worker, request))
    if not name:
        raise S3Error("OwnershipControlsNotFoundError", BucketName=request.bucket)
    return xml_reply(200, document("OwnershipControls", ["<Rule>", element("ObjectOwnership", name), "</Rule>"]))


def put(worker: Worker, request: Request) -> Reply:
    """PutBucketOwnershipControls. Raises: S3Error MalformedXML, InvalidBucketAclWithObjectOwnership."""
    worker.writer()
    bucket = need_bucket(worker, request)
    root = parse_document(receive_document(request, worker.blob_key), "OwnershipControls")
    rules = list(children(root, "Rule"))
    if len(rules) != 1:
        raise S3Error("MalformedXML")
    name = need_text(rules[0], "ObjectOwnership")
    if name not in OWNERSHIPS:
        raise S3Error("MalformedXML")
    if name == ACLS_DISABLED and "acl" in bucket.settings:
        raise S3Error("InvalidBucketAclWithObjectOwnership")
    worker.ask("metadata-journal", ConfigureBucket(request.bucket, NAME, name.encode("ascii")))
    return Reply(200, [("Content-Length", "0")])


def delete(worker: Worker, request: Request) -> Reply:
    """DeleteBucketOwnershipControls. Raises: S3Error."""
    worker.writer()
    need_bucket(worker, request)
    worker.ask("metadata-journal", ConfigureBucket(request.bucket, NAME, None))
    return Reply(204, [])


HANDLERS = {
    "GetBucketOwnershipControls": get,
    "PutBucketOwnershipControls": put,
    "DeleteBucketOwnershipControls": delete,
}
"""By S3 action."""
