"""Features of buckets and objects that are not built: each is answered as AWS answers where it was never configured.

Clients ask for all of them (terraform reads twelve for one bucket) and take a 501 for a broken store. A GET has its empty document or
its 404 code; a DELETE finds nothing to delete; a PUT is accepted if it asks for what is so anyway, which is how terraform and mc switch
a feature off, and is NotImplemented otherwise: never accepted and ignored. Must never keep anything.
Source: the API page of each action; where it names no code, AWS's answer as terraform's AWS provider expects it.
"""

from collections.abc import Callable
from xml.etree.ElementTree import Element

from fasterstore.s3.errors import S3Error
from fasterstore.s3.xml_reader import children, parse_document, text_of
from fasterstore.s3.xml_text import document, element
from web.body import receive_document
from web.context import Request
from web.lookup import need_bucket
from web.object_version import need_object
from web.reply import Reply, xml_reply
from web.worker import Worker

Handler = Callable[[Worker, Request], Reply]

_NOT_TRUNCATED = (element("IsTruncated", "false"),)
DOCUMENTS = {
    "GetBucketVersioning": document("VersioningConfiguration", ()),
    "GetBucketLogging": document("BucketLoggingStatus", ()),
    "GetBucketNotificationConfiguration": document("NotificationConfiguration", ()),
    "GetBucketAccelerateConfiguration": document("AccelerateConfiguration", ()),
    "GetBucketRequestPayment": document("RequestPaymentConfiguration", (element("Payer", "BucketOwner"),)),
    "GetBucketAbac": document("AbacStatus", (element("Status", "Disabled"),)),
    "ListBucketAnalyticsConfigurations": document("ListBucketAnalyticsConfigurationResult", _NOT_TRUNCATED),
    "ListBucketIntelligentTieringConfigurations": document("ListBucketIntelligentTieringConfigurationsOutput", _NOT_TRUNCATED),
    "ListBucketInventoryConfigurations": document("ListInventoryConfigurationsResult", _NOT_TRUNCATED),
    "ListBucketMetricsConfigurations": document("ListMetricsConfigurationsResult", _NOT_TRUNCATED),
}
"""What a GET is answered with, by action."""
CODES = {
    "GetBucketLifecycleConfiguration": "NoSuchLifecycleConfiguration",
    "GetBucketWebsite": "NoSuchWebsiteConfiguration",
    "GetBucketReplication": "ReplicationConfigurationNotFoundError",
    "GetObjectLockConfiguration": "ObjectLockConfigurationNotFoundError",
    "GetBucketAnalyticsConfiguration": "NoSuchConfiguration",
    "GetBucketIntelligentTieringConfiguration": "NoSuchConfiguration",
    "GetBucketInventoryConfiguration": "NoSuchConfiguration",
    "GetBucketMetricsConfiguration": "NoSuchConfiguration",
    "GetBucketMetadataConfiguration": "MetadataConfigurationNotFound",
    "GetBucketMetadataTableConfiguration": "MetadataConfigurationNotFound",
}
"""The code that a GET is answered with, by action."""
_DELETES = (
    "DeleteBucketAnalyticsConfiguration",
    "DeleteBucketEncryption",
    "DeleteBucketIntelligentTieringConfiguration",
    "DeleteBucketInventoryConfiguration",
    "DeleteBucketLifecycle",
    "DeleteBucketMetadataConfiguration",
    "DeleteBucketMetadataTableConfiguration",
    "DeleteBucketMetricsConfiguration",
    "DeleteBucketReplication",
    "DeleteBucketWebsite",
)
_NO_LOCK = "Bucket is missing Object Lock Configuration"


def refuse(worker: Worker, request: Request) -> Reply:
    """Every action that has no handler. Raises: S3Error NoSuchBucket, NotImplemented."""
    if request.bucket:
        need_bucket(worker, request)
    raise S3Error("NotImplemented", f"{request.action} is not implemented.")


def _empty(body: bytes) -> Handler:
    def handle(worker: Worker, request: Request) -> Reply:
        need_bucket(worker, request)
        return xml_reply(200, body)

    return handle


def _missing(code: str) -> Handler:
    def handle(worker: Worker, request: Request) -> Reply:
        need_bucket(worker, request)
        raise S3Error(code, BucketName=request.bucket)

    return handle


def _nothing_to_delete(worker: Worker, request: Request) -> Reply:
    need_bucket(worker, request)
    return Reply(204, [])


def _no_lock(worker: Worker, request: Request) -> Reply:
    """GetObjectRetention, GetObjectLegalHold: an object cannot have one in a bucket without object lock."""
    need_bucket(worker, request)
    raise S3Error("InvalidRequest", _NO_LOCK)


def _no_annotation(worker: Worker, request: Request) -> Reply:
    """Annotations of an object, which must be there."""
    need_object(worker, request)
    if request.action == "GetObjectAnnotation":
        raise S3Error("NoSuchAnnotation")
    if request.action == "DeleteObjectAnnotation":
        return Reply(204, [])
    return xml_reply(200, document("ListObjectAnnotationsOutput", (element("AnnotationCount", "0"),)))


def _accepting(root_name: str, changes_nothing: Callable[[Element], bool]) -> Handler:
    """The handler of a PUT whose document may say what is so already."""

    def handle(worker: Worker, request: Request) -> Reply:
        need_bucket(worker, request)
        root = parse_document(receive_document(request, worker.blob_key), root_name)
        if not changes_nothing(root):
            raise S3Error("NotImplemented", f"{request.action} is implemented only for what changes nothing.")
        return Reply(200, [("Content-Length", "0")])

    return handle


def _says(name: str, accepted: str, others: frozenset[str]) -> Callable[[Element], bool]:
    """Is the child `name` `accepted`? Raises S3Error MalformedXML for what AWS does not know either."""

    def judge(root: Element) -> bool:
        value = (text_of(root, name) or "").strip()
        if value != accepted and value not in others:
            raise S3Error("MalformedXML")
        return value == accepted

    return judge


def _stays_unversioned(root: Element) -> bool:
    """Suspended is what this bucket does: each write replaces the one version, "null"."""
    status = (text_of(root, "Status") or "").strip()
    if status not in ("Enabled", "Suspended"):
        raise S3Error("IllegalVersioningConfigurationException" if not status else "MalformedXML")
    return status == "Suspended" and (text_of(root, "MfaDelete") or "Disabled").strip() == "Disabled"


def _logs_nothing(root: Element) -> bool:
    return next(children(root, "LoggingEnabled"), None) is None


def _notifies_nobody(root: Element) -> bool:
    return len(root) == 0


HANDLERS: dict[str, Handler] = {
    **{action: _empty(body) for action, body in DOCUMENTS.items()},
    **{action: _missing(code) for action, code in CODES.items()},
    **dict.fromkeys(_DELETES, _nothing_to_delete),
    "GetObjectLegalHold": _no_lock,
    "GetObjectRetention": _no_lock,
    "GetObjectAnnotation": _no_annotation,
    "ListObjectAnnotations": _no_annotation,
    "DeleteObjectAnnotation": _no_annotation,
    "PutBucketVersioning": _accepting("VersioningConfiguration", _stays_unversioned),
    "PutBucketLogging": _accepting("BucketLoggingStatus", _logs_nothing),
    "PutBucketNotificationConfiguration": _accepting("NotificationConfiguration", _notifies_nobody),
    "PutBucketRequestPayment": _accepting("RequestPaymentConfiguration", _says("Payer", "BucketOwner", frozenset(("Requester",)))),
    "PutBucketAccelerateConfiguration": _accepting("AccelerateConfiguration", _says("Status", "Suspended", frozenset(("Enabled",)))),
    "PutBucketAbac": _accepting("AbacStatus", _says("Status", "Disabled", frozenset(("Enabled",)))),
}
"""By S3 action."""
