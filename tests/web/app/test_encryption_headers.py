"""What S3's encryption headers ask for is done or refused, and what answers say of an object is so."""

import os
import re
from base64 import b64encode
from pathlib import Path

import pytest
from defusedxml.ElementTree import fromstring

from tests.web.app.conftest import Store
from tests.web.app.test_post_object import post, signed

MASTER_KEY = b64encode(bytes(range(32))).decode()
NAME = "x-amz-server-side-encryption"
AES256 = {NAME: "AES256"}


def code(answer):
    return re.search(rb"<Code>(\w+)</Code>", answer.body)[1].decode()


def upload_id(answer):
    return re.search(rb"<UploadId>([^<]+)<", answer.body)[1].decode()


def made_of_parts(store, key, parts, headers=None):
    answer = store.send("POST", f"/box/{key}?uploads", headers=headers)
    upload = upload_id(answer)
    listed = ""
    for number, part in enumerate(parts, 1):
        etag = store.send("PUT", f"/box/{key}?partNumber={number}&uploadId={upload}", part).headers["etag"]
        listed += f"<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>"
    document = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>"
    return answer, store.send("POST", f"/box/{key}?uploadId={upload}", document.encode())


@pytest.fixture
def folder(tmp_path: Path):
    """folder(**settings) -> the store in one folder, opened anew."""
    made = []

    def make(**settings):
        if made:
            made[-1].close()
        made.append(Store(tmp_path / "data", settings))
        if len(made) == 1:
            made[0].make_bucket("box")
        return made[-1]

    yield make
    made[-1].close()


@pytest.fixture
def sealing(folder):
    return folder(FS_ENCRYPTION_KEY_BASE64=MASTER_KEY)


def test_every_write_says_that_it_was_encrypted_and_so_does_every_read(sealing):
    for key, body, headers in (("a", b"some", AES256), ("b", b"some more", {}), ("c", b"", AES256), ("d", os.urandom(100_000), AES256)):
        assert sealing.send("PUT", f"/box/{key}", body, headers).headers[NAME] == "AES256"
        for method in ("GET", "HEAD"):
            assert sealing.send(method, f"/box/{key}").headers[NAME] == "AES256"
    begun, completed = made_of_parts(sealing, "p", [os.urandom(5 << 20), b"end"], AES256)
    assert begun.headers[NAME] == completed.headers[NAME] == "AES256"
    assert sealing.send("HEAD", "/box/p").headers[NAME] == "AES256"
    copied = sealing.send("PUT", "/box/e", headers={"x-amz-copy-source": "/box/a", **AES256})
    assert (copied.status, copied.headers[NAME]) == (200, "AES256")
    itself = sealing.send("PUT", "/box/a", headers={"x-amz-copy-source": "/box/a", **AES256})
    assert itself.status == 200
    part = sealing.send("GET", "/box/a", headers={"Range": "bytes=0-1"})
    assert (part.status, part.headers[NAME]) == (206, "AES256")


def test_a_plain_node_refuses_what_it_would_not_do_and_says_nothing(folder):
    store = folder()
    for headers in (AES256, {NAME: "aws:kms"}):
        assert code(store.send("PUT", "/box/a", b"x", headers)) == "NotImplemented"
        assert code(store.send("POST", "/box/a?uploads", headers=headers)) == "NotImplemented"
    assert store.send("GET", "/box/a").status == 404
    assert NAME not in store.send("PUT", "/box/a", b"x").headers
    assert NAME not in store.send("HEAD", "/box/a").headers
    assert NAME not in store.send("PUT", "/box/empty", b"").headers


@pytest.mark.parametrize(
    ("headers", "status", "expected"),
    [
        ({NAME: "aws:kms"}, 501, "NotImplemented"),
        ({NAME: "aws:kms:dsse"}, 501, "NotImplemented"),
        ({NAME: "aws:kms", f"{NAME}-aws-kms-key-id": "a-key"}, 501, "NotImplemented"),
        ({**AES256, f"{NAME}-aws-kms-key-id": "a-key"}, 501, "NotImplemented"),
        ({f"{NAME}-context": "e30="}, 501, "NotImplemented"),
        ({NAME: "aes256"}, 400, "InvalidArgument"),
        ({NAME: "AES512"}, 400, "InvalidArgument"),
        ({NAME: ""}, 400, "InvalidArgument"),
    ],
)
def test_what_is_not_done_is_refused_on_a_node_with_a_key_too(sealing, headers, status, expected):
    for method, target, body, more in (
        ("PUT", "/box/a", b"x", {}),
        ("POST", "/box/a?uploads", b"", {}),
        ("PUT", "/box/a", b"", {"x-amz-copy-source": "/box/source"}),
    ):
        sealing.send("PUT", "/box/source", b"x")
        answer = sealing.send(method, target, body, headers | more)
        assert (answer.status, code(answer)) == (status, expected)
    assert sealing.send("GET", "/box/a").status == 404


def test_an_object_from_before_is_not_called_encrypted(folder):
    store = folder(FS_CACHE_CAPACITY_MB="0")
    store.send("PUT", "/box/old", b"from before")
    made_of_parts(store, "oldparts", [os.urandom(5 << 20), b"end"])
    store = folder(FS_ENCRYPTION_KEY_BASE64=MASTER_KEY)
    for key in ("old", "oldparts"):
        for method in ("GET", "HEAD"):
            assert NAME not in store.send(method, f"/box/{key}").headers
        assert NAME not in store.send("PUT", f"/box/copy-of-{key}", headers={"x-amz-copy-source": f"/box/{key}"}).headers
        refused = store.send("PUT", "/box/copy", headers={"x-amz-copy-source": f"/box/{key}", **AES256})
        assert (refused.status, code(refused)) == (501, "NotImplemented")
    store.send("PUT", "/box/new", b"from now", AES256)
    assert store.send("HEAD", "/box/new").headers[NAME] == "AES256"
    _, completed = made_of_parts(store, "newparts", [os.urandom(5 << 20), b"end"], AES256)
    assert store.send("HEAD", "/box/newparts").headers[NAME] == "AES256"
    # Its parts might have been copied from what was there before.
    assert NAME not in completed.headers
    upload = upload_id(store.send("POST", "/box/mixed?uploads"))
    copied = store.send("PUT", f"/box/mixed?partNumber=1&uploadId={upload}", headers={"x-amz-copy-source": "/box/old"})
    etag = re.search(rb"<ETag>(?:&quot;)?(\w+)", copied.body)[1].decode()
    document = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part></CompleteMultipartUpload>"
    assert store.send("POST", f"/box/mixed?uploadId={upload}", document.encode()).status == 200
    answer = store.send("GET", "/box/mixed")
    assert answer.body == b"from before" and NAME not in answer.headers


def test_an_object_of_many_parts_is_not_looked_through(folder):
    folder().send("PUT", "/box/old", b"in plaintext")
    store = folder(FS_ENCRYPTION_KEY_BASE64=MASTER_KEY)
    store.send("PUT", "/box/log", b"0")
    for number in range(1, 33):
        assert store.send("PUT", "/box/log", b"x", {"x-amz-write-offset-bytes": str(number)}).status == 200
        assert (NAME in store.send("HEAD", "/box/log").headers) is (number < 32)


def configuration(method):
    default = f"<ApplyServerSideEncryptionByDefault>{method}</ApplyServerSideEncryptionByDefault>"
    return f"<ServerSideEncryptionConfiguration><Rule>{default}</Rule></ServerSideEncryptionConfiguration>".encode()


ALGORITHM = "<SSEAlgorithm>{}</SSEAlgorithm>"


def test_the_default_of_a_bucket_is_the_nodes(folder):
    store = folder()
    assert code(store.send("GET", "/box?encryption")) == "ServerSideEncryptionConfigurationNotFoundError"
    assert code(store.send("PUT", "/box?encryption", configuration(ALGORITHM.format("AES256")))) == "NotImplemented"
    store = folder(FS_ENCRYPTION_KEY_BASE64=MASTER_KEY)
    answer = store.send("GET", "/box?encryption")
    found = fromstring(answer.body)
    space = "{http://s3.amazonaws.com/doc/2006-03-01/}"
    path = f"{space}Rule/{space}ApplyServerSideEncryptionByDefault/{space}SSEAlgorithm"
    assert (answer.status, found.tag, found.find(path).text) == (200, f"{space}ServerSideEncryptionConfiguration", "AES256")
    assert store.send("PUT", "/box?encryption", configuration(ALGORITHM.format("AES256"))).status == 200
    assert store.send("DELETE", "/box?encryption").status == 204
    assert store.send("GET", "/box?encryption").status == 200


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (configuration(ALGORITHM.format("aws:kms")), "NotImplemented"),
        (configuration(ALGORITHM.format("rot13")), "InvalidArgument"),
        (configuration(""), "MalformedXML"),
        (b"<ServerSideEncryptionConfiguration></ServerSideEncryptionConfiguration>", "MalformedXML"),
        (b"<ServerSideEncryptionConfiguration><Rule></Rule></ServerSideEncryptionConfiguration>", "MalformedXML"),
        (b"<Something/>", "MalformedXML"),
    ],
)
def test_a_default_that_would_not_be_so_is_refused(sealing, body, expected):
    assert code(sealing.send("PUT", "/box?encryption", body)) == expected


def test_a_form_may_ask_for_it(sealing):
    answer = post(sealing, signed([("key", "formed"), (NAME, "AES256")], [{NAME: "AES256"}]))
    assert (answer.status, answer.headers[NAME]) == (204, "AES256")
    assert sealing.send("GET", "/box/formed").headers[NAME] == "AES256"
