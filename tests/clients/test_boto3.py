"""boto3 as it is installed, with its default checksums, on objects: every option of put, get, head and delete."""

import datetime
import hashlib
import io
import os

import pytest

from tests.clients.refused import refused

SIZES = [0, 1, 100_000, 400_000, 7_000_000]


@pytest.mark.parametrize("size_bytes", SIZES)
def test_put_get_head_range_and_delete(s3, bucket, size_bytes):
    body = os.urandom(size_bytes)
    key = f"size/{size_bytes} \u00fc"
    put = s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="text/plain", Metadata={"colour": "red"}, CacheControl="no-cache")
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    got = s3.get_object(Bucket=bucket, Key=key)
    assert got["Body"].read() == body
    assert (got["ContentType"], got["Metadata"], got["CacheControl"]) == ("text/plain", {"colour": "red"}, "no-cache")
    head = s3.head_object(Bucket=bucket, Key=key)
    assert (head["ContentLength"], head["ETag"]) == (size_bytes, put["ETag"])
    if size_bytes:
        ranged = s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={size_bytes // 2}-")
        assert ranged["Body"].read() == body[size_bytes // 2 :]
        assert ranged["ContentRange"] == f"bytes {size_bytes // 2}-{size_bytes - 1}/{size_bytes}"
        assert s3.get_object(Bucket=bucket, Key=key, Range="bytes=-8")["Body"].read() == body[-8:]
    with refused("InvalidRange", 416):
        s3.get_object(Bucket=bucket, Key=key, Range=f"bytes={size_bytes}-")
    assert s3.delete_object(Bucket=bucket, Key=key)["ResponseMetadata"]["HTTPStatusCode"] == 204
    with pytest.raises(s3.exceptions.NoSuchKey):
        s3.get_object(Bucket=bucket, Key=key)


def test_everything_that_is_kept_with_an_object(s3, bucket):
    kept = {
        "CacheControl": "max-age=60",
        "ContentDisposition": "attachment; filename=a.txt",
        "ContentEncoding": "gzip",
        "ContentLanguage": "en, de",
        "ContentType": "text/plain; charset=utf-8",
        "Metadata": {"colour": "red", "with-dash": "1, 2"},
        "StorageClass": "STANDARD_IA",
        "WebsiteRedirectLocation": "/elsewhere",
    }
    s3.put_object(
        Bucket=bucket, Key="key", Body=b"body", Expires=datetime.datetime(2040, 1, 2, 3, 4, 5), Tagging="a=1&b=two%20words", **kept
    )
    for answer in (s3.head_object(Bucket=bucket, Key="key"), s3.get_object(Bucket=bucket, Key="key")):
        assert {name: answer[name] for name in kept} == kept
        assert answer["ExpiresString"] == "Mon, 02 Jan 2040 03:04:05 GMT"
        assert (answer["ContentLength"], answer["AcceptRanges"]) == (4, "bytes")
    assert s3.get_object(Bucket=bucket, Key="key")["TagCount"] == 2
    tags = s3.get_object_tagging(Bucket=bucket, Key="key")["TagSet"]
    assert sorted((tag["Key"], tag["Value"]) for tag in tags) == [("a", "1"), ("b", "two words")]
    with refused("InvalidStorageClass", 400):
        s3.put_object(Bucket=bucket, Key="key", Body=b"body", StorageClass="WARM")


def test_an_answer_may_override_what_is_kept(s3, bucket):
    s3.put_object(Bucket=bucket, Key="key", Body=b"body", ContentType="text/plain")
    answer = s3.get_object(
        Bucket=bucket,
        Key="key",
        ResponseCacheControl="no-store",
        ResponseContentDisposition="inline",
        ResponseContentEncoding="identity",
        ResponseContentLanguage="fr",
        ResponseContentType="text/css",
    )
    assert (answer["CacheControl"], answer["ContentDisposition"], answer["ContentLanguage"]) == ("no-store", "inline", "fr")
    assert (answer["ContentEncoding"], answer["ContentType"]) == ("identity", "text/css")


@pytest.mark.parametrize("size_bytes", [0, 1000, 1_000_000])
def test_file_objects_are_uploaded_and_downloaded(s3, bucket, size_bytes):
    body = os.urandom(size_bytes)
    s3.upload_fileobj(io.BytesIO(body), bucket, "from a file", ExtraArgs={"Metadata": {"a": "b"}})
    target = io.BytesIO()
    s3.download_fileobj(bucket, "from a file", target)
    assert target.getvalue() == body


def test_a_file_is_uploaded_as_a_stream(s3, bucket, tmp_path):
    path = tmp_path / "in"
    path.write_bytes(b"z" * 300_000)
    with open(path, "rb") as file:
        s3.put_object(Bucket=bucket, Key="stream", Body=file)
    assert s3.get_object(Bucket=bucket, Key="stream")["Body"].read() == b"z" * 300_000


def test_conditional_writes(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="once", Body=b"first", IfNoneMatch="*")["ETag"]
    with refused("PreconditionFailed", 412):
        s3.put_object(Bucket=bucket, Key="once", Body=b"second", IfNoneMatch="*")
    s3.put_object(Bucket=bucket, Key="once", Body=b"second", IfMatch=etag)
    with refused("PreconditionFailed", 412):
        s3.put_object(Bucket=bucket, Key="once", Body=b"third", IfMatch=etag)
    with refused("NoSuchKey", 404):
        s3.put_object(Bucket=bucket, Key="never", Body=b"third", IfMatch=etag)
    assert s3.get_object(Bucket=bucket, Key="once")["Body"].read() == b"second"


def test_conditional_deletes(s3, bucket):
    old = s3.put_object(Bucket=bucket, Key="key", Body=b"first")["ETag"]
    new = s3.put_object(Bucket=bucket, Key="key", Body=b"second")["ETag"]
    with refused("PreconditionFailed", 412):
        s3.delete_object(Bucket=bucket, Key="key", IfMatch=old)
    s3.delete_object(Bucket=bucket, Key="key", IfMatch=new)
    with refused("404", 404):
        s3.head_object(Bucket=bucket, Key="key")


def test_conditional_reads(s3, bucket):
    s3.put_object(Bucket=bucket, Key="key", Body=b"first")
    head = s3.head_object(Bucket=bucket, Key="key")
    etag, when = head["ETag"], head["LastModified"]
    earlier, later = when - datetime.timedelta(hours=1), when + datetime.timedelta(seconds=1)
    for call in (s3.get_object, s3.head_object):
        call(Bucket=bucket, Key="key", IfMatch=etag)
        call(Bucket=bucket, Key="key", IfMatch=etag, IfUnmodifiedSince=earlier)
        call(Bucket=bucket, Key="key", IfModifiedSince=earlier)
        with refused("304", 304):
            call(Bucket=bucket, Key="key", IfNoneMatch=etag)
        with refused("304", 304):
            call(Bucket=bucket, Key="key", IfModifiedSince=when)
        with refused("304", 304):
            call(Bucket=bucket, Key="key", IfNoneMatch=etag, IfModifiedSince=earlier)
    with refused("PreconditionFailed", 412):
        s3.get_object(Bucket=bucket, Key="key", IfMatch='"0123456789abcdef0123456789abcdef"')
    with refused("PreconditionFailed", 412):
        s3.get_object(Bucket=bucket, Key="key", IfUnmodifiedSince=earlier)
    s3.get_object(Bucket=bucket, Key="key", IfUnmodifiedSince=later)


def test_many_are_deleted_at_once(s3, bucket):
    keys = ["plain", "a b&c", "<xml>", "\u00fc", "never stored"]
    for key in keys[:-1]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys]})
    assert sorted(found["Key"] for found in answer["Deleted"]) == sorted(keys)
    assert "Errors" not in answer
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    s3.put_object(Bucket=bucket, Key="quiet", Body=b"x")
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "quiet"}], "Quiet": True})
    assert "Deleted" not in answer and "Errors" not in answer
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert len(s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": f"{n}"} for n in range(1000)]})["Deleted"]) == 1000
    with refused("MalformedXML", 400):
        s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": f"{n}"} for n in range(1001)]})


def test_a_delete_of_many_with_conditions(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="changed", Body=b"first")["ETag"]
    s3.put_object(Bucket=bucket, Key="changed", Body=b"second")
    same = s3.put_object(Bucket=bucket, Key="same", Body=b"x")["ETag"]
    wanted = [{"Key": "changed", "ETag": etag}, {"Key": "same", "ETag": same}]
    answer = s3.delete_objects(Bucket=bucket, Delete={"Objects": wanted})
    assert [found["Key"] for found in answer["Deleted"]] == ["same"]
    assert [(found["Key"], found["Code"]) for found in answer["Errors"]] == [("changed", "PreconditionFailed")]


def test_attributes_of_an_object(s3, bucket):
    put = s3.put_object(Bucket=bucket, Key="key", Body=b"body", ChecksumAlgorithm="SHA256", StorageClass="STANDARD_IA")
    wanted = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
    answer = s3.get_object_attributes(Bucket=bucket, Key="key", ObjectAttributes=wanted)
    assert (answer["ETag"], answer["ObjectSize"], answer["StorageClass"]) == (put["ETag"].strip('"'), 4, "STANDARD_IA")
    assert answer["Checksum"] == {"ChecksumSHA256": put["ChecksumSHA256"], "ChecksumType": "FULL_OBJECT"}
    assert "ObjectParts" not in answer
    assert "ETag" not in s3.get_object_attributes(Bucket=bucket, Key="key", ObjectAttributes=["ObjectSize"])


def test_bytes_are_appended_where_the_object_ends(s3, bucket):
    s3.put_object(Bucket=bucket, Key="log", Body=b"first,", WriteOffsetBytes=0)
    s3.put_object(Bucket=bucket, Key="log", Body=b"second", WriteOffsetBytes=6)
    with refused("InvalidWriteOffset", 400):
        s3.put_object(Bucket=bucket, Key="log", Body=b"third", WriteOffsetBytes=6)
    assert s3.get_object(Bucket=bucket, Key="log")["Body"].read() == b"first,second"
    assert s3.get_object(Bucket=bucket, Key="log", Range="bytes=4-7")["Body"].read() == b"t,se"


def test_an_object_is_renamed(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="old", Body=b"body", Metadata={"a": "b"})["ETag"]
    s3.put_object(Bucket=bucket, Key="taken", Body=b"other")
    with refused("PreconditionFailed", 412):
        s3.rename_object(Bucket=bucket, Key="taken", RenameSource="old", DestinationIfNoneMatch="*")
    s3.rename_object(Bucket=bucket, Key="new name", RenameSource="old", SourceIfMatch=etag)
    got = s3.get_object(Bucket=bucket, Key="new name")
    assert (got["Body"].read(), got["ETag"], got["Metadata"]) == (b"body", etag, {"a": "b"})
    with refused("404", 404):
        s3.head_object(Bucket=bucket, Key="old")


def test_a_wait_for_an_object(s3, bucket):
    s3.put_object(Bucket=bucket, Key="key", Body=b"")
    s3.get_waiter("object_exists").wait(Bucket=bucket, Key="key")
    s3.delete_object(Bucket=bucket, Key="key")
    s3.get_waiter("object_not_exists").wait(Bucket=bucket, Key="key")


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("get_object_torrent", {}),
        ("select_object_content", {"Expression": "select 1", "ExpressionType": "SQL", "InputSerialization": {}, "OutputSerialization": {}}),
        ("restore_object", {"RestoreRequest": {"Days": 1}}),
    ],
)
def test_what_is_not_built_is_refused(s3, bucket, call, arguments):
    s3.put_object(Bucket=bucket, Key="key", Body=b"body")
    with refused("NotImplemented", 501):
        getattr(s3, call)(Bucket=bucket, Key="key", **arguments)
