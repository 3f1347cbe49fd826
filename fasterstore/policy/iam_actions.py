"""The IAM actions of S3, what each acts on, and which of them an S3 request needs.

Policies name IAM actions (`s3:ListBucket`), requests are S3 API actions (ListObjectsV2): here is the only place that knows both. Action
names compare without regard to case; inside this package they are lower-case without `s3:`. Source: AWS Service Authorization Reference,
"Actions, resources, and condition keys for Amazon S3"; S3 user guide, "Required permissions for Amazon S3 API operations".
"""

from collections.abc import Collection
from functools import lru_cache

from fasterstore.policy.wildcards import matcher

SERVICE_PREFIX = "s3:"

# What acts on a bucket. The last rows are actions of features that are not built: policies that name them are valid all the same.
_BUCKET_ACTIONS = """
CreateBucket DeleteBucket ListBucket ListBucketVersions ListBucketMultipartUploads GetBucketLocation
GetBucketAcl PutBucketAcl GetBucketCORS PutBucketCORS GetBucketTagging PutBucketTagging
GetBucketPolicy PutBucketPolicy DeleteBucketPolicy GetBucketPolicyStatus GetBucketPublicAccessBlock PutBucketPublicAccessBlock
GetBucketOwnershipControls PutBucketOwnershipControls GetBucketVersioning PutBucketVersioning
GetBucketObjectLockConfiguration PutBucketObjectLockConfiguration GetLifecycleConfiguration PutLifecycleConfiguration
GetEncryptionConfiguration PutEncryptionConfiguration GetBucketLogging PutBucketLogging GetBucketNotification PutBucketNotification
GetBucketWebsite PutBucketWebsite DeleteBucketWebsite GetBucketRequestPayment PutBucketRequestPayment
GetAccelerateConfiguration PutAccelerateConfiguration GetAnalyticsConfiguration PutAnalyticsConfiguration
GetInventoryConfiguration PutInventoryConfiguration GetMetricsConfiguration PutMetricsConfiguration
GetIntelligentTieringConfiguration PutIntelligentTieringConfiguration GetReplicationConfiguration PutReplicationConfiguration
GetBucketAbac PutBucketAbac CreateSession TagResource UntagResource ListTagsForResource
GetBucketMetadataTableConfiguration CreateBucketMetadataTableConfiguration DeleteBucketMetadataTableConfiguration
UpdateBucketMetadataInventoryTableConfiguration UpdateBucketMetadataJournalTableConfiguration
UpdateBucketMetadataAnnotationTableConfiguration
"""
_OBJECT_ACTIONS = """
GetObject GetObjectVersion PutObject DeleteObject DeleteObjectVersion GetObjectAttributes GetObjectVersionAttributes
GetObjectAcl GetObjectVersionAcl PutObjectAcl PutObjectVersionAcl
GetObjectTagging GetObjectVersionTagging PutObjectTagging PutObjectVersionTagging DeleteObjectTagging DeleteObjectVersionTagging
AbortMultipartUpload ListMultipartUploadParts RestoreObject GetObjectTorrent GetObjectVersionTorrent
GetObjectLegalHold PutObjectLegalHold GetObjectRetention PutObjectRetention BypassGovernanceRetention
GetObjectAnnotation ListObjectAnnotations PutObjectAnnotation DeleteObjectAnnotation UpdateObjectEncryption
GetObjectVersionForReplication ReplicateObject ReplicateDelete ReplicateTags ObjectOwnerOverrideToBucketOwner InitiateReplication
"""

BUCKET_ACTIONS = frozenset(_BUCKET_ACTIONS.lower().split())
OBJECT_ACTIONS = frozenset(_OBJECT_ACTIONS.lower().split())
ALL_ACTIONS = BUCKET_ACTIONS | OBJECT_ACTIONS

# S3 API action: the IAM actions that it needs, all of them. With `versionId` in the request the second of two names counts.
_NEEDS = """
HeadBucket ListBucket
ListObjects ListBucket
ListObjectsV2 ListBucket
ListObjectVersions ListBucketVersions
ListMultipartUploads ListBucketMultipartUploads
CreateBucket CreateBucket
DeleteBucket DeleteBucket
GetBucketLocation GetBucketLocation
CreateSession CreateSession
GetBucketAbac GetBucketAbac
PutBucketAbac PutBucketAbac
GetBucketAccelerateConfiguration GetAccelerateConfiguration
PutBucketAccelerateConfiguration PutAccelerateConfiguration
GetBucketAcl GetBucketAcl
PutBucketAcl PutBucketAcl
GetBucketAnalyticsConfiguration GetAnalyticsConfiguration
ListBucketAnalyticsConfigurations GetAnalyticsConfiguration
PutBucketAnalyticsConfiguration PutAnalyticsConfiguration
DeleteBucketAnalyticsConfiguration PutAnalyticsConfiguration
ListBucketAnalyticsConfigurations GetAnalyticsConfiguration
GetBucketCors GetBucketCORS
PutBucketCors PutBucketCORS
DeleteBucketCors PutBucketCORS
GetBucketEncryption GetEncryptionConfiguration
PutBucketEncryption PutEncryptionConfiguration
DeleteBucketEncryption PutEncryptionConfiguration
GetBucketIntelligentTieringConfiguration GetIntelligentTieringConfiguration
ListBucketIntelligentTieringConfigurations GetIntelligentTieringConfiguration
PutBucketIntelligentTieringConfiguration PutIntelligentTieringConfiguration
DeleteBucketIntelligentTieringConfiguration PutIntelligentTieringConfiguration
ListBucketIntelligentTieringConfigurations GetIntelligentTieringConfiguration
GetBucketInventoryConfiguration GetInventoryConfiguration
ListBucketInventoryConfigurations GetInventoryConfiguration
PutBucketInventoryConfiguration PutInventoryConfiguration
DeleteBucketInventoryConfiguration PutInventoryConfiguration
ListBucketInventoryConfigurations GetInventoryConfiguration
GetBucketLifecycleConfiguration GetLifecycleConfiguration
PutBucketLifecycleConfiguration PutLifecycleConfiguration
DeleteBucketLifecycle PutLifecycleConfiguration
GetBucketLogging GetBucketLogging
PutBucketLogging PutBucketLogging
GetBucketMetadataConfiguration GetBucketMetadataTableConfiguration
CreateBucketMetadataConfiguration CreateBucketMetadataTableConfiguration
DeleteBucketMetadataConfiguration DeleteBucketMetadataTableConfiguration
UpdateBucketMetadataInventoryTableConfiguration UpdateBucketMetadataInventoryTableConfiguration
UpdateBucketMetadataAnnotationTableConfiguration UpdateBucketMetadataAnnotationTableConfiguration
UpdateBucketMetadataJournalTableConfiguration UpdateBucketMetadataJournalTableConfiguration
UpdateBucketMetadataAnnotationTableConfiguration UpdateBucketMetadataAnnotationTableConfiguration
GetBucketMetadataTableConfiguration GetBucketMetadataTableConfiguration
CreateBucketMetadataTableConfiguration CreateBucketMetadataTableConfiguration
DeleteBucketMetadataTableConfiguration DeleteBucketMetadataTableConfiguration
GetBucketMetricsConfiguration GetMetricsConfiguration
ListBucketMetricsConfigurations GetMetricsConfiguration
PutBucketMetricsConfiguration PutMetricsConfiguration
DeleteBucketMetricsConfiguration PutMetricsConfiguration
ListBucketMetricsConfigurations GetMetricsConfiguration
GetBucketNotificationConfiguration GetBucketNotification
PutBucketNotificationConfiguration PutBucketNotification
GetObjectLockConfiguration GetBucketObjectLockConfiguration
PutObjectLockConfiguration PutBucketObjectLockConfiguration
GetBucketOwnershipControls GetBucketOwnershipControls
PutBucketOwnershipControls PutBucketOwnershipControls
DeleteBucketOwnershipControls PutBucketOwnershipControls
GetBucketPolicy GetBucketPolicy
PutBucketPolicy PutBucketPolicy
DeleteBucketPolicy DeleteBucketPolicy
GetBucketPolicyStatus GetBucketPolicyStatus
GetPublicAccessBlock GetBucketPublicAccessBlock
PutPublicAccessBlock PutBucketPublicAccessBlock
DeletePublicAccessBlock PutBucketPublicAccessBlock
GetBucketReplication GetReplicationConfiguration
PutBucketReplication PutReplicationConfiguration
DeleteBucketReplication PutReplicationConfiguration
GetBucketRequestPayment GetBucketRequestPayment
PutBucketRequestPayment PutBucketRequestPayment
GetBucketTagging GetBucketTagging
PutBucketTagging PutBucketTagging
DeleteBucketTagging PutBucketTagging
GetBucketVersioning GetBucketVersioning
PutBucketVersioning PutBucketVersioning
GetBucketWebsite GetBucketWebsite
PutBucketWebsite PutBucketWebsite
DeleteBucketWebsite DeleteBucketWebsite
GetObject GetObject/GetObjectVersion
HeadObject GetObject/GetObjectVersion
GetObjectAttributes GetObject/GetObjectVersion GetObjectAttributes/GetObjectVersionAttributes
SelectObjectContent GetObject
GetObjectTorrent GetObjectTorrent/GetObjectVersionTorrent
PutObject PutObject
PostObject PutObject
CopyObject PutObject
RenameObject PutObject
CreateMultipartUpload PutObject
UploadPart PutObject
UploadPartCopy PutObject
CompleteMultipartUpload PutObject
AbortMultipartUpload AbortMultipartUpload
ListParts ListMultipartUploadParts
DeleteObject DeleteObject/DeleteObjectVersion
DeleteObjects DeleteObject
GetObjectAcl GetObjectAcl/GetObjectVersionAcl
PutObjectAcl PutObjectAcl/PutObjectVersionAcl
GetObjectTagging GetObjectTagging/GetObjectVersionTagging
PutObjectTagging PutObjectTagging/PutObjectVersionTagging
DeleteObjectTagging DeleteObjectTagging/DeleteObjectVersionTagging
GetObjectLegalHold GetObjectLegalHold
PutObjectLegalHold PutObjectLegalHold
GetObjectRetention GetObjectRetention
PutObjectRetention PutObjectRetention
RestoreObject RestoreObject
GetObjectAnnotation GetObjectAnnotation
ListObjectAnnotations ListObjectAnnotations
PutObjectAnnotation PutObjectAnnotation
DeleteObjectAnnotation DeleteObjectAnnotation
ListObjectAnnotations ListObjectAnnotations
UpdateObjectEncryption UpdateObjectEncryption
"""


def _needs(versioned: bool) -> dict[str, tuple[str, ...]]:
    table = {}
    for line in _NEEDS.strip().lower().splitlines():
        name, *needed = line.split()
        table[name] = tuple(one.split("/")[-1 if versioned else 0] for one in needed)
    return table


_BY_REQUEST = (_needs(versioned=False), _needs(versioned=True))


@lru_cache(maxsize=1024)
def needed_actions(api_action: str, versioned: bool = False) -> tuple[str, ...]:
    """The IAM actions, lower-case without `s3:`, that a request of the S3 API action needs; all of them must be allowed.

    `versioned`: the request names a version. Empty for an action that no policy can allow or deny (ListBuckets, the preflights).
    """
    return _BY_REQUEST[versioned].get(api_action.lower(), ())


@lru_cache(maxsize=1024)
def matching_actions(pattern: str) -> frozenset[str]:
    """The IAM actions that a pattern in a policy names; empty if there is none. `*` alone means every action."""
    folded = pattern.lower()
    if folded == "*":
        return ALL_ACTIONS
    if not folded.startswith(SERVICE_PREFIX):
        return frozenset()
    matches = matcher(folded.removeprefix(SERVICE_PREFIX))
    return frozenset(action for action in ALL_ACTIONS if matches(action))


def union_of(patterns: Collection[str]) -> frozenset[str]:
    """The IAM actions that any of the patterns names."""
    return frozenset().union(*(matching_actions(pattern) for pattern in patterns))


def display_name(action: str) -> str:
    """`s3:GetObject` for `getobject`: the name as AWS writes it."""
    return _DISPLAY_NAMES[action]


_DISPLAY_NAMES = {name.lower(): SERVICE_PREFIX + name for name in (_BUCKET_ACTIONS + _OBJECT_ACTIONS).split()}
