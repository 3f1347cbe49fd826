"""Prints docs/s3-compatibility.md from the table of actions: `python -m scripts.compatibility_table > docs/s3-compatibility.md`.

A test fails when the file is not what this prints, so what the node answers and what the page says change in one commit.
"""

from fasterstore.s3.actions import ACTIONS, BUCKET, DEPRECATED, OBJECT, SERVICE, Action, Support
from web.not_configured import CODES, DOCUMENTS

TITLES = {SERVICE: "The service", BUCKET: "Buckets", OBJECT: "Objects"}
PATHS = {SERVICE: "/", BUCKET: "/bucket", OBJECT: "/bucket/key"}
PICKED_BY = {
    "CopyObject": "/bucket/key + x-amz-copy-source",
    "UploadPart": "/bucket/key?uploadId=&partNumber=",
    "UploadPartCopy": "/bucket/key?uploadId=&partNumber= + x-amz-copy-source",
    "ListObjectsV2": "/bucket?list-type=2",
    "SelectObjectContent": "/bucket/key?select&select-type=2",
    "GetObjectAnnotation": "/bucket/key?annotation&annotationName=",
    "GetBucketAnalyticsConfiguration": "/bucket?analytics&id=",
    "GetBucketIntelligentTieringConfiguration": "/bucket?intelligent-tiering&id=",
    "GetBucketInventoryConfiguration": "/bucket?inventory&id=",
    "GetBucketMetricsConfiguration": "/bucket?metrics&id=",
}
"""Requests that are told by more than a path and one query name."""
NOTES = {
    "CompleteMultipartUpload": "The parts' checksums may be left out of the list, also where AWS wants them. With SSE-C the key is needed "
    "if the upload has a checksum algorithm, as on AWS.",
    "CopyObject": "From or to an object with SSE-C the bytes are written anew.",
    "CreateBucket": "Again: 409 BucketAlreadyOwnedByYou, in every region; 409 BucketAlreadyExists if another canned ACL than the bucket's "
    "is asked for. Object lock and directory buckets are NotImplemented.",
    "DeleteObject": "Of what is not there: 204 under any condition (AWS: 404 with If-Match).",
    "DeleteObjects": "Of what is not there: deleted, under any condition.",
    "GetBucketAbac": "`Disabled`",
    "GetBucketOwnershipControls": "Without the setting 404 OwnershipControlsNotFoundError, and ACLs are allowed, as with ObjectWriter.",
    "GetBucketPolicyStatus": "Without a policy 200, not public unless its ACL says so (AWS: 404).",
    "GetBucketRequestPayment": "`BucketOwner`",
    "GetObject": "partNumber of no part: 400 InvalidPart (AWS: 416). SSE-C with another key is 403, as on AWS.",
    "GetPublicAccessBlock": "Without the setting 404, and nothing is blocked (AWS blocks in new buckets).",
    "GetObjectLegalHold": "400 InvalidRequest, as in a bucket without object lock.",
    "GetObjectRetention": "400 InvalidRequest, as in a bucket without object lock.",
    "GetObjectAnnotation": "404 NoSuchAnnotation",
    "HeadBucket": "`read-stats=true` adds Ceph's counters of what the bucket holds.",
    "HeadObject": "partNumber of no part: 400 (AWS: 416).",
    "ListBuckets": "With `?usage` Ceph's Usage document in its place.",
    "ListDirectoryBuckets": "AWS has an endpoint of its own for it.",
    "ListObjectAnnotations": "an empty list",
    "ListParts": "With SSE-C the key is needed if the upload has a checksum algorithm, as on AWS.",
    "ListObjectVersions": "Every object has one version, `null`.",
    "PostObject": "Browser forms.",
    "PutObject": "SSE-C is accepted over plain HTTP too (AWS: 400); the log warns once.",
    "PreflightBucket": "CORS preflight, answered without a signature.",
    "PreflightObject": "CORS preflight, answered without a signature.",
    "PutBucketAbac": "`Disabled` is accepted, `Enabled` is NotImplemented.",
    "PutBucketAccelerateConfiguration": "`Suspended` is accepted, `Enabled` is NotImplemented.",
    "PutBucketAcl": "Canned ACLs, as a header or as the document or grants that equal one; other grants are NotImplemented.",
    "PutBucketLogging": "No target (switched off) is accepted, a target is NotImplemented.",
    "PutBucketNotificationConfiguration": "An empty one (removed) is accepted, any other is NotImplemented.",
    "PutBucketRequestPayment": "`BucketOwner` is accepted, `Requester` is NotImplemented.",
    "PutBucketVersioning": "`Suspended` is accepted and changes nothing; `Enabled` is NotImplemented.",
    "RenameObject": "An object with SSE-C needs no key: nothing is read.",
    "UploadPartCopy": "From or to SSE-C the bytes are written anew.",
    "WriteGetObjectResponse": "AWS has an endpoint of its own for it.",
    "PutObjectAcl": "Canned ACLs, as a header or as the document or grants that equal one; other grants are NotImplemented.",
}
INTRODUCTION = """# S3 compatibility

Made by `python -m scripts.compatibility_table` from the table of actions (`fasterstore/s3/actions.py`), by which the node also routes
each request; a test compares this file with it. Every action of the S3 API is here.

- **works**: as the S3 API Reference says.
- **answered as not configured**: the feature is not built; a GET is answered as AWS answers for a bucket where it was never set up, a
  DELETE finds nothing to delete, and a PUT that leaves it so is accepted. Every other PUT is 501 NotImplemented. Nothing is accepted and
  then ignored.
- **not built**: 501 NotImplemented.
"""


def note_of(action: Action) -> str:
    """What the last column says of an action."""
    if action.name in NOTES:
        return NOTES[action.name]
    if action.name in CODES:
        return f"404 {CODES[action.name]}"
    if action.name in DOCUMENTS:
        return "an empty list" if action.name.startswith("List") else "an empty document"
    return "204" if action.method == "DELETE" and action.support is Support.NOT_CONFIGURED else ""


def request_of(action: Action) -> str:
    """How a request asks for an action."""
    path = PATHS[action.resource] + (f"?{action.subresource}" if action.subresource else "")
    return f"{action.method} {PICKED_BY.get(action.name, path)}"


def page() -> str:
    """The whole document, with its last line's end."""
    lines = [INTRODUCTION, "| | actions |", "|---|---|"]
    for support in Support:
        lines.append(f"| {support.value} | {sum(action.support is support for action in ACTIONS.values())} |")
    for resource, title in TITLES.items():
        lines += ["", f"## {title}", "", "| action | request | support | notes |", "|---|---|---|---|"]
        for action in sorted(action for action in ACTIONS.values() if action.resource == resource):
            lines.append(f"| {action.name} | `{request_of(action)}` | {action.support.value} | {note_of(action)} |")
    lines += ["", "## Old names", "", "These requests cannot be told from those of the newer action, and are answered alike.", ""]
    lines += [f"- {old}: {new}" for old, new in DEPRECATED.items()]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the page."""
    print(page(), end="")


if __name__ == "__main__":
    main()
