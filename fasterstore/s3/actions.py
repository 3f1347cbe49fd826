"""The S3 actions: every one by name, how a request asks for it, and whether this node has it built.

`classify` tells which action a request is; it must recognise also what is not built, so that `DELETE /bucket?policy` is never taken
for DeleteBucket. Names are those of the S3 API Reference. Query names that select nothing (x-id, versionId, presigning
parameters, response-*) are ignored.
"""

from collections.abc import Collection
from typing import NamedTuple

from fasterstore.s3.errors import S3Error

SERVICE, BUCKET, OBJECT = "service", "bucket", "object"


class Action(NamedTuple):
    """One S3 action.

    `resource` is SERVICE, BUCKET or OBJECT; `subresource` the query name that selects it ("" if none); `built`: this node does it.
    """

    name: str
    method: str
    resource: str
    subresource: str
    built: bool = False


_BUILT = frozenset(
    (
        "ListBuckets",
        "CreateBucket",
        "HeadBucket",
        "GetBucketLocation",
        "DeleteBucket",
        "PutObject",
        "GetObject",
        "HeadObject",
        "DeleteObject",
    )
)

# resource, subresource: "METHOD Name" ... ; an empty subresource is the plain action.
_TABLE: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (SERVICE, "", ("GET ListBuckets",)),
    (
        BUCKET,
        "",
        ("PUT CreateBucket", "HEAD HeadBucket", "DELETE DeleteBucket", "GET ListObjects", "POST PostObject", "OPTIONS PreflightBucket"),
    ),
    (BUCKET, "abac", ("GET GetBucketAbac", "PUT PutBucketAbac")),
    (BUCKET, "accelerate", ("GET GetBucketAccelerateConfiguration", "PUT PutBucketAccelerateConfiguration")),
    (BUCKET, "acl", ("GET GetBucketAcl", "PUT PutBucketAcl")),
    (
        BUCKET,
        "analytics",
        ("GET GetBucketAnalyticsConfiguration", "PUT PutBucketAnalyticsConfiguration", "DELETE DeleteBucketAnalyticsConfiguration"),
    ),
    (BUCKET, "cors", ("GET GetBucketCors", "PUT PutBucketCors", "DELETE DeleteBucketCors")),
    (BUCKET, "delete", ("POST DeleteObjects",)),
    (BUCKET, "encryption", ("GET GetBucketEncryption", "PUT PutBucketEncryption", "DELETE DeleteBucketEncryption")),
    (
        BUCKET,
        "intelligent-tiering",
        (
            "GET GetBucketIntelligentTieringConfiguration",
            "PUT PutBucketIntelligentTieringConfiguration",
            "DELETE DeleteBucketIntelligentTieringConfiguration",
        ),
    ),
    (
        BUCKET,
        "inventory",
        ("GET GetBucketInventoryConfiguration", "PUT PutBucketInventoryConfiguration", "DELETE DeleteBucketInventoryConfiguration"),
    ),
    (BUCKET, "lifecycle", ("GET GetBucketLifecycleConfiguration", "PUT PutBucketLifecycleConfiguration", "DELETE DeleteBucketLifecycle")),
    (BUCKET, "list-type", ("GET ListObjectsV2",)),
    (BUCKET, "location", ("GET GetBucketLocation",)),
    (BUCKET, "logging", ("GET GetBucketLogging", "PUT PutBucketLogging")),
    (
        BUCKET,
        "metadataConfiguration",
        (
            "GET GetBucketMetadataConfiguration",
            "POST CreateBucketMetadataConfiguration",
            "DELETE DeleteBucketMetadataConfiguration",
        ),
    ),
    (BUCKET, "metadataInventoryTable", ("PUT UpdateBucketMetadataInventoryTableConfiguration",)),
    (BUCKET, "metadataJournalTable", ("PUT UpdateBucketMetadataJournalTableConfiguration",)),
    (
        BUCKET,
        "metadataTable",
        (
            "GET GetBucketMetadataTableConfiguration",
            "POST CreateBucketMetadataTableConfiguration",
            "DELETE DeleteBucketMetadataTableConfiguration",
        ),
    ),
    (
        BUCKET,
        "metrics",
        ("GET GetBucketMetricsConfiguration", "PUT PutBucketMetricsConfiguration", "DELETE DeleteBucketMetricsConfiguration"),
    ),
    (BUCKET, "notification", ("GET GetBucketNotificationConfiguration", "PUT PutBucketNotificationConfiguration")),
    (BUCKET, "object-lock", ("GET GetObjectLockConfiguration", "PUT PutObjectLockConfiguration")),
    (
        BUCKET,
        "ownershipControls",
        ("GET GetBucketOwnershipControls", "PUT PutBucketOwnershipControls", "DELETE DeleteBucketOwnershipControls"),
    ),
    (BUCKET, "policy", ("GET GetBucketPolicy", "PUT PutBucketPolicy", "DELETE DeleteBucketPolicy")),
    (BUCKET, "policyStatus", ("GET GetBucketPolicyStatus",)),
    (BUCKET, "publicAccessBlock", ("GET GetPublicAccessBlock", "PUT PutPublicAccessBlock", "DELETE DeletePublicAccessBlock")),
    (BUCKET, "replication", ("GET GetBucketReplication", "PUT PutBucketReplication", "DELETE DeleteBucketReplication")),
    (BUCKET, "requestPayment", ("GET GetBucketRequestPayment", "PUT PutBucketRequestPayment")),
    (BUCKET, "session", ("GET CreateSession",)),
    (BUCKET, "tagging", ("GET GetBucketTagging", "PUT PutBucketTagging", "DELETE DeleteBucketTagging")),
    (BUCKET, "uploads", ("GET ListMultipartUploads",)),
    (BUCKET, "versioning", ("GET GetBucketVersioning", "PUT PutBucketVersioning")),
    (BUCKET, "versions", ("GET ListObjectVersions",)),
    (BUCKET, "website", ("GET GetBucketWebsite", "PUT PutBucketWebsite", "DELETE DeleteBucketWebsite")),
    (OBJECT, "", ("PUT PutObject", "GET GetObject", "HEAD HeadObject", "DELETE DeleteObject", "OPTIONS PreflightObject")),
    (OBJECT, "acl", ("GET GetObjectAcl", "PUT PutObjectAcl")),
    (OBJECT, "annotation", ("GET GetObjectAnnotation", "PUT PutObjectAnnotation", "DELETE DeleteObjectAnnotation")),
    (OBJECT, "attributes", ("GET GetObjectAttributes",)),
    (OBJECT, "encryption", ("PUT UpdateObjectEncryption",)),
    (OBJECT, "legal-hold", ("GET GetObjectLegalHold", "PUT PutObjectLegalHold")),
    (OBJECT, "renameObject", ("PUT RenameObject",)),
    (OBJECT, "restore", ("POST RestoreObject",)),
    (OBJECT, "retention", ("GET GetObjectRetention", "PUT PutObjectRetention")),
    (OBJECT, "select", ("POST SelectObjectContent",)),
    (OBJECT, "tagging", ("GET GetObjectTagging", "PUT PutObjectTagging", "DELETE DeleteObjectTagging")),
    (OBJECT, "torrent", ("GET GetObjectTorrent",)),
    (OBJECT, "uploadId", ("PUT UploadPart", "POST CompleteMultipartUpload", "DELETE AbortMultipartUpload", "GET ListParts")),
    (OBJECT, "uploads", ("POST CreateMultipartUpload",)),
)

# Chosen by something beyond method and one query name.
_SPECIAL = (
    Action("CopyObject", "PUT", OBJECT, ""),
    Action("UploadPartCopy", "PUT", OBJECT, "uploadId"),
)


def _from_table() -> dict[tuple[str, str, str], Action]:
    actions = {}
    for resource, subresource, entries in _TABLE:
        for entry in entries:
            method, name = entry.split(" ")
            actions[method, resource, subresource] = Action(name, method, resource, subresource, name in _BUILT)
    return actions


_BY_REQUEST = _from_table()
ACTIONS: dict[str, Action] = {action.name: action for action in (*_BY_REQUEST.values(), *_SPECIAL)}
"""Every action by name."""

_PLAIN = {(method, resource): action for (method, resource, subresource), action in _BY_REQUEST.items() if not subresource}
_SUBRESOURCES = {resource: frozenset(sub for _, of, sub in _BY_REQUEST if of == resource and sub) for resource in (SERVICE, BUCKET, OBJECT)}
# A sub-resource of the other kind of resource selects nothing built either: refused rather than ignored.
_ALL_SUBRESOURCES = _SUBRESOURCES[BUCKET] | _SUBRESOURCES[OBJECT]
# With these one action has two selecting names; the first is the one that tells.
_STRONGER = ("uploadId", "uploads", "list-type")


def classify(method: str, has_bucket: bool, has_key: bool, query_names: Collection[str] = (), has_copy_source: bool = False) -> Action:
    """The action that a request asks for, built or not.

    `query_names` are the decoded names in the query, in any order; `has_copy_source`: x-amz-copy-source was sent. Raises S3Error
    MethodNotAllowed for a method that the resource does not have, InvalidArgument for two sub-resources at once.
    """
    resource = OBJECT if has_key else BUCKET if has_bucket else SERVICE
    if not query_names and not has_copy_source:
        action = _PLAIN.get((method, resource))
        if action is None:
            raise _not_allowed(method, resource)
        return action
    chosen = [name for name in query_names if name in _ALL_SUBRESOURCES] if resource != SERVICE else []
    if len(chosen) > 1:
        chosen = _strongest(chosen, resource)
    action = _BY_REQUEST.get((method, resource, chosen[0] if chosen else ""))
    if action is None:
        raise _not_allowed(method, resource)
    if has_copy_source and resource == OBJECT and method == "PUT":
        if action.name == "PutObject":
            return ACTIONS["CopyObject"]
        if action.name == "UploadPart":
            return ACTIONS["UploadPartCopy"]
    return action


def _strongest(chosen: list[str], resource: str) -> list[str]:
    distinct = set(chosen)
    if len(distinct) == 1:
        return chosen[:1]
    for name in _STRONGER:
        if name in distinct and name in _SUBRESOURCES[resource] and len(distinct - set(_STRONGER)) == 0:
            return [name]
    raise S3Error(
        "InvalidArgument",
        f"Conflicting query string parameters: {', '.join(sorted(distinct))}",
        ArgumentName="ResourceType",
        ArgumentValue=sorted(distinct)[0],
    )


def _not_allowed(method: str, resource: str) -> S3Error:
    allowed = sorted(known for known, of in _PLAIN if of == resource)
    return S3Error("MethodNotAllowed", headers={"Allow": ", ".join(allowed)}, Method=method, ResourceType=resource.upper())
