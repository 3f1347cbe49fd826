"""The calls of the docker registry's S3 driver, in its order: a layer in chunks, resumed by another process, moved to its digest.

Source: distribution/distribution, registry/storage/driver/s3-aws/s3.go: Writer, flush, Commit and copy.
"""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.clients.refused import refused

pytestmark = pytest.mark.slow

CHUNK = 10 << 20
MIN_CHUNK = 5 << 20
COPY_CHUNK = 8 << 20
UPLOADS = "docker/registry/v2/repositories/some/image/_uploads"
BLOBS = "docker/registry/v2/blobs/sha256"


class Driver:
    """One process of the registry: it keeps nothing between calls, as a request may be answered by another one."""

    def __init__(self, s3, bucket):
        self.s3, self.bucket = s3, bucket

    def begin(self, key):
        """Writer(append=false): the upload must be found by its key at once."""
        self.s3.create_multipart_upload(Bucket=self.bucket, Key=key, ContentType="application/octet-stream")
        return self.resume(key)

    def resume(self, key):
        """Writer(append=true): find the upload and its parts by the key alone."""
        page = self.s3.list_multipart_uploads(Bucket=self.bucket, Prefix=key)
        (upload,) = [found["UploadId"] for found in page.get("Uploads", []) if found["Key"] == key]
        parts = [
            part
            for answer in self.s3.get_paginator("list_parts").paginate(Bucket=self.bucket, Key=key, UploadId=upload)
            for part in answer.get("Parts", [])
        ]
        return upload, parts

    def write(self, key, chunk):
        """Append a chunk; a last part that is too small for a middle one is completed first and copied into a new upload."""
        upload, parts = self.resume(key)
        where = {"Bucket": self.bucket, "Key": key}
        if parts and parts[-1]["Size"] < MIN_CHUNK:
            self.complete(key)
            upload = self.s3.create_multipart_upload(**where)["UploadId"]
            size = self.s3.head_object(**where)["ContentLength"]
            if size < MIN_CHUNK:
                chunk = self.s3.get_object(**where)["Body"].read() + chunk
                parts = []
            else:
                copied = self.s3.upload_part_copy(**where, UploadId=upload, PartNumber=1, CopySource={**where})
                parts = [{"PartNumber": 1, "ETag": copied["CopyPartResult"]["ETag"], "Size": size}]
        self.s3.upload_part(**where, UploadId=upload, PartNumber=len(parts) + 1, Body=chunk)

    def complete(self, key):
        """Commit."""
        upload, parts = self.resume(key)
        named = [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in parts]
        self.s3.complete_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": named})

    def move(self, source, target):
        """Copy in ranges side by side, as for a layer over the threshold, and delete the source."""
        size = self.s3.head_object(Bucket=self.bucket, Key=source)["ContentLength"]
        upload = self.s3.create_multipart_upload(Bucket=self.bucket, Key=target)["UploadId"]
        where = {"Bucket": self.bucket, "Key": target, "UploadId": upload}

        def copy(number):
            first, last = (number - 1) * COPY_CHUNK, min(number * COPY_CHUNK, size) - 1
            copied = self.s3.upload_part_copy(
                **where, PartNumber=number, CopySource=f"{self.bucket}/{source}", CopySourceRange=f"bytes={first}-{last}"
            )
            return {"PartNumber": number, "ETag": copied["CopyPartResult"]["ETag"]}

        with ThreadPoolExecutor(10) as threads:
            parts = list(threads.map(copy, range(1, -(-size // COPY_CHUNK) + 1)))
        self.s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts})
        self.s3.delete_objects(Bucket=self.bucket, Delete={"Objects": [{"Key": source}], "Quiet": False})


def test_a_layer_is_pushed_in_chunks_and_pulled(connect, s3v4, bucket):
    chunks = [os.urandom(size) for size in (CHUNK, 1000, CHUNK + 5, 7, 100)]
    layer = b"".join(chunks)
    key = f"{UPLOADS}/4d2b/data"
    assert Driver(connect(), bucket).begin(key)[1] == []
    for chunk in chunks:
        Driver(connect(), bucket).write(key, chunk)
    Driver(connect(), bucket).complete(key)
    assert "Uploads" not in s3v4.list_multipart_uploads(Bucket=bucket, Prefix=key)
    digest = hashlib.sha256(layer).hexdigest()
    target = f"{BLOBS}/{digest[:2]}/{digest}/data"
    Driver(s3v4, bucket).move(key, target)
    with refused("404", 404):
        s3v4.head_object(Bucket=bucket, Key=key)
    stat = s3v4.list_objects_v2(Bucket=bucket, Prefix=target, MaxKeys=1)["Contents"][0]
    assert (stat["Key"], stat["Size"]) == (target, len(layer))
    folder = s3v4.list_objects_v2(Bucket=bucket, Prefix=f"{BLOBS}/", Delimiter="/")
    assert [found["Prefix"] for found in folder["CommonPrefixes"]] == [f"{BLOBS}/{digest[:2]}/"]
    url = s3v4.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": target})  # where the registry redirects a pull to
    assert hashlib.sha256(requests.get(url, timeout=60).content).hexdigest() == digest


def test_an_upload_is_found_at_once_by_every_process(connect, bucket):
    drivers = [Driver(connect(), bucket) for _ in range(4)]
    for number in range(40):
        key = f"{UPLOADS}/{number}/data"
        drivers[number % 4].begin(key)
        assert all(driver.resume(key) for driver in drivers)


def test_a_cancelled_upload_leaves_nothing(s3, bucket):
    key = f"{UPLOADS}/cancelled/data"
    upload, _ = Driver(s3, bucket).begin(key)
    Driver(s3, bucket).write(key, b"part")
    s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=upload)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket, Prefix=key)
    with refused("404", 404):
        s3.head_object(Bucket=bucket, Key=key)
