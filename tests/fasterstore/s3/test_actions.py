"""Which action a request is: nothing unbuilt may ever read as something built."""

import pytest

from fasterstore.s3.actions import ACTIONS, BUCKET, OBJECT, SERVICE, classify
from fasterstore.s3.errors import S3Error

PRESIGNED = ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"]
HARMLESS = ["x-id", "versionId", "response-content-type", "partNumber", "foo", *PRESIGNED]


@pytest.mark.parametrize(
    ("method", "bucket", "key", "name"),
    [
        ("GET", False, False, "ListBuckets"),
        ("PUT", True, False, "CreateBucket"),
        ("HEAD", True, False, "HeadBucket"),
        ("DELETE", True, False, "DeleteBucket"),
        ("PUT", True, True, "PutObject"),
        ("GET", True, True, "GetObject"),
        ("HEAD", True, True, "HeadObject"),
        ("DELETE", True, True, "DeleteObject"),
    ],
)
@pytest.mark.parametrize("query", [[], HARMLESS])
def test_the_built_actions_with_and_without_harmless_query_names(method, bucket, key, name, query) -> None:
    action = classify(method, bucket, key, query)
    assert (action.name, action.built) == (name, True)


def test_only_the_nine_are_built() -> None:
    assert sum(action.built for action in ACTIONS.values()) == 9


@pytest.mark.parametrize("action", [a for a in ACTIONS.values() if a.subresource and a.name != "UploadPartCopy"], ids=lambda a: a.name)
def test_every_sub_resource_selects_its_own_action_and_no_plain_one(action) -> None:
    found = classify(action.method, action.resource != SERVICE, action.resource == OBJECT, [action.subresource, *PRESIGNED])
    assert found is action
    assert found.built == (found.name == "GetBucketLocation")


@pytest.mark.parametrize(
    ("method", "key", "query", "copy", "name"),
    [
        ("PUT", True, ["partNumber", "uploadId"], False, "UploadPart"),
        ("PUT", True, ["partNumber", "uploadId"], True, "UploadPartCopy"),
        ("PUT", True, [], True, "CopyObject"),
        ("PUT", True, ["x-id"], True, "CopyObject"),
        ("PUT", True, ["tagging"], True, "PutObjectTagging"),
        ("GET", True, ["acl", "versionId"], False, "GetObjectAcl"),
        ("GET", False, ["list-type", "prefix"], False, "ListObjectsV2"),
        ("GET", False, ["prefix", "delimiter"], False, "ListObjects"),
        ("GET", False, ["uploads", "prefix"], False, "ListMultipartUploads"),
        ("POST", False, ["delete"], False, "DeleteObjects"),
        ("DELETE", False, ["policy"], False, "DeleteBucketPolicy"),
    ],
)
def test_requests_for_what_is_not_built_are_recognised(method, key, query, copy, name) -> None:
    action = classify(method, True, key, query, copy)
    assert (action.name, action.built) == (name, False)


@pytest.mark.parametrize(
    ("method", "bucket", "key", "query"),
    [
        ("PATCH", True, True, []),
        ("POST", False, False, []),
        ("DELETE", False, False, []),
        ("PUT", False, False, []),
        ("POST", True, True, []),
        ("PUT", True, False, ["uploads"]),
        ("DELETE", True, False, ["acl"]),
        ("DELETE", True, False, ["uploadId"]),
        ("DELETE", True, True, ["policy"]),
        ("HEAD", True, True, ["acl"]),
    ],
)
def test_a_method_that_the_resource_does_not_have_is_405(method, bucket, key, query) -> None:
    with pytest.raises(S3Error) as refused:
        classify(method, bucket, key, query)
    assert (refused.value.code, refused.value.status) == ("MethodNotAllowed", 405)


def test_two_sub_resources_at_once_are_refused() -> None:
    with pytest.raises(S3Error) as refused:
        classify("DELETE", True, False, ["policy", "cors"])
    assert refused.value.code == "InvalidArgument"


def test_resources_are_the_three() -> None:
    assert {action.resource for action in ACTIONS.values()} == {SERVICE, BUCKET, OBJECT}
