"""Copies from and to objects under customers' keys: every pair, written anew, with the key of each side and no other."""

import hashlib
import os

import pytest

from actors.messages import CopyObject, CopyPart
from fasterstore.customer_key import CHECK_NAME
from fasterstore.digests import checksum_base64
from tests.customer_keys import A, B, bring, bring_source, told
from tests.web.app.multipart_client import PART_BYTES, Meddler, Upload, code, element
from tests.web.app.test_customer_key import flip_stored_byte

PAIRS = [
    pytest.param(None, None, id="plain-plain"),
    pytest.param(None, A, id="plain-A"),
    pytest.param(A, None, id="A-plain"),
    pytest.param(A, A, id="A-A"),
    pytest.param(A, B, id="A-B"),
]
SIZES = [0, 10, 300_000, (2 << 20) + 7]


def row(store, key):
    return store.worker.reader().locate("box", key.encode()).object


def copy(store, source_key, target_key, source="/box/source", target="/box/copy", **headers):
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return store.send("PUT", target, headers={"x-amz-copy-source": source, **bring_source(source_key), **bring(target_key), **sent})


def put_source(store, body, key, **headers):
    assert store.send("PUT", "/box/source", body, {"content-type": "a/b", "x-amz-meta-m": "n", **bring(key), **headers}).status == 200


@pytest.mark.parametrize(("source_key", "target_key"), PAIRS)
@pytest.mark.parametrize("size", SIZES)
def test_a_copy_opens_with_the_key_of_its_own_side(store, size, source_key, target_key):
    body = os.urandom(size)
    put_source(store, body, source_key)
    copied = copy(store, source_key, target_key)
    assert copied.status == 200, copied.body
    got = store.send("GET", "/box/copy", headers=bring(target_key))
    assert (got.status, got.body, got.failure) == (200, body, None)
    assert got.headers["etag"] == element(copied, "ETag")
    assert (got.headers["etag"] == f'"{hashlib.md5(body).hexdigest()}"') == (target_key is None)
    assert (got.headers["content-type"], got.headers["x-amz-meta-m"]) == ("a/b", "n")
    for answer in (copied, got):
        assert {name: value for name, value in answer.headers.items() if "customer" in name} == told(target_key)
    for wrong in {None, A, B} - {target_key}:
        assert store.send("GET", "/box/copy", headers=bring(wrong)).status >= 400
    assert (CHECK_NAME in row(store, "copy").system) == (target_key is not None)
    # Shared bytes are for plain copies alone.
    assert (row(store, "copy").blob == row(store, "source").blob) == (size == 0 or (source_key, target_key) == (None, None))
    store.send("DELETE", "/box/source")
    assert store.send("GET", "/box/copy", headers=bring(target_key)).body == body


@pytest.mark.parametrize(
    ("stored", "source_key", "refusal"),
    [
        (A, None, (400, "InvalidRequest")),
        (A, B, (403, "AccessDenied")),
        (None, A, (400, "InvalidRequest")),
    ],
    ids=["none", "another", "for-a-plain-one"],
)
def test_a_source_opens_with_its_key_alone(store, stored, source_key, refusal):
    put_source(store, b"body", stored)
    for target_key in (None, A):
        assert code(copy(store, source_key, target_key)) == refusal
        upload = Upload(store, "multi", bring(target_key))
        assert code(upload.copy(1, "/box/source", headers={**bring_source(source_key), **bring(target_key)})) == refusal
    assert store.send("HEAD", "/box/copy", headers=bring(A)).status == 404
    bad = bring_source(A) | {"x-amz-copy-source-server-side-encryption-customer-key-MD5": "AAAA"}
    store.send("PUT", "/box/source", b"body", bring(A))
    assert code(store.send("PUT", "/box/copy", headers={"x-amz-copy-source": "/box/source", **bad})) == (400, "InvalidArgument")


def test_an_object_changes_its_key_by_a_copy_onto_itself(store):
    body = os.urandom(400_000)
    put_source(store, body, None, **{"x-amz-tagging": "t=1"})
    for old, new in ((None, A), (A, B), (B, B), (B, None)):
        assert copy(store, old, new, target="/box/source").status == 200, (old, new)
        got = store.send("GET", "/box/source", headers=bring(new))
        assert (got.body, got.headers["x-amz-meta-m"], got.headers["x-amz-tagging-count"]) == (body, "n", "1")
    assert code(copy(store, None, None, target="/box/source")) == (400, "InvalidRequest")


def test_replaced_metadata_brings_no_old_key_along(store):
    put_source(store, b"body", A)
    for target_key in (None, B):
        assert copy(store, A, target_key, x_amz_metadata_directive="REPLACE", x_amz_meta_new="v").status == 200
        got = store.send("GET", "/box/copy", headers=bring(target_key))
        assert (got.body, got.headers["x-amz-meta-new"], "x-amz-meta-m" in got.headers) == (b"body", "v", False)


@pytest.mark.parametrize(("source_key", "target_key"), PAIRS)
def test_checksums_of_a_copy_are_those_of_the_plaintext(store, source_key, target_key):
    body = os.urandom(300_000)
    put_source(store, body, source_key, **{"x-amz-checksum-crc32": checksum_base64("CRC32", body)})
    assert element(copy(store, source_key, target_key), "ChecksumCRC32") == checksum_base64("CRC32", body)
    again = copy(store, source_key, target_key, x_amz_checksum_algorithm="SHA256")
    assert element(again, "ChecksumSHA256") == checksum_base64("SHA256", body)
    head = store.send("HEAD", "/box/copy", headers={"x-amz-checksum-mode": "ENABLED", **bring(target_key)})
    assert head.headers["x-amz-checksum-sha256"] == checksum_base64("SHA256", body)


def test_conditions_of_both_sides_are_kept(store):
    put_source(store, b"body", A)
    assert code(copy(store, A, B, x_amz_copy_source_if_match='"other"')) == (412, "PreconditionFailed")
    assert copy(store, A, B, if_none_match="*").status == 200
    assert code(copy(store, A, B, if_none_match="*")) == (412, "PreconditionFailed")


def test_a_copy_of_parts_is_one_object(store):
    bodies = [os.urandom(PART_BYTES), os.urandom(1000)]
    upload = Upload(store, "source", {"x-amz-checksum-algorithm": "SHA256", **bring(A)})
    for number, body in enumerate(bodies, 1):
        assert upload.put(number, body, {"x-amz-checksum-sha256": checksum_base64("SHA256", body), **bring(A)}).status == 200
    assert upload.complete(headers=bring(A)).status == 200
    whole = b"".join(bodies)
    for target_key in (None, A, B):
        copied = copy(store, A, target_key)
        assert element(copied, "ChecksumSHA256") == checksum_base64("SHA256", whole)
        got = store.send("GET", "/box/copy", headers={"range": f"bytes={PART_BYTES - 5}-", **bring(target_key)})
        assert got.body == whole[PART_BYTES - 5 :]


@pytest.mark.parametrize(("source_key", "target_key"), PAIRS)
def test_ranges_become_parts(store, source_key, target_key):
    body = os.urandom(PART_BYTES + 200_000)
    put_source(store, body, source_key)
    upload = Upload(store, "multi", bring(target_key))
    both = {**bring_source(source_key), **bring(target_key)}
    for number, span in ((1, (7, PART_BYTES + 70_006)), (2, (0, 65_536))):
        copied = upload.copy(number, "/box/source", span, both)
        assert copied.status == 200, copied.body
        assert {name: value for name, value in copied.headers.items() if "customer" in name} == told(target_key)
    assert upload.complete(headers=bring(target_key)).status == 200
    store.send("DELETE", "/box/source")
    wanted = body[7 : PART_BYTES + 70_007] + body[:65_537]
    got = store.send("GET", "/box/multi", headers=bring(target_key))
    assert (got.body == wanted, got.failure) == (True, None)
    part = store.send("GET", "/box/multi?partNumber=2", headers=bring(target_key))
    assert (part.status, part.body) == (206, body[:65_537])


def test_a_source_that_becomes_sealed_meanwhile_is_looked_at_again(store):
    put_source(store, b"plain", None)
    Meddler(store, CopyObject, lambda: put_source(store, b"sealed", A))
    assert code(copy(store, None, None)) == (400, "InvalidRequest")
    put_source(store, b"plain", None)
    upload = Upload(store, "multi")
    Meddler(store, CopyPart, lambda: put_source(store, b"sealed", A))
    assert code(upload.copy(1, "/box/source")) == (400, "InvalidRequest")


def test_a_copy_of_a_damaged_sealed_object_is_refused_and_makes_nothing(store):
    for size in (1000, 400_000, (2 << 20) + 3):
        put_source(store, os.urandom(size), A)
        flip_stored_byte(store, size - 1, "source")
        for target_key in (None, A):
            assert code(copy(store, A, target_key)) == (500, "InternalError")
            upload = Upload(store, "multi", bring(target_key))
            refused = upload.copy(1, "/box/source", headers={**bring_source(A), **bring(target_key)})
            assert code(refused) == (500, "InternalError")
    assert store.send("HEAD", "/box/copy", headers=bring(A)).status == 404
    assert store.worker.streamed_uploads == 0
