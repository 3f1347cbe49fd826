"""The public access block of a bucket: four switches that overrule public ACLs and policies.

Stored as the setting "public-access-block": four ASCII characters, "0" or "1", in the order of SWITCHES. A bucket without the setting
blocks nothing (AWS switches all four on for a new bucket; MinIO's users have no such thing, and a public canned ACL or policy is an
explicit act). Source: API pages Get-, Put-, DeletePublicAccessBlock; S3 user guide, "Blocking public access".
"""

from actors.messages import ConfigureBucket
from fasterstore.model import BucketRow
from fasterstore.s3.errors import S3Error
from fasterstore.s3.xml_reader import parse_document, text_of
from fasterstore.s3.xml_text import document, element
from web.body import receive_document
from web.context import Request
from web.lookup import need_bucket
from web.reply import Reply, xml_reply
from web.worker import Worker

SWITCHES = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
NAME = "public-access-block"
_VALUES = {"true": "1", "false": "0"}


def blocks_public_acls(bucket: BucketRow) -> bool:
    """Does the bucket refuse to be given a public ACL, or an object with one?"""
    stored: bytes = bucket.settings.get(NAME, b"0000")
    return stored[:1] == b"1"


def get(worker: Worker, request: Request) -> Reply:
    """GetPublicAccessBlock. Raises: S3Error NoSuchPublicAccessBlockConfiguration."""
    stored: bytes | None = need_bucket(worker, request).settings.get(NAME)
    if stored is None:
        raise S3Error("NoSuchPublicAccessBlockConfiguration", BucketName=request.bucket)
    states = ("true" if switch == "1" else "false" for switch in stored.decode("ascii"))
    return xml_reply(200, document("PublicAccessBlockConfiguration", map(element, SWITCHES, states)))


def put(worker: Worker, request: Request) -> Reply:
    """PutPublicAccessBlock: a switch that is not named is off. Raises: S3Error MalformedXML."""
    worker.writer()
    need_bucket(worker, request)
    root = parse_document(receive_document(request, worker.blob_key), "PublicAccessBlockConfiguration")
    states = [_VALUES.get((text_of(root, switch) or "false").strip().lower()) for switch in SWITCHES]
    if None in states:
        raise S3Error("MalformedXML")
    stored = "".join(state for state in states if state is not None).encode("ascii")
    worker.ask("metadata-journal", ConfigureBucket(request.bucket, NAME, stored))
    return Reply(200, [("Content-Length", "0")])


def delete(worker: Worker, request: Request) -> Reply:
    """DeletePublicAccessBlock. Raises: S3Error."""
    worker.writer()
    need_bucket(worker, request)
    worker.ask("metadata-journal", ConfigureBucket(request.bucket, NAME, None))
    return Reply(204, [])


HANDLERS = {
    "GetPublicAccessBlock": get,
    "PutPublicAccessBlock": put,
    "DeletePublicAccessBlock": delete,
}
"""By S3 action."""
