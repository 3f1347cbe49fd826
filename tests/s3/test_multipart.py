"""Multipart uploads over HTTP: whichever worker answers, by either signing scheme, across kills, races and damage."""

import hashlib
import os
import re
import threading
import time
from html import unescape

import pytest
import requests

from fasterstore.digests import CHECKSUM_ALGORITHMS, checksum_base64
from fasterstore.s3.chunked_encoder import encode_chunked
from tests.refusal import assert_refused
from tests.s3.test_damage import assert_no_wrong_byte, flip_stored_byte

MIB = 1 << 20
PART_BYTES = 5 * MIB
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


def element(answer, name):
    found = re.search(f"<{name}>([^<]*)</{name}>", answer.text)
    return None if found is None else unescape(found[1])


class Upload:
    """One upload by `client`, which may be another one for each step."""

    def __init__(self, client, bucket, key="key", headers=None):
        self.bucket, self.key, self.etags, self.checksums = bucket, key, {}, {}
        answer = client.request("POST", bucket, key, [("uploads", "")], headers)
        assert answer.status_code == 200, answer.text
        self.id = element(answer, "UploadId")

    def query(self, number=None):
        return ([] if number is None else [("partNumber", str(number))]) + [("uploadId", self.id)]

    def put(self, client, number, body, headers=None, **options):
        answer = client.request("PUT", self.bucket, self.key, self.query(number), headers, body, **options)
        if answer.status_code == 200:
            self.etags[number] = answer.headers["etag"]
        return answer

    def document(self):
        items = []
        for number, etag in sorted(self.etags.items()):
            checksum = self.checksums.get(number, "")
            items.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag>{checksum}</Part>")
        return f"<CompleteMultipartUpload>{''.join(items)}</CompleteMultipartUpload>".encode()

    def complete(self, client, headers=None):
        return client.request("POST", self.bucket, self.key, self.query(), headers, self.document())

    def abort(self, client):
        return client.request("DELETE", self.bucket, self.key, self.query())

    def listed(self, client):
        return client.request("GET", self.bucket, self.key, self.query())


@pytest.mark.parametrize("scheme", ["sigv4", "x-fs"])
def test_an_upload_is_the_same_on_every_worker(node, bucket, scheme):
    """Every step on a connection of its own: consecutive ones meet different workers."""
    bodies = [os.urandom(PART_BYTES), os.urandom(PART_BYTES + 123), b"the end"]
    with node.client(scheme=scheme) as client:
        upload = Upload(client, bucket)
    for number, body in enumerate(bodies, 1):
        with node.client(scheme=scheme) as client:
            assert upload.put(client, number, body).status_code == 200
    with node.client(scheme=scheme) as client:
        assert upload.listed(client).text.count("<PartNumber>") == 3
    with node.client(scheme=scheme) as client:
        done = upload.complete(client)
    etag = f'"{hashlib.md5(b"".join(hashlib.md5(body).digest() for body in bodies)).hexdigest()}-3"'
    assert (done.status_code, element(done, "ETag")) == (200, etag)
    assert element(done, "Location") == f"{node.endpoint}/{bucket}/key"
    whole = b"".join(bodies)
    for _ in range(2):
        with node.client(scheme=scheme) as client:
            got = client.get(bucket, "key")
            assert (got.content == whole, got.headers["etag"]) == (True, etag)
            assert upload.complete(client).text == done.text
            span = client.get(bucket, "key", {"range": f"bytes={PART_BYTES - 7}-{2 * PART_BYTES + 200}"})
            assert (span.status_code, span.content) == (206, whole[PART_BYTES - 7 : 2 * PART_BYTES + 201])
            one = client.request("GET", bucket, "key", [("partNumber", "2")])
            assert (one.status_code, one.content == bodies[1], one.headers["x-amz-mp-parts-count"]) == (206, True, "3")
            head = client.request("HEAD", bucket, "key", [("partNumber", "3")])
            assert (head.status_code, head.headers["content-length"]) == (206, "7")
    assert node.usage(bucket) == (1, len(whole))


@pytest.mark.parametrize("algorithm", sorted(CHECKSUM_ALGORITHMS))
def test_checksums_come_as_trailers_too(client, bucket, algorithm):
    """As newer SDKs send them: aws-chunked, the checksum behind the bytes, unsigned."""
    header = CHECKSUM_ALGORITHMS[algorithm].header
    upload = Upload(client, bucket, headers={"x-amz-checksum-algorithm": algorithm, "content-encoding": "gzip"})
    bodies = [os.urandom(PART_BYTES), os.urandom(100_000)]

    def send(number, body, checksum):
        headers = {
            "content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(len(body)), "x-amz-trailer": header,
            "x-amz-sdk-checksum-algorithm": algorithm,
        }  # fmt: skip
        framed = b"".join(encode_chunked([body[:70_000], body[70_000:]], UNSIGNED_TRAILER, None, {header: checksum}))
        return upload.put(client, number, framed, headers, payload_hash=UNSIGNED_TRAILER)

    assert_refused(send(1, bodies[0], checksum_base64(algorithm, b"other")), 400, "BadDigest")
    assert upload.etags == {}
    for number, body in enumerate(bodies, 1):
        checksum = checksum_base64(algorithm, body)
        assert send(number, body, checksum).headers[header] == checksum
        upload.checksums[number] = f"<Checksum{algorithm}>{checksum}</Checksum{algorithm}>"
    done = upload.complete(client)
    whole = element(done, f"Checksum{algorithm}")
    if algorithm == "CRC64NVME":
        assert (whole, element(done, "ChecksumType")) == (checksum_base64(algorithm, b"".join(bodies)), "FULL_OBJECT")
    else:
        assert (whole[-2:], element(done, "ChecksumType")) == ("-2", "COMPOSITE")
    got = client.get(bucket, "key", {"x-amz-checksum-mode": "ENABLED"})
    assert (got.content == b"".join(bodies), got.headers[header]) == (True, whole)
    assert got.headers["content-encoding"] == "gzip"


def test_an_upload_outlives_kills_before_and_after_it_is_complete(start_node):
    node = start_node()
    bodies = [os.urandom(PART_BYTES), b"the end"]
    with node.client() as client:
        client.create_bucket("box")
        upload = Upload(client, "box", headers={"x-amz-meta-kept": "yes"})
        upload.put(client, 1, bodies[0])
    node.kill()
    node.start()
    with node.client() as client:
        upload.put(client, 2, bodies[1])
        done = upload.complete(client)
        assert done.status_code == 200
    node.kill()
    node.start()
    with node.client() as client:
        got = client.get("box", "key")
        assert (got.content == b"".join(bodies), got.headers["x-amz-meta-kept"]) == (True, "yes")
        assert upload.complete(client).text == done.text
        client.delete("box", "key")
        assert_refused(upload.complete(client), 404, "NoSuchUpload")


def test_of_many_conditional_completes_exactly_one_wins(node, bucket):
    """Each of twenty clients has an upload of its own for the same key, and wants to be the first."""
    uploads, answers = [], [None] * 20
    with node.client() as client:
        for number in range(20):
            uploads.append(Upload(client, bucket))
            uploads[-1].put(client, 1, b"%d" % number)

    def race(number):
        with node.client() as own:
            answers[number] = uploads[number].complete(own, {"if-none-match": "*"})

    threads = [threading.Thread(target=race, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 19
    winner = [answer.status_code for answer in answers].index(200)
    with node.client() as client:
        assert client.get(bucket, "key").content == b"%d" % winner
        left = client.request("GET", bucket, query=[("uploads", "")])
        assert left.text.count("<UploadId>") == 19


def test_an_unfinished_upload_expires(start_node):
    node = start_node(FS_MULTIPART_TTL_SECS="1")
    with node.client() as client:
        client.create_bucket("box")
        upload = Upload(client, "box")
        deadline = time.monotonic() + 60
        while upload.listed(client).status_code != 404:
            assert time.monotonic() < deadline, "the upload is still open"
            time.sleep(0.1)
        assert_refused(upload.put(client, 1, b"late"), 404, "NoSuchUpload")
        assert "<Upload>" not in client.request("GET", "box", query=[("uploads", "")]).text


def test_damage_in_a_later_part_is_never_sent(start_node):
    node = start_node(FS_CACHE_CAPACITY_MB="0")
    bodies = [os.urandom(PART_BYTES), os.urandom(PART_BYTES), b"the end"]
    with node.client() as client:
        client.create_bucket("box")
        upload = Upload(client, "box")
        for number, body in enumerate(bodies, 1):
            upload.put(client, number, body)
        upload.complete(client)
        flip_stored_byte(node.data_dir, bodies[1], 3 * MIB)
        assert_no_wrong_byte(client, "key", b"".join(bodies))
        with pytest.raises(requests.RequestException):
            client.get("box", "key")
        assert (
            client.get("box", "key", {"range": f"bytes=0-{PART_BYTES + 2 * MIB}"}).content == b"".join(bodies)[: PART_BYTES + 2 * MIB + 1]
        )


def test_a_copy_moves_no_byte_and_outlives_its_source(node, client, bucket):
    body = os.urandom(PART_BYTES + 1000)
    client.put(bucket, "source", body)
    upload = Upload(client, bucket)
    for number, span in enumerate(("0-5242879", "5242880-5243879"), 1):
        headers = {"x-amz-copy-source": f"/{bucket}/source", "x-amz-copy-source-range": f"bytes={span}"}
        copied = client.request("PUT", bucket, "key", upload.query(number), headers)
        upload.etags[number] = element(copied, "ETag")
    assert upload.complete(client).status_code == 200
    client.delete(bucket, "source")
    assert client.get(bucket, "key").content == body
    assert_refused(client.request("GET", bucket, "source"), 404, "NoSuchKey")


def test_an_aborted_upload_is_gone_on_every_worker(node, bucket):
    with node.client() as client:
        upload = Upload(client, bucket)
        upload.put(client, 1, b"x")
        assert upload.abort(client).status_code == 204
    for _ in range(3):
        with node.client() as client:
            assert_refused(upload.listed(client), 404, "NoSuchUpload")
            assert_refused(upload.abort(client), 404, "NoSuchUpload")
            assert_refused(upload.complete(client), 404, "NoSuchUpload")
