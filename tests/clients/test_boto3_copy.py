"""boto3's copies: what a copy takes along, what it replaces, and under which conditions."""

import datetime
import os

import pytest

from tests.clients.refused import refused


@pytest.fixture
def source(s3, bucket):
    """An object with everything that a copy may take along; gives (its address, its body, its ETag)."""
    body = os.urandom(300_000)
    put = s3.put_object(
        Bucket=bucket,
        Key="from/a b+\u00fc",
        Body=body,
        ContentType="text/plain",
        Metadata={"a": "b"},
        CacheControl="no-store",
        Tagging="t=1",
    )
    return {"Bucket": bucket, "Key": "from/a b+\u00fc"}, body, put["ETag"]


def test_a_copy_takes_everything_along(s3, bucket, source):
    where, body, etag = source
    copied = s3.copy_object(Bucket=bucket, Key="to", CopySource=where)["CopyObjectResult"]
    assert copied["ETag"] == etag
    s3.delete_object(**where)
    got = s3.get_object(Bucket=bucket, Key="to")
    assert (got["Body"].read(), got["ETag"], got["Metadata"]) == (body, etag, {"a": "b"})
    assert (got["ContentType"], got["CacheControl"], got["TagCount"]) == ("text/plain", "no-store", 1)
    assert copied["LastModified"].replace(microsecond=0) == got["LastModified"]


def test_a_copy_may_replace_metadata_and_tags(s3, bucket, source):
    where, body, _ = source
    s3.copy_object(
        Bucket=bucket,
        Key="to",
        CopySource=where,
        MetadataDirective="REPLACE",
        Metadata={"c": "d"},
        ContentType="text/css",
        TaggingDirective="REPLACE",
        Tagging="u=2",
        StorageClass="STANDARD_IA",
    )
    got = s3.get_object(Bucket=bucket, Key="to")
    assert (got["Body"].read(), got["Metadata"], got["ContentType"], got["StorageClass"]) == (body, {"c": "d"}, "text/css", "STANDARD_IA")
    assert "CacheControl" not in got
    assert s3.get_object_tagging(Bucket=bucket, Key="to")["TagSet"] == [{"Key": "u", "Value": "2"}]


def test_a_copy_onto_itself_must_change_something(s3, source):
    where, body, etag = source
    with refused("InvalidRequest", 400):
        s3.copy_object(**where, CopySource=where)
    s3.copy_object(**where, CopySource=where, MetadataDirective="REPLACE", Metadata={"new": "one"})
    got = s3.get_object(**where)
    assert (got["Body"].read(), got["ETag"], got["Metadata"]) == (body, etag, {"new": "one"})


def test_a_copy_into_another_bucket(s3, bucket, source):
    where, body, _ = source
    s3.create_bucket(Bucket=f"{bucket}-second")
    s3.copy_object(Bucket=f"{bucket}-second", Key="key", CopySource=where)
    s3.copy_object(Bucket=f"{bucket}-second", Key="string", CopySource=f"{where['Bucket']}/{where['Key']}")
    for key in ("key", "string"):
        assert s3.get_object(Bucket=f"{bucket}-second", Key=key)["Body"].read() == body


def test_conditions_on_the_source(s3, bucket, source):
    where, _, etag = source
    when = s3.head_object(**where)["LastModified"]
    earlier = when - datetime.timedelta(hours=1)
    s3.copy_object(Bucket=bucket, Key="to", CopySource=where, CopySourceIfMatch=etag)
    s3.copy_object(Bucket=bucket, Key="to", CopySource=where, CopySourceIfMatch=etag, CopySourceIfUnmodifiedSince=earlier)
    for condition in (
        {"CopySourceIfMatch": '"0123456789abcdef0123456789abcdef"'},
        {"CopySourceIfNoneMatch": etag},
        {"CopySourceIfUnmodifiedSince": earlier},
        {"CopySourceIfNoneMatch": etag, "CopySourceIfModifiedSince": earlier},
    ):
        with refused("PreconditionFailed", 412):
            s3.copy_object(Bucket=bucket, Key="to", CopySource=where, **condition)


def test_conditions_on_the_target(s3, bucket, source):
    where, body, etag = source
    s3.copy_object(Bucket=bucket, Key="to", CopySource=where, IfNoneMatch="*")
    with refused("PreconditionFailed", 412):
        s3.copy_object(Bucket=bucket, Key="to", CopySource=where, IfNoneMatch="*")
    s3.copy_object(Bucket=bucket, Key="to", CopySource=where, IfMatch=etag)
    assert s3.get_object(Bucket=bucket, Key="to")["Body"].read() == body


def test_a_source_that_is_not_there(s3, bucket):
    with refused("NoSuchKey", 404):
        s3.copy_object(Bucket=bucket, Key="to", CopySource={"Bucket": bucket, "Key": "nothing"})
    with refused("NoSuchBucket", 404):
        s3.copy_object(Bucket=bucket, Key="to", CopySource={"Bucket": "no-such-bucket", "Key": "nothing"})


def test_the_transfer_manager_copies(s3, bucket, source):
    where, body, _ = source
    s3.copy(where, bucket, "to")
    assert s3.get_object(Bucket=bucket, Key="to")["Body"].read() == body
