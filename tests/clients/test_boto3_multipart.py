"""boto3's multipart calls one by one: parts, copies of parts, listings, completion and its refusals."""

import hashlib
import os

import pytest
import requests

from tests.clients.refused import refused

PART = 5 << 20


def etag_of(*parts):
    digests = b"".join(hashlib.md5(part).digest() for part in parts)
    return f'"{hashlib.md5(digests).hexdigest()}-{len(parts)}"'


@pytest.fixture
def upload(s3, bucket):
    """upload(key, **options) -> the arguments that every call on this upload takes."""

    def create(key="key", **options):
        made = s3.create_multipart_upload(Bucket=bucket, Key=key, **options)
        assert (made["Bucket"], made["Key"]) == (bucket, key)
        return {"Bucket": bucket, "Key": key, "UploadId": made["UploadId"]}

    return create


@pytest.fixture
def put_part(s3):
    """put_part(where, number, body) -> the entry of that part for complete."""

    def put(where, number, body):
        answer = s3.upload_part(**where, PartNumber=number, Body=body)
        assert answer["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
        return {"PartNumber": number, "ETag": answer["ETag"]}

    return put


def test_parts_become_an_object(s3, bucket, upload, put_part):
    bodies = [os.urandom(PART), os.urandom(PART + 1), b"end"]
    where = upload(Metadata={"a": "b"}, ContentType="text/plain", StorageClass="STANDARD_IA", Tagging="t=1", CacheControl="no-store")
    parts = [put_part(where, number, body) for number, body in enumerate(bodies, 1)]
    with refused("404", 404):
        s3.head_object(Bucket=bucket, Key="key")
    done = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    assert (done["ETag"], done["Bucket"], done["Key"]) == (etag_of(*bodies), bucket, "key")
    got = s3.get_object(Bucket=bucket, Key="key")
    assert got["Body"].read() == b"".join(bodies)
    assert (got["ETag"], got["ContentType"], got["Metadata"]) == (etag_of(*bodies), "text/plain", {"a": "b"})
    assert (got["StorageClass"], got["TagCount"], got["CacheControl"]) == ("STANDARD_IA", 1, "no-store")
    across = s3.get_object(Bucket=bucket, Key="key", Range=f"bytes={PART - 3}-{PART + 2}")
    assert across["Body"].read() == b"".join(bodies)[PART - 3 : PART + 3]
    assert s3.get_object(Bucket=bucket, Key="key", Range="bytes=-5")["Body"].read() == (bodies[1] + bodies[2])[-5:]
    for number, body in enumerate(bodies, 1):
        part = s3.get_object(Bucket=bucket, Key="key", PartNumber=number)
        assert (part["Body"].read(), part["PartsCount"], part["ContentLength"]) == (body, 3, len(body))
        assert s3.head_object(Bucket=bucket, Key="key", PartNumber=number)["PartsCount"] == 3
    with refused("InvalidPart", 400):
        s3.get_object(Bucket=bucket, Key="key", PartNumber=4)
    attributes = s3.get_object_attributes(Bucket=bucket, Key="key", ObjectAttributes=["ObjectParts", "ObjectSize", "ETag"])
    assert attributes["ObjectParts"]["TotalPartsCount"] == 3
    assert attributes["ObjectSize"] == sum(map(len, bodies))
    again = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    assert again["ETag"] == done["ETag"]
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_a_part_sent_again_replaces_the_first(s3, bucket, upload, put_part):
    where = upload()
    old = put_part(where, 1, b"old")
    new = put_part(where, 1, b"new one")
    with refused("InvalidPart", 400):
        s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [old]})
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [new]})
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"new one"


def test_part_numbers_may_have_gaps(s3, bucket, upload, put_part):
    bodies = {3: os.urandom(PART), 77: os.urandom(PART), 10_000: b"end"}
    where = upload()
    parts = [put_part(where, number, body) for number, body in bodies.items()]
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"".join(bodies.values())


def test_parts_are_listed_in_pages(s3, upload, put_part):
    where = upload()
    sizes = {number: 10 + number for number in (1, 2, 3, 7, 10_000)}
    for number in reversed(sizes):
        put_part(where, number, b"x" * sizes[number])
    pages = list(s3.get_paginator("list_parts").paginate(**where, PaginationConfig={"PageSize": 2}))
    assert [len(page["Parts"]) for page in pages] == [2, 2, 1]
    assert {part["PartNumber"]: part["Size"] for page in pages for part in page["Parts"]} == sizes
    assert [part["PartNumber"] for part in s3.list_parts(**where, PartNumberMarker=3)["Parts"]] == [7, 10_000]
    for number in (0, 10_001):
        with refused("InvalidArgument", 400):
            s3.upload_part(**where, PartNumber=number, Body=b"x")


def test_uploads_are_listed_by_prefix_delimiter_and_in_pages(s3, bucket, upload):
    keys = ["a", "dir/one", "dir/one", "dir/two", "other/three", "z"]
    made = sorted((where["Key"], where["UploadId"]) for where in [upload(key) for key in keys])
    pages = list(s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2}))
    found = [(entry["Key"], entry["UploadId"]) for page in pages for entry in page["Uploads"]]
    assert [key for key, _ in found] == keys
    assert sorted(found) == made
    page = s3.list_multipart_uploads(Bucket=bucket, Prefix="dir/")
    assert [entry["Key"] for entry in page["Uploads"]] == ["dir/one", "dir/one", "dir/two"]
    page = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [entry["Key"] for entry in page["Uploads"]] == ["a", "z"]
    assert [entry["Prefix"] for entry in page["CommonPrefixes"]] == ["dir/", "other/"]
    for key, upload_id in made:
        s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload_id)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_an_aborted_upload_is_gone(s3, bucket, upload, put_part):
    where = upload()
    part = put_part(where, 1, b"part")
    s3.abort_multipart_upload(**where)
    with refused("NoSuchUpload", 404):
        s3.upload_part(**where, PartNumber=2, Body=b"x")
    with refused("NoSuchUpload", 404):
        s3.list_parts(**where)
    with refused("NoSuchUpload", 404):
        s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [part]})
    with refused("404", 404):
        s3.head_object(Bucket=bucket, Key="key")


def test_a_wrong_list_of_parts_is_refused(s3, bucket, upload, put_part):
    where = upload()
    small, big = put_part(where, 1, b"small"), put_part(where, 2, b"last")
    with refused("EntityTooSmall", 400):
        s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [small, big]})
    with refused("InvalidPartOrder", 400):
        s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [big, small]})
    with refused("InvalidPart", 400):
        s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [{**big, "PartNumber": 3}]})
    with refused("MalformedXML", 400):
        s3.complete_multipart_upload(**where, MultipartUpload={"Parts": []})
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [big]})
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"last"


def test_completion_under_a_condition(s3, bucket, upload, put_part):
    first, second = upload(), upload()
    parts = [put_part(first, 1, b"first")], [put_part(second, 1, b"second")]
    done = s3.complete_multipart_upload(**first, MultipartUpload={"Parts": parts[0]}, IfNoneMatch="*")
    with refused("PreconditionFailed", 412):
        s3.complete_multipart_upload(**second, MultipartUpload={"Parts": parts[1]}, IfNoneMatch="*")
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"first"
    s3.complete_multipart_upload(**second, MultipartUpload={"Parts": parts[1]}, IfMatch=done["ETag"])
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == b"second"


def test_parts_are_copied_from_objects(s3, bucket, upload):
    source = os.urandom(PART + 1000)
    etag = s3.put_object(Bucket=bucket, Key="the source", Body=source)["ETag"]
    where = upload()
    copied = {"Bucket": bucket, "Key": "the source"}
    first = s3.upload_part_copy(**where, PartNumber=1, CopySource=copied)["CopyPartResult"]
    second = s3.upload_part_copy(**where, PartNumber=2, CopySource=copied, CopySourceRange="bytes=10-1009")["CopyPartResult"]
    assert second["ETag"] == f'"{hashlib.md5(source[10:1010]).hexdigest()}"'
    assert [part["Size"] for part in s3.list_parts(**where)["Parts"]] == [len(source), 1000]
    with pytest.raises(s3.exceptions.ClientError) as caught:
        s3.upload_part_copy(**where, PartNumber=3, CopySource=copied, CopySourceRange=f"bytes=0-{len(source)}")
    assert caught.value.response["Error"]["Code"] in ("InvalidRange", "InvalidArgument")
    with refused("PreconditionFailed", 412):
        s3.upload_part_copy(**where, PartNumber=3, CopySource=copied, CopySourceIfNoneMatch=etag)
    with refused("NoSuchKey", 404):
        s3.upload_part_copy(**where, PartNumber=3, CopySource={"Bucket": bucket, "Key": "nothing"})
    parts = [{"PartNumber": number, "ETag": part["ETag"]} for number, part in ((1, first), (2, second))]
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    s3.delete_object(Bucket=bucket, Key="the source")
    assert s3.get_object(Bucket=bucket, Key="key")["Body"].read() == source + source[10:1010]


def test_a_multipart_object_is_copied_whole_and_in_parts(s3, bucket, upload, put_part):
    bodies = [os.urandom(PART), os.urandom(PART)]
    where = upload("from")
    parts = [put_part(where, number, body) for number, body in enumerate(bodies, 1)]
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "from"})
    where = upload("pieces")
    part = s3.upload_part_copy(
        **where, PartNumber=1, CopySource={"Bucket": bucket, "Key": "from"}, CopySourceRange=f"bytes={PART - 10}-{PART + 9}"
    )
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["CopyPartResult"]["ETag"]}]})
    s3.delete_object(Bucket=bucket, Key="from")
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == b"".join(bodies)
    assert s3.get_object(Bucket=bucket, Key="pieces")["Body"].read() == bodies[0][-10:] + bodies[1][:10]


def test_parts_through_presigned_urls(s3v4, bucket):
    bodies = [os.urandom(PART), b"end"]
    upload_id = s3v4.create_multipart_upload(Bucket=bucket, Key="key")["UploadId"]
    where = {"Bucket": bucket, "Key": "key", "UploadId": upload_id}
    parts = []
    for number, body in enumerate(bodies, 1):
        url = s3v4.generate_presigned_url("upload_part", Params={**where, "PartNumber": number}, ExpiresIn=600)
        answer = requests.put(url, data=body, timeout=60)
        assert answer.status_code == 200, answer.text
        parts.append({"PartNumber": number, "ETag": answer.headers["etag"]})
    s3v4.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
    assert s3v4.get_object(Bucket=bucket, Key="key")["Body"].read() == b"".join(bodies)
