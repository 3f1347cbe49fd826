"""GetObjectAttributes against the real engine."""

import json
import os

from fasterstore.digests import checksum_base64
from tests.web.app.multipart_client import PART_BYTES, Upload, code, element, elements, until

ALL = "ETag,Checksum,ObjectParts,StorageClass,ObjectSize"


def attributes(store, names=ALL, key="k", **headers):
    sent = {"x-amz-object-attributes": names} | {f"x-amz-{name.replace('_', '-')}": value for name, value in headers.items()}
    return store.send("GET", f"/box/{key}?attributes", headers=sent)


def test_a_plain_object_has_no_parts(store):
    checksum = checksum_base64("SHA256", b"body")
    etag = store.send("PUT", "/box/k", b"body", {"x-amz-checksum-sha256": checksum}).headers["etag"]
    found = attributes(store)
    assert (found.status, element(found, "ETag")) == (200, etag.strip('"'))
    told = [element(found, name) for name in ("ObjectSize", "StorageClass", "ChecksumSHA256", "ChecksumType")]
    assert told == ["4", "STANDARD", checksum, "FULL_OBJECT"]
    assert b"ObjectParts" not in found.body
    assert found.headers["last-modified"] == store.send("HEAD", "/box/k").headers["last-modified"]
    assert [element(attributes(store, "ObjectSize"), name) for name in ("ObjectSize", "ETag")] == ["4", None]


def test_parts_come_page_by_page_with_their_checksums(store):
    upload = Upload(store, headers={"x-amz-checksum-algorithm": "CRC32", "x-amz-storage-class": "GLACIER"})
    bodies = {1: os.urandom(PART_BYTES), 3: os.urandom(PART_BYTES), 7: b"end"}
    for number, body in {**bodies, 2: b"left out"}.items():
        upload.put(number, body, {"x-amz-checksum-crc32": checksum_base64("CRC32", body)})
    done = upload.complete([(number, upload.etags[number]) for number in bodies])
    whole = attributes(store)
    assert elements(whole, "PartNumber") == ["1", "3", "7"]
    assert elements(whole, "Size") == [str(len(body)) for body in bodies.values()]
    assert elements(whole, "ChecksumCRC32") == [element(done, "ChecksumCRC32")] + [
        checksum_base64("CRC32", body) for body in bodies.values()
    ]
    told = [element(whole, name) for name in ("PartsCount", "IsTruncated", "MaxParts", "StorageClass", "ChecksumType")]
    assert told == ["3", "false", "1000", "GLACIER", "COMPOSITE"]
    page = attributes(store, max_parts="1", part_number_marker="1")
    assert elements(page, "PartNumber") == ["3"]
    told = [element(page, name) for name in ("PartsCount", "PartNumberMarker", "NextPartNumberMarker", "MaxParts", "IsTruncated")]
    assert told == ["3", "1", "3", "1", "true"]
    last = attributes(store, max_parts="10", part_number_marker="3")
    assert (elements(last, "PartNumber"), element(last, "IsTruncated")) == (["7"], "false")
    none = attributes(store, max_parts="0")
    assert (elements(none, "PartNumber"), element(none, "IsTruncated")) == ([], "false")


def test_what_is_asked_for_must_be_known(store):
    store.send("PUT", "/box/k", b"body")
    for names in ("", "Etag", "ETag,Everything"):
        assert code(attributes(store, names)) == (400, "InvalidArgument")
    assert code(attributes(store, max_parts="-1")) == (400, "InvalidArgument")
    assert code(attributes(store, part_number_marker="x")) == (400, "InvalidArgument")
    assert code(attributes(store, key="missing")) == (404, "NoSuchKey")
    missing_version = store.send("GET", f"/box/k?attributes&versionId={'v' * 32}", headers={"x-amz-object-attributes": "ETag"})
    assert code(missing_version) == (404, "NoSuchVersion")


class Overtaken:
    """The index as a worker reads it, and something that happens before the manifest is looked at for the first time."""

    def __init__(self, index, happens):
        self._index, self._happens = index, happens

    @property
    def uploads(self):
        happens, self._happens = self._happens, lambda: None
        happens()
        return self._index.uploads

    def __getattr__(self, name):
        return getattr(self._index, name)


def test_what_took_the_place_of_an_object_meanwhile_is_judged_by_its_own_tags(new_store):
    store = new_store(FS_READ_GRACE_SECS="0")
    store.make_bucket("box")
    condition = {"StringEquals": {"s3:ExistingObjectTag/shown": "yes"}}
    allow = {"Effect": "Allow", "Principal": "*", "Resource": "arn:aws:s3:::box/*"}
    statements = [{**allow, "Action": "s3:GetObjectAttributes"}, {**allow, "Action": "s3:GetObject", "Condition": condition}]
    policy = {"Version": "2012-10-17", "Statement": statements}
    assert store.send("PUT", "/box?policy", json.dumps(policy).encode()).status == 204
    index = store.worker.index

    def replace_by(tags):
        manifest = index.locate("box", b"k").object.manifest
        assert store.send("PUT", "/box/k", b"another", {"x-amz-tagging": tags}).status == 200
        until(lambda: index.uploads.part_map(manifest) is None)

    for tags, expected in (("shown=no", (403, "AccessDenied")), ("shown=yes", (200, None))):
        upload = Upload(store, headers={"x-amz-tagging": "shown=yes"})
        upload.put(1, b"body")
        upload.complete()
        store.worker.index = Overtaken(index, lambda tags=tags: replace_by(tags))
        answer = store.send("GET", "/box/k?attributes", headers={"x-amz-object-attributes": ALL}, sign="none")
        store.worker.index = index
        assert code(answer) == expected
        assert element(answer, "ObjectSize") == (None if expected[1] else "7")
