"""Multipart uploads and browser forms under customers' keys."""

import os

import pytest

from fasterstore.customer_key import CHECK_NAME
from fasterstore.digests import checksum_base64
from fasterstore.sealed_body import sealed_bytes
from fasterstore.storage.disk import RealDisk
from tests.customer_keys import TARGET, A, B, bring, bring_source, told
from tests.storage_node import audit
from tests.web.app.multipart_client import PART_BYTES, Upload, code, element, elements
from tests.web.app.test_post_object import post, signed

BODIES = [os.urandom(PART_BYTES), os.urandom(PART_BYTES + 65_537), b"the end"]
WHOLE = b"".join(BODIES)


def tells(answer, key):
    return {name: value for name, value in answer.headers.items() if name.startswith(TARGET)} == told(key)


@pytest.fixture
def uploaded(store):
    """An upload under key A, all its parts sent."""
    upload = Upload(store, headers={"x-amz-meta-m": "n", **bring(A)})
    assert tells(upload.created, A)
    for number, body in enumerate(BODIES, 1):
        answer = upload.put(number, body, bring(A))
        assert answer.status == 200 and tells(answer, A)
    return upload


def test_parts_become_one_object_that_opens_with_the_key(store, uploaded):
    done = uploaded.complete(headers=bring(A))
    assert done.status == 200 and tells(done, A)
    got = store.send("GET", "/box/k", headers=bring(A))
    assert (got.body == WHOLE, got.failure) == (True, None)
    assert (got.headers["etag"], got.headers["content-length"]) == (element(done, "ETag"), str(len(WHOLE)))
    assert got.headers["etag"].endswith('-3"') and got.headers["x-amz-meta-m"] == "n" and CHECK_NAME not in got.headers
    for first, last in ((0, 0), (PART_BYTES - 3, PART_BYTES + 3), (65_530, 65_541), (2 * PART_BYTES + 65_530, len(WHOLE) - 1)):
        span = store.send("GET", "/box/k", headers={"range": f"bytes={first}-{last}", **bring(A)})
        assert (span.status, span.body) == (206, WHOLE[first : last + 1]), (first, last)
    for number, body in enumerate(BODIES, 1):
        part = store.send("GET", f"/box/k?partNumber={number}", headers=bring(A))
        assert (part.status, part.body == body, part.headers["x-amz-mp-parts-count"]) == (206, True, "3")
    assert (store.send("GET", "/box/k").status, store.send("GET", "/box/k", headers=bring(B)).status) == (400, 403)
    assert element(store.send("GET", "/box?list-type=2"), "Size") == str(len(WHOLE))


def test_a_part_needs_the_key_of_its_upload(store, uploaded):
    for key in (None, B):
        assert code(uploaded.put(2, b"other", bring(key))) == (400, "InvalidRequest")
    assert code(uploaded.put(2, b"other", bring(A) | {f"{TARGET}key-MD5": "x"})) == (400, "InvalidArgument")
    plain = Upload(store, "plain")
    assert code(plain.put(1, b"x", bring(A))) == (400, "InvalidRequest")
    assert code(plain.complete(headers=bring(A), body=plain.document([(1, "x")]))) == (400, "InvalidRequest")
    uploaded.complete()
    assert store.send("GET", "/box/k", headers=bring(A)).body == WHOLE


def test_a_part_that_is_sent_again_takes_the_place_of_the_first(store):
    upload = Upload(store, headers=bring(A))
    etags = {upload.put(1, b"the same", bring(A)).headers["etag"] for _ in range(3)}
    assert len(etags) == 3
    upload.complete(headers=bring(A))
    assert store.send("GET", "/box/k", headers=bring(A)).body == b"the same"


def test_a_complete_with_another_key_is_refused(store, uploaded):
    assert code(uploaded.complete(headers=bring(B))) == (400, "InvalidRequest")
    assert store.send("HEAD", "/box/k", headers=bring(A)).status == 404


def test_without_a_checksum_completing_and_listing_need_no_key(store, uploaded):
    for key, status in ((None, 200), (A, 200), (B, 400)):
        listed = store.send("GET", f"/box/k?uploadId={uploaded.id}", headers=bring(key))
        assert listed.status == status
    assert elements(uploaded.listed(), "Size") == [str(len(body)) for body in BODIES]
    done = uploaded.complete()
    assert done.status == 200 and tells(done, None)
    assert uploaded.complete().body == done.body
    assert store.send("GET", "/box/k", headers=bring(A)).body == WHOLE


def test_with_a_checksum_they_need_it_and_tell_that_of_the_plaintext(store):
    upload = Upload(store, headers={"x-amz-checksum-algorithm": "CRC64NVME", **bring(A)})
    for number, body in enumerate(BODIES, 1):
        assert upload.put(number, body, bring(A)).headers["x-amz-checksum-crc64nvme"] == checksum_base64("CRC64NVME", body)
    for key in (None, B):
        assert code(store.send("GET", f"/box/k?uploadId={upload.id}", headers=bring(key))) == (400, "InvalidRequest")
        assert code(upload.complete(headers=bring(key))) == (400, "InvalidRequest")
    listed = store.send("GET", f"/box/k?uploadId={upload.id}", headers=bring(A))
    assert tells(listed, A)
    assert elements(listed, "ChecksumCRC64NVME") == [checksum_base64("CRC64NVME", body) for body in BODIES]
    done = upload.complete(headers=bring(A))
    assert element(done, "ChecksumCRC64NVME") == checksum_base64("CRC64NVME", WHOLE)
    assert upload.complete(headers=bring(A)).body == done.body
    assert code(upload.complete()) == (400, "InvalidRequest")
    attributes = {"x-amz-object-attributes": "Checksum,ObjectParts,ObjectSize"}
    assert store.send("GET", "/box/k?attributes", headers=attributes).status == 400
    told_of = store.send("GET", "/box/k?attributes", headers={**attributes, **bring(A)})
    assert (element(told_of, "ObjectSize"), element(told_of, "PartsCount")) == (str(len(WHOLE)), "3")


def test_an_empty_part_is_a_part(store):
    upload = Upload(store, headers=bring(A))
    upload.put(1, b"", bring(A))
    assert upload.complete(headers=bring(A)).status == 200
    got = store.send("GET", "/box/k", headers=bring(A))
    assert (got.status, got.body) == (200, b"")


def test_bytes_are_appended_to_an_object_of_parts(store, uploaded):
    uploaded.complete(headers=bring(A))
    headers = {"x-amz-write-offset-bytes": str(len(WHOLE)), **bring(A)}
    assert store.send("PUT", "/box/k", b"more", headers).status == 200
    assert store.send("GET", "/box/k", headers=bring(A)).body == WHOLE + b"more"


def test_rows_agree_with_each_other_after_all_that(store, uploaded):
    uploaded.complete()
    number = store.worker.reader().locate("box", b"k").object.manifest
    for part, body in enumerate(BODIES, 1):
        (piece,) = store.worker.index.uploads.part(number, part).slices
        assert (piece.first, piece.length) == (0, len(body))
        assert store.worker.index.uploads.blob(piece.blob).blob.location.plaintext_bytes == sealed_bytes(len(body))
    for size, name in ((0, "empty"), (10, "small"), (300_000, "large")):
        store.send("PUT", f"/box/{name}", os.urandom(size), bring(A))
    store.send("PUT", "/box/small", b"more", {"x-amz-write-offset-bytes": "10", **bring(A)})
    store.send("PUT", "/box/empty", b"more", {"x-amz-write-offset-bytes": "0", **bring(A)})
    store.send("PUT", "/box/copy", headers={"x-amz-copy-source": "/box/large", **bring_source(A)})
    store.send("DELETE", "/box/large")
    audit(store.datadir.index_path)


# ---- forms ----


@pytest.mark.parametrize("size", [0, 3, 65_536, 1 << 20, 3_000_001])
def test_a_form_may_bring_the_key_in_fields(store, size):
    file = os.urandom(size)
    answer = post(store, signed([("key", "form"), *bring(A).items()]), file=file)
    assert answer.status == 204, answer.body
    assert tells(answer, A)
    assert store.send("GET", "/box/form", headers=bring(A)).body == file
    assert store.send("GET", "/box/form").status == 400


def test_a_form_with_half_a_key_is_refused_before_its_file_is_read(store):
    fields = [(name, value) for name, value in bring(A).items() if not name.endswith("MD5")]
    answer = post(store, signed([("key", "form"), *fields]), file=bytes(3_000_000))
    assert code(answer) == (400, "InvalidArgument")
    assert store.send("HEAD", "/box/form").status == 404


def test_a_policy_that_names_the_key_does_not_show_it_when_it_fails(store):
    secret = bring(A)[f"{TARGET}key"]
    answer = post(store, signed([("key", "form"), *bring(B).items()], [["eq", f"${TARGET}key", secret]]))
    assert code(answer) == (403, "AccessDenied")
    assert secret not in answer.body.decode()


class WatchedDisk(RealDisk):
    """Keeps all that is written through it."""

    def __init__(self):
        self.written = []

    def pwrite(self, fd, data, offset):
        self.written.append(bytes(data))
        return super().pwrite(fd, data, offset)


def test_the_file_of_a_form_never_lies_on_the_disk_in_plain(store):
    """A long file waits in a scratch file until its length is known; so do plain ones, whose bytes are seen there."""
    disk = store.worker.disk = WatchedDisk()
    marker = os.urandom(64)
    file = marker + bytes(2_000_000) + marker
    for name, fields, seen in (("sealed", bring(A).items(), False), ("plain", (), True)):
        disk.written.clear()
        assert post(store, signed([("key", name), *fields]), file=file).status == 204
        assert any(marker in data for data in disk.written) == seen
        assert sum(map(len, disk.written)) >= 2 * len(file)
    assert store.send("GET", "/box/sealed", headers=bring(A)).body == file
