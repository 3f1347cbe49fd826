"""minio-py as it is installed: its whole interface but what needs versions, locks or MinIO's own extensions."""

import hashlib
import io
import json
import os
from datetime import UTC, datetime, timedelta

import pytest
import requests
from minio import Minio
from minio.commonconfig import REPLACE, ComposeSource, CopySource, Tags
from minio.datatypes import PostPolicy
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

PART = 5 << 20


@pytest.fixture(scope="module")
def minio(node):
    """A client that is told nothing but endpoint and keys: it asks the node for the bucket's region by itself."""
    return Minio(f"{node.host}:{node.port}", access_key=node.credentials.access_key, secret_key=node.credentials.secret_key, secure=False)


def read(answer):
    try:
        return answer.read()
    finally:
        answer.close()
        answer.release_conn()


def test_buckets(minio):
    name = f"minio-{os.urandom(4).hex()}"
    assert not minio.bucket_exists(name)
    minio.make_bucket(name)
    assert minio.bucket_exists(name)
    assert name in [found.name for found in minio.list_buckets()]
    with pytest.raises(S3Error) as caught:
        minio.make_bucket(name)
    assert caught.value.code == "BucketAlreadyOwnedByYou"
    minio.put_object(name, "key", io.BytesIO(b"x"), 1)
    with pytest.raises(S3Error) as caught:
        minio.remove_bucket(name)
    assert caught.value.code == "BucketNotEmpty"
    minio.remove_object(name, "key")
    minio.remove_bucket(name)
    assert not minio.bucket_exists(name)


@pytest.mark.parametrize("size_bytes", [0, 1, 300_000])
def test_objects_of_known_length(minio, bucket, size_bytes):
    body = os.urandom(size_bytes)
    key = "a b/\u00fc+c"
    put = minio.put_object(bucket, key, io.BytesIO(body), size_bytes, "text/x-minio", {"colour": "red"}, tags=Tags.new_object_tags())
    stat = minio.stat_object(bucket, key)
    assert (stat.size, stat.etag, stat.content_type) == (size_bytes, put.etag, "text/x-minio")
    assert (stat.etag, stat.metadata["x-amz-meta-colour"]) == (hashlib.md5(body).hexdigest(), "red")
    assert read(minio.get_object(bucket, key)) == body
    if size_bytes > 1:
        assert read(minio.get_object(bucket, key, offset=10, length=100)) == body[10:110]
    minio.remove_object(bucket, key)
    with pytest.raises(S3Error) as caught:
        minio.stat_object(bucket, key)
    assert caught.value.code == "NoSuchKey"


def test_a_stream_of_unknown_length_and_files_go_in_parts(minio, bucket, tmp_path):
    body = os.urandom(2 * PART + 1000)
    minio.put_object(bucket, "stream", io.BytesIO(body), -1, part_size=PART)
    assert minio.stat_object(bucket, "stream").etag.endswith("-3")
    assert read(minio.get_object(bucket, "stream")) == body
    (tmp_path / "in").write_bytes(body)
    minio.fput_object(bucket, "file", str(tmp_path / "in"), part_size=PART)
    minio.fget_object(bucket, "file", str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == body


def test_bytes_are_appended(minio, bucket):
    minio.put_object(bucket, "log", io.BytesIO(b"first,"), 6)
    minio.append_object(bucket, "log", io.BytesIO(b"second"), 6)
    assert read(minio.get_object(bucket, "log")) == b"first,second"


def test_copies_and_composition(minio, bucket):
    body = os.urandom(PART + 10)
    minio.put_object(bucket, "from", io.BytesIO(body), len(body), metadata={"a": "b"})
    minio.copy_object(bucket, "copy", CopySource(bucket, "from"))
    assert minio.stat_object(bucket, "copy").metadata["x-amz-meta-a"] == "b"
    minio.copy_object(bucket, "copy", CopySource(bucket, "from"), metadata={"c": "d"}, metadata_directive=REPLACE)
    assert minio.stat_object(bucket, "copy").metadata.get("x-amz-meta-a") is None
    with pytest.raises(S3Error) as caught:
        minio.copy_object(bucket, "copy", CopySource(bucket, "from", match_etag="0" * 32))
    assert caught.value.code == "PreconditionFailed"
    minio.compose_object(bucket, "all", [ComposeSource(bucket, "from"), ComposeSource(bucket, "copy", offset=5, length=100)])
    assert read(minio.get_object(bucket, "all")) == body + body[5:105]


def test_listings(minio, bucket):
    keys = ["a", "a/", "a/b", "a/c/d", "e f&g", "\u00fc"]
    for key in keys:
        minio.put_object(bucket, key, io.BytesIO(b"xy"), 2)
    assert [found.object_name for found in minio.list_objects(bucket, recursive=True)] == keys
    assert [found.object_name for found in minio.list_objects(bucket, recursive=True, use_api_v1=True)] == keys
    assert [(found.object_name, found.is_dir) for found in minio.list_objects(bucket, "a/")] == [
        ("a/", True),
        ("a/b", False),
        ("a/c/", True),
    ]
    assert [found.object_name for found in minio.list_objects(bucket, start_after="a/b", recursive=True)] == keys[3:]
    assert {found.size for found in minio.list_objects(bucket, recursive=True, include_version=True)} == {2}
    assert [found.object_name for found in minio.list_objects(bucket, recursive=True, include_user_meta=True, fetch_owner=True)] == keys
    assert list(minio.remove_objects(bucket, [DeleteObject(key) for key in keys])) == []
    assert list(minio.list_objects(bucket, recursive=True)) == []


def test_presigned_urls_and_forms(minio, bucket, node):
    url = minio.presigned_put_object(bucket, "a b", expires=timedelta(minutes=5))
    assert requests.put(url, data=b"body", timeout=30).status_code == 200
    url = minio.presigned_get_object(bucket, "a b", response_headers={"response-content-type": "text/css"})
    answer = requests.get(url, timeout=30)
    assert (answer.content, answer.headers["content-type"]) == (b"body", "text/css")
    policy = PostPolicy(bucket, datetime.now(UTC) + timedelta(minutes=5))
    policy.add_starts_with_condition("key", "incoming/")
    policy.add_content_length_range_condition(1, 100)
    form = {**minio.presigned_post_policy(policy), "key": "incoming/file"}
    assert requests.post(f"{node.endpoint}/{bucket}", data=form, files={"file": b"from a form"}, timeout=30).status_code == 204
    assert read(minio.get_object(bucket, "incoming/file")) == b"from a form"


def test_tags_and_policies(minio, bucket, node):
    minio.put_object(bucket, "key", io.BytesIO(b"body"), 4)
    assert not minio.get_object_tags(bucket, "key")
    assert minio.get_bucket_tags(bucket) is None
    tags = Tags.new_object_tags()
    tags["a"] = "1 2"
    minio.set_object_tags(bucket, "key", tags)
    assert minio.get_object_tags(bucket, "key") == tags
    minio.delete_object_tags(bucket, "key")
    assert not minio.get_object_tags(bucket, "key")
    minio.set_bucket_tags(bucket, tags)
    assert minio.get_bucket_tags(bucket) == tags
    minio.delete_bucket_tags(bucket)
    with pytest.raises(S3Error) as caught:
        minio.get_bucket_policy(bucket)
    assert caught.value.code == "NoSuchBucketPolicy"
    statement = {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{bucket}/*"]}
    minio.set_bucket_policy(bucket, json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    assert json.loads(minio.get_bucket_policy(bucket))["Statement"]
    assert requests.get(f"{node.endpoint}/{bucket}/key", timeout=30).content == b"body"
    minio.delete_bucket_policy(bucket)
    assert requests.get(f"{node.endpoint}/{bucket}/key", timeout=30).status_code == 403


def test_what_is_not_configured(minio, bucket):
    assert minio.get_bucket_versioning(bucket).status in (None, "Off")
    assert minio.get_bucket_lifecycle(bucket) is None
    assert minio.get_bucket_encryption(bucket) is None
    assert minio.get_bucket_replication(bucket) is None
    assert not minio.get_bucket_notification(bucket).queue_config_list
    with pytest.raises(S3Error) as caught:
        minio.get_object_lock_config(bucket)
    assert caught.value.code == "ObjectLockConfigurationNotFoundError"
