"""The condition keys: which there are, for which actions a policy may use each, and what value a request gives it.

Key names compare without regard to case; the part behind the slash of a tag key does not. A key that a request gives no value is
absent. Every `aws:` key may be used in a policy, as on AWS; those without a reader here are always absent: there are no VPCs,
organisations, sessions or services. Source: AWS Service Authorization Reference, "Condition keys for Amazon S3"; IAM user guide, "AWS
global condition context keys"; S3 user guide, "Bucket policy examples using condition keys".
"""

from collections.abc import Callable

from fasterstore.policy import request_values as values
from fasterstore.policy.iam_actions import ALL_ACTIONS
from fasterstore.policy.question import Question

Values = tuple[str, ...] | None
"""What a request gives a key; None if it is absent."""
Reader = Callable[[Question], Values]

_LIST = frozenset(("listbucket", "listbucketversions"))
_PUT = frozenset(("putobject",))
_ACL_SETTERS = frozenset(("createbucket", "putbucketacl", "putobject", "putobjectacl", "putobjectversionacl"))
_TAG_SETTERS = frozenset(("putobject", "putobjecttagging", "putobjectversiontagging", "bypassgovernanceretention", "replicatetags"))
_VERSIONED = frozenset(action for action in ALL_ACTIONS if "objectversion" in action)
_LOCKERS = frozenset(("putobject", "putobjectretention", "putobjectlegalhold", "bypassgovernanceretention", "replicateobject"))
HAS_EXISTING_TAGS = frozenset(
    action for action in ALL_ACTIONS if action.endswith(("objectacl", "objectversionacl", "objecttagging", "objectversiontagging"))
) | frozenset(("getobject", "getobjectversion"))
"""The actions for which AWS looks at the tags of the object that is there."""
_MAY_NAME_EXISTING_TAGS = HAS_EXISTING_TAGS | frozenset(("getobjectattributes", "getobjectversionattributes", "restoreobject"))


def _header(name: str) -> Reader:
    return lambda question: values.header(question, name)


def _never(_question: Question) -> Values:
    return None


_GLOBAL: dict[str, Reader] = {
    "aws:sourceip": values.source_ip,
    "aws:securetransport": values.secure_transport,
    "aws:currenttime": values.current_time,
    "aws:epochtime": values.epoch_time,
    "aws:useragent": _header("user-agent"),
    "aws:referer": _header("referer"),
    "aws:principaltype": values.principal_type,
    "aws:principalarn": values.principal_arn,
    "aws:principalaccount": values.principal_account,
    "aws:username": values.user_name,
    "aws:userid": values.user_id,
    "aws:requestedregion": values.requested_region,
    "aws:resourceaccount": values.resource_account,
    "aws:principalisawsservice": values.never_a_service,
    "aws:viaawsservice": values.never_a_service,
}

# With any action.
_S3_EVERYWHERE: dict[str, Reader] = {
    "s3:authtype": values.auth_type,
    "s3:signatureversion": values.signature_version,
    "s3:signatureage": values.signature_age,
    "s3:x-amz-content-sha256": _header("x-amz-content-sha256"),
    "s3:resourceaccount": values.resource_account,
    "s3:tlsversion": _never,
    "s3:dataaccesspointarn": _never,
    "s3:dataaccesspointaccount": _never,
    "s3:accesspointnetworkorigin": _never,
    "s3:accessgrantsinstancearn": _never,
}

# With some actions only.
_S3: dict[str, tuple[frozenset[str], Reader]] = {
    "s3:prefix": (_LIST, values.prefix),
    "s3:delimiter": (_LIST, values.delimiter),
    "s3:max-keys": (_LIST, values.max_keys),
    "s3:versionid": (_VERSIONED, values.version_id),
    "s3:requestobjecttagkeys": (_TAG_SETTERS, values.request_tag_keys),
    "s3:x-amz-copy-source": (_PUT, values.copy_source),
    "s3:x-amz-metadata-directive": (_PUT, _header("x-amz-metadata-directive")),
    "s3:x-amz-storage-class": (_PUT | frozenset(("putobjectacl", "putobjectversionacl")), _header("x-amz-storage-class")),
    "s3:x-amz-website-redirect-location": (_PUT, _header("x-amz-website-redirect-location")),
    "s3:x-amz-server-side-encryption": (_PUT | frozenset(("replicateobject",)), _header("x-amz-server-side-encryption")),
    "s3:x-amz-server-side-encryption-aws-kms-key-id": (
        _PUT | frozenset(("replicateobject",)),
        _header("x-amz-server-side-encryption-aws-kms-key-id"),
    ),
    "s3:x-amz-server-side-encryption-customer-algorithm": (_PUT, _header("x-amz-server-side-encryption-customer-algorithm")),
    "s3:x-amz-object-ownership": (frozenset(("createbucket",)), _header("x-amz-object-ownership")),
    "s3:locationconstraint": (frozenset(("createbucket",)), _never),
    "s3:inventoryaccessibleoptionalfields": (frozenset(("putinventoryconfiguration",)), _never),
    "s3:if-match": (_PUT | frozenset(("deleteobject",)), _header("if-match")),
    "s3:if-none-match": (_PUT, _header("if-none-match")),
    "s3:objectcreationoperation": (_PUT, values.creation_operation),
    "s3:object-lock-mode": (_LOCKERS, _header("x-amz-object-lock-mode")),
    "s3:object-lock-retain-until-date": (_LOCKERS, _header("x-amz-object-lock-retain-until-date")),
    "s3:object-lock-legal-hold": (_LOCKERS, _header("x-amz-object-lock-legal-hold")),
    "s3:object-lock-remaining-retention-days": (_LOCKERS, values.remaining_retention_days),
} | {
    f"s3:x-amz-{grant}": (_ACL_SETTERS, _header(f"x-amz-{grant}"))
    for grant in ("acl", "grant-read", "grant-write", "grant-read-acp", "grant-write-acp", "grant-full-control")
}

# The rest of the key, behind the slash, is a tag's name.
_TAGGED: dict[str, tuple[frozenset[str], Callable[[str], Reader]]] = {
    "s3:existingobjecttag": (
        _MAY_NAME_EXISTING_TAGS,
        lambda name: lambda question: values.existing_tag(question, name) if question.action in HAS_EXISTING_TAGS else None,
    ),
    "s3:requestobjecttag": (_TAG_SETTERS, lambda name: lambda question: values.request_tag(question, name)),
    "s3:buckettag": (ALL_ACTIONS, lambda _name: _never),
    "s3:accesspointtag": (ALL_ACTIONS, lambda _name: _never),
}


def is_known(key: str) -> bool:
    """May a policy use that key at all?"""
    folded = key.lower()
    name, slash, tag = folded.partition("/")
    if slash:
        return bool(tag) and (name in _TAGGED or name.startswith("aws:"))
    return folded in _S3 or folded in _S3_EVERYWHERE or (folded.startswith("aws:") and len(folded) > len("aws:"))


def applies_to(key: str) -> frozenset[str]:
    """The IAM actions for which a policy may use a known key."""
    name = key.lower().partition("/")[0]
    if name in _S3:
        return _S3[name][0]
    return _TAGGED[name][0] if name in _TAGGED else ALL_ACTIONS


def reader_of(key: str) -> Reader:
    """What gives a question's values of the key; always absent for one that is not known."""
    folded = key.lower()
    name, slash, _ = folded.partition("/")
    if slash and name in _TAGGED:
        return _TAGGED[name][1](key.partition("/")[2])
    if folded in _S3:
        return _S3[folded][1]
    return _S3_EVERYWHERE.get(folded) or _GLOBAL.get(folded) or _never


def asks_for_request_tags(key: str) -> bool:
    """Is the value of that key among the tags that the request brings? For PutObjectTagging they stand in the body."""
    return key.lower().startswith("s3:requestobjecttag")
