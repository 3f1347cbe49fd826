"""Customers' keys on a node with a master key: two layers, of which an answer names the customer's alone."""

import os
from base64 import b64encode

import pytest

from fasterstore.storage.sealed_record import is_sealed
from tests.customer_keys import TARGET, A, B, bring, bring_source, told
from tests.web.app.multipart_client import PART_BYTES, Upload
from tests.web.app.test_customer_key_uploads import WatchedDisk
from tests.web.app.test_post_object import post, signed

MASTER_KEY = b64encode(bytes(range(32))).decode()
AT_REST = "x-amz-server-side-encryption"


@pytest.fixture
def encrypted(new_store):
    store = new_store(FS_ENCRYPTION_KEY_BASE64=MASTER_KEY)
    store.make_bucket("box")
    return store


def says(answer, key):
    """What an answer says of encryption."""
    found = {name: value for name, value in answer.headers.items() if name.startswith(AT_REST)}
    return found == (told(key) if key is not None else {AT_REST: "AES256"})


@pytest.mark.parametrize("size", [0, 1, 65_000, 65_536, 300_000, (2 << 20) + 7])
def test_a_sealed_body_is_encrypted_once_more_and_comes_back(encrypted, size):
    body = os.urandom(size)
    assert says(encrypted.send("PUT", "/box/k", body, bring(A)), A)
    for method in ("GET", "HEAD"):
        got = encrypted.send(method, "/box/k", headers=bring(A))
        assert (got.status, got.body, got.failure) == (200, body if method == "GET" else b"", None)
        assert says(got, A)
    for first, last in ((0, 0), (size // 2, size // 2 + 70_000)):
        if first < size:
            assert encrypted.send("GET", "/box/k", headers={"range": f"bytes={first}-{last}", **bring(A)}).body == body[first : last + 1]
    blob = encrypted.worker.reader().locate("box", b"k").blob
    assert blob is None or is_sealed(blob.location)
    assert encrypted.send("GET", "/box/k", headers=bring(B)).status == 403


@pytest.mark.parametrize(("source_key", "target_key"), [(None, A), (A, None), (A, B)], ids=["plain-A", "A-plain", "A-B"])
def test_a_copy_says_what_encrypts_it(encrypted, source_key, target_key):
    body = os.urandom(100_000)
    encrypted.send("PUT", "/box/source", body, bring(source_key))
    asked = {} if target_key else {AT_REST: "AES256"}
    headers = {"x-amz-copy-source": "/box/source", **bring_source(source_key), **bring(target_key), **asked}
    assert says(encrypted.send("PUT", "/box/copy", headers=headers), target_key)
    got = encrypted.send("GET", "/box/copy", headers=bring(target_key))
    assert got.body == body and says(got, target_key)


def test_parts_say_it_too_and_a_complete_without_the_key_says_nothing(encrypted):
    bodies = [os.urandom(PART_BYTES), b"end"]
    upload = Upload(encrypted, headers=bring(A))
    assert says(upload.created, A)
    for number, body in enumerate(bodies, 1):
        assert says(upload.put(number, body, bring(A)), A)
    done = upload.complete()
    assert done.status == 200 and not any(name.startswith(AT_REST) for name in done.headers)
    got = encrypted.send("GET", "/box/k", headers=bring(A))
    assert got.body == b"".join(bodies) and says(got, A)


def test_both_encryptions_cannot_be_asked_for_at_once(encrypted):
    answer = encrypted.send("PUT", "/box/k", b"x", {AT_REST: "AES256", **bring(A)})
    assert answer.status == 400 and b"<Code>InvalidArgument</Code>" in answer.body
    assert bring(A)[f"{TARGET}key"].encode() not in answer.body


def test_no_form_waits_on_the_disk_in_plain_where_records_are_encrypted(encrypted):
    disk = encrypted.worker.disk = WatchedDisk()
    marker = os.urandom(64)
    file = marker + bytes(2_000_000)
    assert post(encrypted, signed([("key", "form")]), file=file).status == 204
    assert disk.written and not any(marker in data for data in disk.written)
    assert encrypted.send("GET", "/box/form").body == file
