"""The S3 actions: every one by name, how a request asks for it, and what this node makes of it.

`classify` tells which action a request is; it must recognise also what is not built, so that `DELETE /bucket?policy` is never taken
for DeleteBucket. Names are those of the S3 API Reference. Query names that select nothing (x-id, versionId, presigning
parameters, response-*) are ignored. The compatibility table (`docs/s3-compatibility.md`) is printed from ACTIONS.
"""

from collections.abc import Collection
from enum import Enum
from typing import NamedTuple

from fasterstore.s3.errors import S3Error

SERVICE, BUCKET, OBJECT = "service", "bucket", "object"


class Support(Enum):
    """What this node makes of an action; the value is how the compatibility table says it.

    NOT_CONFIGURED: answered as AWS answers where the feature was never configured; a PUT that leaves it so is accepted, any other is
    NotImplemented. NOT_BUILT: always NotImplemented.
    """

    WORKS = "works"
    NOT_CONFIGURED = "answered as not configured"
    NOT_BUILT = "not built"


class Action(NamedTuple):
    """One S3 action.

    `resource` is SERVICE, BUCKET or OBJECT; `subresource` the query name that selects it ("" if none).
    """

    name: str
    method: str
    resource: str
    subresource: str
    support: Support = Support.WORKS

    @property
    def built(self) -> bool:
        """Has the action a handler of its own?"""
        return self.support is not Support.NOT_BUILT


_NOT_CONFIGURED = frozenset(
    (
        "DeleteBucketAnalyticsConfiguration", "DeleteBucketEncryption", "DeleteBucketIntelligentTieringConfiguration",
        "DeleteBucketInventoryConfiguration", "DeleteBucketLifecycle", "DeleteBucketMetadataConfiguration",
        "DeleteBucketMetadataTableConfiguration", "DeleteBucketMetricsConfiguration", "DeleteBucketReplication", "DeleteBucketWebsite",
        "DeleteObjectAnnotation", "GetBucketAbac", "GetBucketAccelerateConfiguration", "GetBucketAnalyticsConfiguration",
        "GetBucketIntelligentTieringConfiguration", "GetBucketInventoryConfiguration",
        "GetBucketLifecycleConfiguration", "GetBucketLogging", "GetBucketMetadataConfiguration", "GetBucketMetadataTableConfiguration",
        "GetBucketMetricsConfiguration", "GetBucketNotificationConfiguration", "GetBucketReplication", "GetBucketRequestPayment",
        "GetBucketVersioning", "GetBucketWebsite", "GetObjectAnnotation", "GetObjectLegalHold", "GetObjectLockConfiguration",
        "GetObjectRetention", "ListBucketAnalyticsConfigurations", "ListBucketIntelligentTieringConfigurations",
        "ListBucketInventoryConfigurations", "ListBucketMetricsConfigurations", "ListObjectAnnotations", "PutBucketAbac",
        "PutBucketAccelerateConfiguration", "PutBucketLogging", "PutBucketNotificationConfiguration", "PutBucketRequestPayment",
        "PutBucketVersioning",
    )
)  # fmt: skip
_NOT_BUILT = frozenset(
    (
        "CreateBucketMetadataConfiguration", "CreateBucketMetadataTableConfiguration", "CreateSession", "GetObjectTorrent",
        "ListDirectoryBuckets", "PutBucketAnalyticsConfiguration", "PutBucketIntelligentTieringConfiguration",
        "PutBucketInventoryConfiguration", "PutBucketLifecycleConfiguration", "PutBucketMetricsConfiguration", "PutBucketReplication",
        "PutBucketWebsite", "PutObjectAnnotation", "PutObjectLegalHold", "PutObjectLockConfiguration", "PutObjectRetention",
        "RestoreObject", "SelectObjectContent", "UpdateBucketMetadataAnnotationTableConfiguration",
        "UpdateBucketMetadataInventoryTableConfiguration", "UpdateBucketMetadataJournalTableConfiguration", "UpdateObjectEncryption",
        "WriteGetObjectResponse",
    )
)  # fmt: skip

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
    (BUCKET, "metadataAnnotationTable", ("PUT UpdateBucketMetadataAnnotationTableConfiguration",)),
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


def _action(name: str, method: str, resource: str, subresource: str) -> Action:
    support = Support.NOT_CONFIGURED if name in _NOT_CONFIGURED else Support.NOT_BUILT if name in _NOT_BUILT else Support.WORKS
    return Action(name, method, resource, subresource, support)


# Chosen by something beyond method and one query name.
_SPECIAL = (
    _action("CopyObject", "PUT", OBJECT, ""),
    _action("UploadPartCopy", "PUT", OBJECT, "uploadId"),
    _action("ListBucketAnalyticsConfigurations", "GET", BUCKET, "analytics"),
    _action("ListBucketIntelligentTieringConfigurations", "GET", BUCKET, "intelligent-tiering"),
    _action("ListBucketInventoryConfigurations", "GET", BUCKET, "inventory"),
    _action("ListBucketMetricsConfigurations", "GET", BUCKET, "metrics"),
    _action("ListObjectAnnotations", "GET", OBJECT, "annotation"),
    # These two have endpoints of their own at AWS, of which this node is none: no request is ever taken for one.
    _action("ListDirectoryBuckets", "GET", SERVICE, ""),
    _action("WriteGetObjectResponse", "POST", SERVICE, ""),
)


def _from_table() -> dict[tuple[str, str, str], Action]:
    actions = {}
    for resource, subresource, entries in _TABLE:
        for entry in entries:
            method, name = entry.split(" ")
            actions[method, resource, subresource] = _action(name, method, resource, subresource)
    return actions


_BY_REQUEST = _from_table()
ACTIONS: dict[str, Action] = {action.name: action for action in (*_BY_REQUEST.values(), *_SPECIAL)}
"""Every action by name."""
DEPRECATED = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
}
"""Old names of requests that cannot be told from those of the newer action."""

_PLAIN = {(method, resource): action for (method, resource, subresource), action in _BY_REQUEST.items() if not subresource}
_SUBRESOURCES = {resource: frozenset(sub for _, of, sub in _BY_REQUEST if of == resource and sub) for resource in (SERVICE, BUCKET, OBJECT)}
# A sub-resource of the other kind of resource selects nothing built either: refused rather than ignored.
_ALL_SUBRESOURCES = _SUBRESOURCES[BUCKET] | _SUBRESOURCES[OBJECT]
# With these one action has two selecting names; the first is the one that tells.
_STRONGER = ("uploadId", "uploads", "list-type")
# The action that names one of many -> the query name that names it, and the action without it.
_LISTS = {
    "GetBucketAnalyticsConfiguration": ("id", ACTIONS["ListBucketAnalyticsConfigurations"]),
    "GetBucketIntelligentTieringConfiguration": ("id", ACTIONS["ListBucketIntelligentTieringConfigurations"]),
    "GetBucketInventoryConfiguration": ("id", ACTIONS["ListBucketInventoryConfigurations"]),
    "GetBucketMetricsConfiguration": ("id", ACTIONS["ListBucketMetricsConfigurations"]),
    "GetObjectAnnotation": ("annotationName", ACTIONS["ListObjectAnnotations"]),
}


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
    # A preflight carries the query of the request that is to follow it.
    chooses = resource != SERVICE and method != "OPTIONS"
    chosen = [name for name in query_names if name in _ALL_SUBRESOURCES] if chooses else []
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
    if action.name in _LISTS:
        name, listing = _LISTS[action.name]
        return action if name in query_names else listing
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
