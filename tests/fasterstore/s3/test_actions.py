"""Which action a request is: nothing may ever read as another, and AWS's whole list is known."""

import botocore.session
import pytest

from fasterstore.s3.actions import ACTIONS, BUCKET, DEPRECATED, OBJECT, SERVICE, Support, classify
from fasterstore.s3.errors import S3Error

PRESIGNED = ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"]
HARMLESS = ["x-id", "versionId", "response-content-type", "partNumber", "foo", *PRESIGNED]
NAMED = {"Analytics": "id", "IntelligentTiering": "id", "Inventory": "id", "Metrics": "id", "Annotation": "annotationName"}
OF_NO_REQUEST = {"ListDirectoryBuckets", "WriteGetObjectResponse"}
BESIDE_THE_SDK = {"PostObject", "PreflightBucket", "PreflightObject"}


def test_every_operation_of_the_aws_sdk_is_known() -> None:
    model = botocore.session.get_session().get_service_model("s3")
    operations = set(model.operation_names)
    assert operations - set(ACTIONS) == set(DEPRECATED)
    assert set(ACTIONS) - operations == BESIDE_THE_SDK
    assert set(DEPRECATED.values()) <= set(ACTIONS)


def test_the_sdks_requests_are_taken_for_the_operations_they_are() -> None:
    model = botocore.session.get_session().get_service_model("s3")
    wrong = []
    for name in set(model.operation_names) - OF_NO_REQUEST:
        operation = model.operation_model(name)
        shape = operation.input_shape
        path, _, query = operation.http["requestUri"].partition("?")
        names = [part.partition("=")[0] for part in query.split("&") if part]
        for member in shape.required_members if shape else ():
            if shape.members[member].serialization.get("location") == "querystring":
                names.append(shape.members[member].serialization["name"])
        copies = shape is not None and "CopySource" in shape.members
        found = classify(operation.http["method"], "{Bucket}" in path, "{Key+}" in path, names, copies).name
        if found != DEPRECATED.get(name, name):
            wrong.append((name, found))
    assert not wrong


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
def test_plain_actions_are_told_with_and_without_harmless_query_names(method, bucket, key, name, query) -> None:
    assert classify(method, bucket, key, query).name == name


@pytest.mark.parametrize("action", [a for a in ACTIONS.values() if a.subresource and a.name != "UploadPartCopy"], ids=lambda a: a.name)
def test_every_sub_resource_selects_its_own_action_and_no_plain_one(action) -> None:
    named = [query_name for part, query_name in NAMED.items() if part in action.name and not action.name.startswith("List")]
    found = classify(action.method, action.resource != SERVICE, action.resource == OBJECT, [action.subresource, *named, *PRESIGNED])
    assert found is action


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
        ("GET", False, ["inventory", "x-id"], False, "ListBucketInventoryConfigurations"),
        ("GET", False, ["inventory", "id"], False, "GetBucketInventoryConfiguration"),
        ("POST", False, ["delete"], False, "DeleteObjects"),
        ("DELETE", False, ["policy"], False, "DeleteBucketPolicy"),
        ("OPTIONS", False, ["policy", "cors"], False, "PreflightBucket"),
        ("OPTIONS", True, ["uploads"], False, "PreflightObject"),
        ("OPTIONS", True, ["partNumber", "uploadId", *PRESIGNED], False, "PreflightObject"),
    ],
)
def test_requests_are_told_by_query_and_copy_source(method, key, query, copy, name) -> None:
    assert classify(method, True, key, query, copy).name == name


@pytest.mark.parametrize(
    ("method", "bucket", "key", "query"),
    [
        ("PATCH", True, True, []),
        ("POST", False, False, []),
        ("DELETE", False, False, []),
        ("PUT", False, False, []),
        ("OPTIONS", False, False, []),
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


def test_every_get_of_a_setting_is_answered_and_only_writes_and_whole_features_are_not_built() -> None:
    unbuilt = {action.name for action in ACTIONS.values() if action.support is Support.NOT_BUILT}
    assert {name for name in unbuilt if name.startswith(("Get", "List", "Head", "Delete"))} == {"GetObjectTorrent", "ListDirectoryBuckets"}
    assert not {action.name for action in ACTIONS.values() if action.support is not Support.NOT_BUILT and not action.built}
