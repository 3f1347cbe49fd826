"""The default encryption of a bucket, which is the node's: with a master key everything is encrypted, without one nothing.

So a GET tells what is so, a PUT is accepted if it asks for that, and a DELETE changes nothing, as on AWS, where AES256 is what is left.
Source: S3 API pages Get-, Put-, DeleteBucketEncryption.
"""

from fasterstore.s3.errors import S3Error
from fasterstore.s3.xml_reader import children, parse_document, text_of
from fasterstore.s3.xml_text import document, element
from web.body import receive_document
from web.context import Request
from web.encryption import AES256, ENCRYPTION, check_encryption
from web.lookup import need_bucket
from web.reply import Reply, xml_reply
from web.worker import Worker

_ROOT = "ServerSideEncryptionConfiguration"
_DEFAULT = "ApplyServerSideEncryptionByDefault"


def get(worker: Worker, request: Request) -> Reply:
    """GetBucketEncryption. Raises: S3Error ServerSideEncryptionConfigurationNotFoundError on a node without a master key."""
    need_bucket(worker, request)
    if not worker.keyring.seals:
        raise S3Error("ServerSideEncryptionConfigurationNotFoundError", BucketName=request.bucket)
    method, bucket_key = element("SSEAlgorithm", AES256), element("BucketKeyEnabled", "false")
    return xml_reply(200, document(_ROOT, ("<Rule>", f"<{_DEFAULT}>{method}</{_DEFAULT}>", bucket_key, "</Rule>")))


def put(worker: Worker, request: Request) -> Reply:
    """PutBucketEncryption: accepted if it asks for what is so. Raises: S3Error MalformedXML, NotImplemented."""
    worker.writer()
    need_bucket(worker, request)
    root = parse_document(receive_document(request, worker.blob_key), _ROOT)
    rules = list(children(root, "Rule"))
    if not rules:
        raise S3Error("MalformedXML")
    for rule in rules:
        default = next(children(rule, _DEFAULT), None)
        if default is None:
            raise S3Error("MalformedXML")
        method = (text_of(default, "SSEAlgorithm") or "").strip()
        if not method:
            raise S3Error("MalformedXML")
        check_encryption({ENCRYPTION: method}, worker.keyring.seals)
    return Reply(200, [("Content-Length", "0")])


HANDLERS = {
    "GetBucketEncryption": get,
    "PutBucketEncryption": put,
}
"""By S3 action."""
