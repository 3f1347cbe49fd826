"""Objects under customers' keys in the application: every size and range, which requests need the key, and where it must not get to."""

import hashlib
import logging
import os
from base64 import b64encode
from pathlib import Path

import pytest

from fasterstore.customer_key import CHECK_NAME
from fasterstore.digests import checksum_base64
from fasterstore.model import NO_BLOB
from fasterstore.s3.chunked_encoder import encode_chunked
from fasterstore.sealed_body import sealed_bytes
from fasterstore.storage.record import HEADER_BYTES as RECORD_HEADER_BYTES
from fasterstore.storage.segment import segment_name
from tests.customer_keys import TARGET, A, B, bring, told
from tests.web.app.multipart_client import code, element, until

CHUNK = 64 * 1024
SIZES = [0, 1, 4096, CHUNK - 48, CHUNK - 47, CHUNK, CHUNK + 1, 300 * 1024, (1 << 20) - 1, (3 << 20) + 5]


def row(store, key="k", bucket="box"):
    return store.worker.reader().locate(bucket, key.encode()).object


def put(store, body, key=A, name="k", **headers):
    answer = store.send("PUT", f"/box/{name}", body, {**bring(key), **headers})
    assert answer.status == 200, answer.body
    return answer


def get(store, key=A, name="k", query="", method="GET", **headers):
    sent = {header.replace("_", "-"): value for header, value in headers.items()}
    return store.send(method, f"/box/{name}{query}", headers={**bring(key), **sent})


def flip_stored_byte(store, at, name="k"):
    """Change one byte of the stored body."""
    place = store.worker.reader().locate("box", name.encode()).blob.location
    with (Path(store.datadir.segments_dir) / segment_name(place.segment_id)).open("r+b") as file:
        file.seek(place.offset + RECORD_HEADER_BYTES + at)
        byte = file.read(1)[0]
        file.seek(place.offset + RECORD_HEADER_BYTES + at)
        file.write(bytes([byte ^ 1]))


def tells(answer, key=A):
    return {name: value for name, value in answer.headers.items() if name.startswith(TARGET)} == told(key)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stock", [False, True])
def test_bytes_of_every_size_come_back(store, size, stock):
    body = os.urandom(size)
    answer = store.send("PUT", "/box/k", body, bring(A), stock=stock)
    assert answer.status == 200
    got = store.send("GET", "/box/k", headers=bring(A), stock=stock)
    assert (got.status, got.body, got.failure) == (200, body, None)
    assert got.headers["content-length"] == str(size)
    assert got.headers["etag"] == answer.headers["etag"] != f'"{hashlib.md5(body).hexdigest()}"'
    assert tells(answer) and tells(got)
    head = get(store, method="HEAD")
    assert (head.status, head.headers["content-length"], head.headers["etag"]) == (200, str(size), answer.headers["etag"])
    assert tells(head)
    found = store.worker.reader().locate("box", b"k")
    assert found.object.size_bytes == size
    assert (found.object.blob == NO_BLOB) if not size else (found.blob.location.plaintext_bytes == sealed_bytes(size))


@pytest.mark.parametrize("size", [70_000, 300 * 1024, (3 << 20) + 5])
def test_ranges_open_their_chunks_alone(store, size):
    body = os.urandom(size)
    put(store, body)
    edges = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 4 * CHUNK - 3, 4 * CHUNK, 16 * CHUNK - 1, 16 * CHUNK + 5, size - 1]
    for first in (edge for edge in edges if edge < size):
        for last in (edge for edge in edges if first <= edge < size):
            got = get(store, range=f"bytes={first}-{last}")
            assert (got.status, got.failure) == (206, None)
            assert got.body == body[first : last + 1], (first, last)
            assert got.headers["content-range"] == f"bytes {first}-{last}/{size}"
    assert get(store, range="bytes=-7").body == body[-7:]
    assert code(get(store, range=f"bytes={size}-")) == (416, "InvalidRange")
    assert get(store, query="?partNumber=1").body == body
    assert code(get(store, query="?partNumber=2")) == (400, "InvalidPart")


def test_reading_needs_the_key_and_no_other(store):
    put(store, b"secret body")
    for method, query in (("GET", ""), ("HEAD", ""), ("GET", "?partNumber=1"), ("GET", "?attributes")):
        sent = {"x-amz-object-attributes": "ETag,ObjectSize"}
        for key, status, name in ((None, 400, "InvalidRequest"), (B, 403, "AccessDenied"), (A, 200, None)):
            answer = store.send(method, f"/box/k{query}", headers={**sent, **bring(key)})
            assert answer.status == (206 if query == "?partNumber=1" and key == A else status), (method, query, key)
            if method == "GET":
                assert element(answer, "Code") == name if status != 200 else b"Code" not in answer.body
            assert b"secret body" not in answer.body or key == A
            assert status == 200 or "etag" not in answer.headers
    half = {name: value for name, value in bring(A).items() if not name.endswith("MD5")}
    assert code(store.send("GET", "/box/k", headers=half)) == (400, "InvalidArgument")


def test_the_empty_object_needs_its_key_too(store):
    put(store, b"")
    assert (get(store, None).status, get(store, B).status, get(store).status) == (400, 403, 200)


def test_a_key_is_refused_for_an_object_without_one(store):
    store.send("PUT", "/box/k", b"plain")
    for method, query in (("GET", ""), ("GET", "?attributes")):
        answer = store.send(method, f"/box/k{query}", headers={"x-amz-object-attributes": "ETag", **bring(A)})
        assert code(answer) == (400, "InvalidRequest")
    assert get(store, method="HEAD").status == 400


def test_conditions_are_judged_for_the_keys_owner_alone(store):
    etag = put(store, b"body").headers["etag"]
    not_modified = get(store, if_none_match=etag)
    assert not_modified.status == 304 and tells(not_modified)
    assert get(store, None, if_none_match=etag).status == 400
    assert get(store, B, if_none_match=etag).status == 403
    assert code(get(store, if_match='"other"')) == (412, "PreconditionFailed")


def test_overwriting_takes_the_new_key_and_a_plain_put_none(store):
    put(store, b"one", A)
    put(store, b"two", B)
    assert (get(store, A).status, get(store, B).body) == (403, b"two")
    store.send("PUT", "/box/k", b"three")
    assert store.send("GET", "/box/k").body == b"three"
    assert CHECK_NAME not in row(store).system


def test_deleting_tagging_listing_and_renaming_need_no_key(store):
    body = os.urandom(100_000)
    etag = put(store, body).headers["etag"]
    tagging = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
    assert store.send("PUT", "/box/k?tagging", tagging).status == 200
    assert b"<Key>a</Key>" in store.send("GET", "/box/k?tagging").body
    listed = store.send("GET", "/box?list-type=2")
    assert (element(listed, "Size"), element(listed, "ETag")) == ("100000", etag)
    assert store.send("PUT", "/box/new?renameObject", headers={"x-amz-rename-source": "k"}).status == 200
    assert get(store, name="new").body == body
    assert (get(store, None, "new").status, get(store, B, "new").status) == (400, 403)
    assert store.send("DELETE", "/box/new").status == 204
    assert get(store, name="new").status == 404


@pytest.mark.parametrize("size", [1000, 300_000, 2 << 20])
def test_what_the_client_says_of_its_bytes_is_verified_and_told(store, size):
    body = os.urandom(size)
    right = {"content-md5": b64encode(hashlib.md5(body).digest()).decode(), "x-amz-checksum-crc32c": checksum_base64("CRC32C", body)}
    answer = put(store, body, **right)
    assert answer.headers["x-amz-checksum-crc32c"] == right["x-amz-checksum-crc32c"]
    got = get(store, x_amz_checksum_mode="ENABLED")
    assert (got.headers["x-amz-checksum-crc32c"], got.headers["x-amz-checksum-type"]) == (right["x-amz-checksum-crc32c"], "FULL_OBJECT")
    for wrong in ({"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, {"x-amz-checksum-crc32": "AAAAAA=="}):
        assert code(store.send("PUT", "/box/wrong", body, {**bring(A), **wrong})) == (400, "BadDigest")
    signed = hashlib.sha256(body).hexdigest()
    assert store.send("PUT", "/box/signed", body, bring(A), payload=signed).status == 200
    assert code(store.send("PUT", "/box/wrong", body[:-1] + b"?", bring(A), payload=signed)) == (400, "XAmzContentSHA256Mismatch")
    assert store.send("HEAD", "/box/wrong", headers=bring(A)).status == 404
    assert store.worker.streamed_uploads == 0


@pytest.mark.parametrize("size", [0, 1000, 300_000, (2 << 20) + 1])
def test_a_framed_body_with_a_trailer_is_sealed(store, size):
    body = os.urandom(size)
    trailer = checksum_base64("CRC64NVME", body)
    for value, status in ((trailer, 200), (checksum_base64("CRC64NVME", body + b"x"), 400)):
        sent = b"".join(encode_chunked([body], "STREAMING-UNSIGNED-PAYLOAD-TRAILER", trailers={"x-amz-checksum-crc64nvme": value}))
        headers = bring(A) | {"x-amz-decoded-content-length": str(size), "x-amz-trailer": "x-amz-checksum-crc64nvme"}
        answer = store.send("PUT", f"/box/{status}", sent, headers, payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER")
        assert answer.status == status, answer.body
    got = get(store, name="200", x_amz_checksum_mode="ENABLED")
    assert (got.body, got.headers["x-amz-checksum-crc64nvme"]) == (body, trailer)
    assert get(store, name="400").status == 404


@pytest.mark.parametrize("size", [1000, 300_000, 2 << 20])
def test_a_body_that_ends_early_leaves_nothing(store, size):
    answer = store.send("PUT", "/box/k", os.urandom(size), bring(A) | {"content-length": str(size + 1)})
    assert code(answer) == (400, "IncompleteBody")
    assert get(store).status == 404


def test_bytes_that_come_in_are_counted_once(store):
    before = store.worker.metrics.bytes_in
    put(store, bytes(300_000))
    assert store.worker.metrics.bytes_in - before == 300_000


@pytest.mark.parametrize("size", [5000, 300_000, 2 << 20])
def test_the_same_bytes_are_stored_each_time(store, size):
    body = os.urandom(size)
    etags = {put(store, body, name=f"k{number}").headers["etag"] for number in range(3)}
    store.send("PUT", "/box/plain", body)
    blobs = {row(store, name).blob for name in ("k0", "k1", "k2", "plain")}
    assert (len(etags), len(blobs)) == (3, 4)
    assert [store.worker.index.uploads.blob(blob).blob.refs for blob in blobs] == [1, 1, 1, 1]


@pytest.mark.parametrize("size", [100, 5000, 100_000, 300_000])
def test_no_sealed_object_is_kept_in_the_cache(store, size):
    body = os.urandom(size)
    put(store, body)
    for _ in range(3):
        assert get(store).body == body
        get(store, range="bytes=3-50")
    store.send("PUT", "/box/plain", body)
    store.send("GET", "/box/plain")
    # As any other object is; and what was offered before that has been taken by then.
    until(lambda: store.worker.cache.get(row(store, "plain").blob) == body)
    assert store.worker.cache.get(row(store).blob) is None


@pytest.mark.parametrize("verify", ["true", "strict", "false"])
@pytest.mark.parametrize("size", [1000, 300_000, (2 << 20) + 5])
def test_a_flipped_bit_never_becomes_a_byte(new_store, size, verify):
    store = new_store(FS_VERIFY_READS=verify)
    store.make_bucket("box")
    body = os.urandom(size)
    length = sealed_bytes(size)
    for at in (0, 9, 31, 32, 40, length // 2, length - 1):
        put(store, body)
        flip_stored_byte(store, at)
        for headers in ({}, {"range": f"bytes={size // 3}-{size - 1}"}):
            first = size // 3 if headers else 0
            got = get(store, **headers)
            if got.status < 300:
                assert body[first:].startswith(got.body), (at, headers)
                # A range need not come near the damage.
                assert got.failure is not None or (headers and got.body == body[first:]), (at, headers)
            else:
                assert got.status == 500
        assert body not in store.send("GET", "/box/k").body


# ---- appends ----


def append(store, body, at, key, name="k"):
    return store.send("PUT", f"/box/{name}", body, {"x-amz-write-offset-bytes": str(at), **bring(key)})


def test_appends_are_sealed_under_the_objects_key(store):
    pieces = [os.urandom(size) for size in (10, 100_000, 1, 2 << 20)]
    whole = b""
    for piece in pieces:
        answer = append(store, piece, len(whole), A)
        assert answer.status == 200 and tells(answer)
        whole += piece
    assert get(store).body == whole
    assert get(store, range="bytes=5-100020").body == whole[5:100021]
    assert (get(store, None).status, get(store, B).status) == (400, 403)
    assert append(store, b"", len(whole), A).status == 200
    assert get(store).body == whole


def test_an_append_with_another_key_or_none_is_refused(store):
    append(store, b"start", 0, A)
    assert code(append(store, b"more", 5, None)) == (400, "InvalidRequest")
    assert code(append(store, b"more", 5, B)) == (403, "AccessDenied")
    store.send("PUT", "/box/plain", b"start")
    assert code(append(store, b"more", 5, A, "plain")) == (400, "InvalidRequest")
    assert get(store).body == store.send("GET", "/box/plain").body == b"start"


# ---- where the key must not get to ----


def test_the_key_gets_neither_into_logs_nor_errors_nor_rows(store, caplog):
    caplog.set_level(logging.DEBUG)
    store.worker.access_log = True
    secret = bring(A)[f"{TARGET}key"]
    answers = [put(store, b"x"), get(store), get(store, B), get(store, None), append(store, b"y", 1, A)]
    answers += [store.send("GET", "/box/k", headers=bring(A), credentials=store.credentials._replace(secret_key="wrong"))]
    answers += [store.send("PUT", "/box/k", b"x", bring(A) | change) for change in ({f"{TARGET}key-MD5": "x"}, {f"{TARGET}algorithm": "y"})]
    answers += [store.send("PUT", "/box/k", b"x", bring(A), sign="xfs")]
    assert [answer.status for answer in answers] == [200, 200, 403, 400, 200, 403, 400, 400, 403]
    told_of = f"{answers} {caplog.text} {[record.__dict__ for record in caplog.records]} {row(store)}"
    assert secret not in told_of
    assert secret.encode().hex(" ") not in told_of
    assert repr(A) not in told_of and A.hex() not in told_of
    assert "(not shown)" in answers[5].body.decode()
    assert element(answers[5], "Code") == "SignatureDoesNotMatch"


def test_the_check_is_no_header_of_an_answer_and_no_client_sets_one(store):
    put(store, b"x", **{CHECK_NAME: "mine", f"x-amz-meta-{CHECK_NAME}": "yours"})
    got = get(store)
    assert CHECK_NAME not in got.headers and got.headers[f"x-amz-meta-{CHECK_NAME}"] == "yours"
    assert row(store).system[CHECK_NAME] not in str(got.headers)
    store.send("PUT", "/box/plain", b"x", {CHECK_NAME: "mine"})
    assert CHECK_NAME not in row(store, "plain").system


@pytest.mark.parametrize(("peer", "forwarded", "warns"), [("127.0.0.1", None, 0), ("10.0.0.9", None, 1), ("127.0.0.1", "10.0.0.9", 1)])
def test_keys_over_plain_http_from_elsewhere_are_taken_and_told_once(store, caplog, peer, forwarded, warns):
    headers = bring(A) | ({"x-forwarded-for": forwarded} if forwarded else {})
    for _ in range(3):
        assert store.send("PUT", "/box/k", b"x", headers, peer=peer).status == 200
    assert sum("plain HTTP" in record.getMessage() for record in caplog.records) == warns


def test_two_ways_of_encryption_at_once_are_refused(store):
    answer = store.send("PUT", "/box/k", b"x", bring(A) | {"x-amz-server-side-encryption": "AES256"})
    assert code(answer) == (400, "InvalidArgument")
