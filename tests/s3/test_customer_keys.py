"""SSE-C over HTTP on real nodes: whichever worker answers, across restarts, and nothing in plain or of a key outside the request."""

import os
import re
from base64 import b64encode

import pytest

from fasterstore.sealed_body import sealed_bytes
from fasterstore.storage.record import HEADER_BYTES
from tests.customer_keys import TARGET, A, B, bring, bring_source, told
from tests.node import RunningNode
from tests.refusal import assert_refused, assert_refused_head
from tests.s3.test_damage import assert_no_wrong_byte
from tests.s3.test_multipart import PART_BYTES, Upload

KIB, MIB = 1 << 10, 1 << 20
SIZES = {"small": 1000, "message": 64 * KIB - 48, "several-chunks": 300 * KIB, "streamed": 12 * MIB}
MAGIC = b"FSCK\1\0\0\0"
ANOTHER_KEY = b64encode(B).decode()


def tells(answer, key=A):
    return {name.lower(): value for name, value in answer.headers.items() if name.lower().startswith(TARGET)} == told(key)


@pytest.mark.parametrize("scheme", ["sigv4", "presigned", "chunked"])
@pytest.mark.parametrize("size", SIZES)
def test_an_object_is_the_same_on_every_worker(node, bucket, size, scheme):
    body = os.urandom(SIZES[size])
    with node.client() as client:
        if scheme == "presigned":
            url = client.presign("PUT", bucket, "key", headers=bring(A))
            answer = client.send_presigned("PUT", url, bring(A), body)
        elif scheme == "chunked":
            answer = client.put_chunked(bucket, "key", [body[:8192], body[8192:]], headers=bring(A))
        else:
            answer = client.put(bucket, "key", body, bring(A))
    assert answer.status_code == 200, answer.content
    assert tells(answer)
    for _ in range(3):
        with node.client() as client:
            if scheme == "presigned":
                got = client.send_presigned("GET", client.presign("GET", bucket, "key", headers=bring(A)), bring(A))
            else:
                got = client.get(bucket, "key", bring(A))
            assert (got.content == body, got.headers["etag"], tells(got)) == (True, answer.headers["etag"], True)
            assert_refused(client.request("GET", bucket, "key"), 400, "InvalidRequest")
            assert_refused(client.request("GET", bucket, "key", headers=bring(B)), 403, "AccessDenied")
            assert_refused_head(client.request("HEAD", bucket, "key"), 400)
    assert node.usage(bucket) == (1, len(body))


@pytest.mark.parametrize("size", ["several-chunks", "streamed"])
def test_ranges_across_chunk_borders(node, client, bucket, size):
    body = os.urandom(SIZES[size])
    client.put(bucket, "key", body, bring(A))
    for border in (64 * KIB, 256 * KIB, (SIZES[size] - 1) // (64 * KIB) * 64 * KIB):
        for first, last in ((border - 1, border), (border, border), (border - 70_000 if border > 70_000 else 0, border + 10)):
            got = client.get(bucket, "key", {"range": f"bytes={first}-{last}", **bring(A)})
            assert (got.status_code, got.content) == (206, body[first : last + 1])


@pytest.mark.parametrize("changed", ["signed-as-another", "not-signed"])
def test_a_key_that_is_not_the_signed_one_is_refused_and_not_shown(client, bucket, changed):
    client.put(bucket, "key", b"body", bring(A))
    url = client.presign("GET", bucket, "key", headers=bring(A) if changed == "signed-as-another" else None)
    answer = client.send_presigned("GET", url, bring(B))
    assert answer.status_code == 403
    assert ANOTHER_KEY.encode() not in answer.content and ANOTHER_KEY.encode().hex(" ").encode() not in answer.content


def test_parts_sent_to_any_worker_make_one_object(node, bucket):
    bodies = [os.urandom(PART_BYTES), os.urandom(PART_BYTES + 123), b"the end"]
    with node.client() as client:
        upload = Upload(client, bucket, headers=bring(A))
    for number, body in enumerate(bodies, 1):
        with node.client() as client:
            assert_refused(upload.put(client, number, body), 400, "InvalidRequest")
            assert tells(upload.put(client, number, body, bring(A)))
    with node.client() as client:
        assert upload.complete(client, bring(A)).status_code == 200
    whole = b"".join(bodies)
    with node.client() as client:
        assert client.get(bucket, "key", bring(A)).content == whole
        span = client.get(bucket, "key", {"range": f"bytes={PART_BYTES - 7}-{2 * PART_BYTES + 124}", **bring(A)})
        assert span.content == whole[PART_BYTES - 7 : 2 * PART_BYTES + 125]
        one = client.request("GET", bucket, "key", [("partNumber", "2")], bring(A))
        assert (one.status_code, one.content == bodies[1], one.headers["x-amz-mp-parts-count"]) == (206, True, "3")
    assert node.usage(bucket) == (1, len(whole))


@pytest.mark.parametrize(("source_key", "target_key"), [(None, A), (A, None), (A, A), (A, B)], ids=["to-A", "from-A", "A-A", "A-B"])
def test_a_copy_over_the_limit_of_a_request_is_written_anew(node, client, bucket, source_key, target_key):
    """What one request may bring is no limit for what one may copy."""
    upload = Upload(client, bucket, "source", bring(source_key))
    part = os.urandom(12 * MIB)
    for number in range(1, 4):
        upload.put(client, number, part, bring(source_key))
    assert upload.complete(client, bring(source_key)).status_code == 200
    headers = {"x-amz-copy-source": f"/{bucket}/source", **bring_source(source_key), **bring(target_key)}
    assert client.request("PUT", bucket, "copy", headers=headers).status_code == 200
    assert client.get(bucket, "copy", bring(target_key)).content == part * 3
    assert node.usage(bucket) == (2, 6 * len(part))


@pytest.fixture
def own_node(start_node):
    """One that logs all it can."""
    return start_node(workers=2, FS_LOG_LEVEL="debug", FS_ACCESS_LOG="true")


@pytest.mark.slow
def test_neither_plaintext_nor_key_is_ever_in_the_data_dir_or_the_log(own_node):
    """Also after a restart, whose replay reads what was logged; what is stored in plain is found by the same search."""
    marker = os.urandom(24)
    secret = b64encode(A)
    body = marker * (400 * KIB // 24)
    with own_node.client() as client:
        client.create_bucket("box")
        client.put("box", "small", marker * 3, bring(A))
        client.put("box", "large", body, bring(A))
        upload = Upload(client, "box", "parts", bring(A))
        upload.put(client, 1, body, bring(A))
        assert upload.complete(client, bring(A)).status_code == 200
        headers = {"x-amz-copy-source": "/box/large", **bring_source(A), **bring(B)}
        assert client.request("PUT", "box", "copy", headers=headers).status_code == 200
        assert client.request("GET", "box", "small", headers=bring(B)).status_code == 403
        for key in ("small", "large", "parts"):
            client.get("box", key, bring(A))
    with own_node.client(secret_key="wrong") as stranger:
        assert stranger.request("GET", "box", "small", headers=bring(A)).status_code == 403
    own_node.restart()
    with own_node.client() as client:
        assert client.get("box", "small", bring(A)).content == marker * 3
        for key, used in (("large", A), ("parts", A), ("copy", B)):
            assert client.get("box", key, bring(used)).content == body
        assert client.request("GET", "box", "large", headers=bring(B)).status_code == 403
        assert found_in(own_node, marker) == []
        for wanted in (secret, A, A.hex().encode(), bring(A)[f"{TARGET}key-MD5"].encode()):
            assert found_in(own_node, wanted) == []
            assert wanted.decode("latin-1") not in own_node.log()
        client.put("box", "plain", body)
    assert found_in(own_node, marker) != []


def found_in(node: RunningNode, wanted: bytes) -> list[str]:
    """The files below the data dir that hold those bytes."""
    return [path.name for path in node.data_dir.rglob("*") if path.is_file() and wanted in path.read_bytes()]


@pytest.mark.parametrize("verify", ["true", "false"])
def test_a_flipped_bit_never_becomes_a_byte(start_node, verify):
    node = start_node(FS_VERIFY_READS=verify)
    with node.client() as client:
        client.create_bucket("box")
        for size, share in ((1000, 0.5), (400 * KIB, 0.0), (400 * KIB, 0.99), (5 * MIB, 0.3)):
            body = os.urandom(size)
            client.put("box", "key", body, bring(A))
            flip_sealed_body(node, size, share)
            assert_no_wrong_byte(client, "key", body, bring(A))
            # Two thirds of the way there is no damage, but for one of them.
            first = size * 2 // 3
            if share != 0.3:
                assert_no_wrong_byte(client, "key", body, {"range": f"bytes={first}-", **bring(A)}, first)
            elif verify == "false":
                assert client.get("box", "key", {"range": f"bytes={first}-", **bring(A)}).content == body[first:]


def flip_sealed_body(node: RunningNode, size: int, share: float) -> None:
    """Change one byte of the newest sealed body of `size` bytes of plaintext; `share`: how far into it."""
    wanted = sealed_bytes(size).to_bytes(8, "little")
    places = []
    for path in node.data_dir.glob("segments/*.seg"):
        data = path.read_bytes()
        for found in re.finditer(re.escape(MAGIC), data):
            header = data[found.start() - HEADER_BYTES : found.start()]
            if header[16:24] == wanted:
                places.append((path, found.start()))
    path, start = max(places, key=lambda place: (place[0].name, place[1]))
    at = start + int((sealed_bytes(size) - 1) * share)
    with path.open("r+b") as file:
        file.seek(at)
        (byte,) = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 0x40]))


def test_the_same_bytes_make_two_records(start_node):
    node = start_node()
    body = os.urandom(500 * KIB)
    with node.client() as client:
        client.create_bucket("box")
        for key in ("one", "two"):
            client.put("box", key, body, bring(A))
        sealed = b"".join(path.read_bytes() for path in node.data_dir.glob("segments/*.seg")).count(MAGIC)
    assert sealed == 2


def test_an_x_fs_request_cannot_bring_a_key_to_write_with(node, bucket):
    with node.client("x-fs") as client:
        assert_refused(client.request("PUT", bucket, "key", headers=bring(A), body=b"x"), 403, "AccessDenied")
        answer = client.request("POST", bucket, "key", [("uploads", "")], bring(A))
        assert_refused(answer, 403, "AccessDenied")
