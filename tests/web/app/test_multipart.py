"""Multipart uploads against the real engine: create, parts, complete, abort, expiry."""

import hashlib
import os
from pathlib import Path

import pytest

from actors.messages import AbortUpload, CompleteUpload
from actors.runtime import spawn
from fasterstore.metadata.multipart import complete
from tests.web.app.multipart_client import PART_BYTES, Meddler, Upload, code, element, elements, until

FIRST, LAST = os.urandom(PART_BYTES), b"the end"


def md5(body):
    return hashlib.md5(body).hexdigest()


def composed(*bodies):
    return f'"{hashlib.md5(b"".join(hashlib.md5(body).digest() for body in bodies)).hexdigest()}-{len(bodies)}"'


# ---- the way of an upload ----


@pytest.mark.parametrize("sign", ["v4", "xfs"])
def test_parts_in_any_order_become_one_object(store, sign):
    upload = Upload(store, sign=sign)
    assert upload.created.status == 200
    assert upload.put(7, LAST).headers["etag"] == f'"{md5(LAST)}"'
    upload.put(2, FIRST)
    assert store.send("GET", "/box/k").status == 404
    done = upload.complete()
    assert (done.status, element(done, "ETag")) == (200, composed(FIRST, LAST))
    assert (element(done, "Location"), element(done, "Bucket"), element(done, "Key")) == ("http://localhost/box/k", "box", "k")
    got = store.send("GET", "/box/k", sign=sign)
    assert (got.status, got.headers["etag"], got.body) == (200, composed(FIRST, LAST), FIRST + LAST)
    assert code(upload.listed()) == (404, "NoSuchUpload")


def test_what_create_was_told_is_the_objects(store):
    headers = {
        "content-type": "text/x-test", "cache-control": "no-cache", "x-amz-meta-color": "green", "x-amz-storage-class": "STANDARD_IA",
        "x-amz-tagging": "a=b&c=d", "x-amz-website-redirect-location": "/elsewhere",
    }  # fmt: skip
    upload = Upload(store, headers=headers)
    upload.put(1, LAST)
    assert upload.complete().status == 200
    found = store.send("HEAD", "/box/k").headers
    for name in ("content-type", "cache-control", "x-amz-meta-color", "x-amz-storage-class", "x-amz-website-redirect-location"):
        assert found[name] == headers[name]
    assert elements(store.send("GET", "/box/k?tagging"), "Value") == ["b", "d"]


def test_a_part_that_is_sent_again_takes_the_place_of_the_first(store):
    upload = Upload(store)
    upload.put(1, b"first try")
    first_etag = upload.etags[1]
    upload.put(1, b"second")
    assert elements(upload.listed(), "Size") == ["6"]
    assert code(upload.complete([(1, first_etag)])) == (400, "InvalidPart")
    assert upload.complete().status == 200
    assert store.send("GET", "/box/k").body == b"second"


def test_parts_that_the_list_leaves_out_are_no_part_of_the_object(store):
    upload = Upload(store)
    for number, body in ((1, FIRST), (2, b"left out"), (3, LAST), (4, b"left out too")):
        upload.put(number, body)
    assert upload.complete([(1, upload.etags[1]), (3, upload.etags[3])]).status == 200
    assert store.send("GET", "/box/k").body == FIRST + LAST


def test_an_upload_of_one_empty_part_is_an_empty_object(store):
    upload = Upload(store)
    upload.put(1, b"")
    assert upload.complete().status == 200
    got = store.send("GET", "/box/k")
    assert (got.status, got.body, got.headers["content-length"], got.headers["etag"]) == (200, b"", "0", composed(b""))


def test_completing_writes_no_byte_of_the_parts(store):
    upload = Upload(store)
    upload.put(1, FIRST)
    upload.put(2, LAST)
    before = [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in segments(store)]
    assert upload.complete().status == 200
    assert [(path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in segments(store)] == before


def segments(store):
    return sorted(Path(store.datadir.segments_dir).iterdir())


def test_an_object_is_replaced_only_when_its_upload_is_complete(store):
    store.send("PUT", "/box/k", b"old")
    upload = Upload(store)
    upload.put(1, b"new")
    assert store.send("GET", "/box/k").body == b"old"
    upload.complete()
    assert store.send("GET", "/box/k").body == b"new"
    again = Upload(store)
    again.put(1, b"newer")
    again.complete()
    assert store.send("GET", "/box/k").body == b"newer"
    assert store.send("DELETE", "/box/k").status == 204
    assert store.send("DELETE", "/box").status == 204


# ---- which upload, which part ----


def test_an_upload_id_is_good_only_for_its_own_key_and_while_it_is_open(store):
    store.make_bucket("other")
    upload = Upload(store)
    upload.put(1, LAST)
    aborted = Upload(store)
    assert aborted.abort()[::2] == (204, b"")
    wrong = upload.id[:-1] + ("0" if upload.id[-1] != "0" else "1")
    missing = f"{int(upload.id[:16], 16) + 1000:016x}{upload.id[16:]}"
    for path, name in (
        ("/box/k", wrong),
        ("/box/k", missing),
        ("/box/k", aborted.id),
        ("/box/k", "56788"),
        ("/box/k", ""),
        ("/box/k", "f" * 48),
        ("/box/k2", upload.id),
        ("/other/k", upload.id),
    ):
        document = upload.document([(1, upload.etags[1])])
        for method, query, body, headers in (
            ("PUT", "&partNumber=1", b"x", {}),
            ("PUT", "&partNumber=1", b"", {"x-amz-copy-source": "/box/k"}),
            ("GET", "", b"", {}),
            ("POST", "", document, {}),
            ("DELETE", "", b"", {}),
        ):
            answer = store.send(method, f"{path}?uploadId={name}{query}", body, headers)
            assert code(answer) == (404, "NoSuchUpload"), (path, name, method)
    assert code(store.send("GET", f"/nothing/k?uploadId={upload.id}")) == (404, "NoSuchBucket")
    assert code(store.send("POST", "/nothing/k?uploads")) == (404, "NoSuchBucket")
    assert upload.complete().status == 200


@pytest.mark.parametrize("number", ["0", "10001", "-1", "x", "", "99999999999999999999", "1.0"])
def test_a_part_number_is_from_1_to_10000(store, number):
    upload = Upload(store)
    answer = store.send("PUT", f"/box/k?uploadId={upload.id}&partNumber={number}", b"x")
    assert code(answer) == (400, "InvalidArgument")
    assert element(answer, "Message") == "Part number must be an integer between 1 and 10000, inclusive"
    assert upload.put(10000, b"x").status == 200


def test_a_part_is_no_larger_than_a_request_may_be(new_store):
    store = new_store(FS_MAX_REQUEST_BYTES="1000")
    store.make_bucket("box")
    assert code(Upload(store).put(1, bytes(1001))) == (400, "EntityTooLarge")


class Unread:
    """A body that must not be read: what is refused early must not cost the client its upload."""

    def read(self, size=-1):
        raise AssertionError("the body was read")


def test_a_part_that_cannot_be_stored_is_refused_before_its_body_is_read(store):
    upload = Upload(store, headers={"x-amz-checksum-algorithm": "CRC32"})
    for query, headers, refusal in (
        (f"uploadId={upload.id}&partNumber=0", {}, "InvalidArgument"),
        ("uploadId=nonsense&partNumber=1", {}, "NoSuchUpload"),
        (f"uploadId={upload.id}&partNumber=1", {}, "InvalidRequest"),
        (f"uploadId={upload.id}&partNumber=1", {"content-length": str(1 << 40)}, "EntityTooLarge"),
        (f"uploadId={upload.id}&partNumber=1", {"x-amz-server-side-encryption": "AES256"}, "NotImplemented"),
    ):
        answer = store.send("PUT", f"/box/k?{query}", headers={"content-length": "5", **headers}, source=Unread())
        assert code(answer)[1] == refusal


def test_uploads_need_a_writable_store(store):
    upload = Upload(store)
    upload.put(1, b"x")
    store.worker.read_only = "a failed fsync"
    assert [answer.status for answer in (upload.put(2, b"x"), upload.complete(), upload.abort(), Upload(store).created)] == [503] * 4
    assert upload.listed().status == 200
    store.worker.read_only = ""


# ---- completing: what is refused, and again ----


def test_a_refused_complete_leaves_the_upload_as_it_was(store):
    upload = Upload(store)
    upload.put(1, b"too small")
    upload.put(2, LAST)
    one, two = upload.etags[1], upload.etags[2]
    for parts, refusal in (
        ([], "MalformedXML"),
        ([(2, two), (1, one)], "InvalidPartOrder"),
        ([(2, one), (2, one)], "InvalidPart"),
        ([(1, one), (2, two)], "EntityTooSmall"),
        ([(1, two)], "InvalidPart"),
        ([(9999, one)], "InvalidPart"),
        ([(1, "no etag")], "InvalidPart"),
    ):
        assert code(upload.complete(parts)) == (400, refusal), parts
    for body in (b"", b"<CompleteMultipartUpload>", b"<Other/>", b'<!DOCTYPE a [<!ENTITY b "c">]><CompleteMultipartUpload/>'):
        assert code(upload.complete(body=body)) == (400, "MalformedXML")
    assert code(upload.complete(body=b" " * (2 << 20) + b"<a/>")) == (400, "MaxMessageLengthExceeded")
    assert store.send("GET", "/box/k").status == 404
    assert elements(upload.listed(), "PartNumber") == ["1", "2"]
    assert upload.complete([(2, one), (2, two.strip('"'))]).status == 200


def test_the_whole_size_may_be_announced(store):
    upload = Upload(store)
    upload.put(1, LAST)
    assert code(upload.complete(headers={"x-amz-mp-object-size": "8"})) == (400, "InvalidRequest")
    for wrong in ("x", "9" * 5000):
        assert code(upload.complete(headers={"x-amz-mp-object-size": wrong})) == (400, "InvalidRequest")
    assert upload.complete(headers={"x-amz-mp-object-size": "7"}).status == 200


def test_the_same_complete_again_gets_the_same_answer_while_the_object_is_there(store):
    upload = Upload(store)
    upload.put(1, LAST)
    done = upload.complete(headers={"if-none-match": "*"})
    assert done.status == 200
    again = upload.complete(headers={"if-none-match": "*"})
    assert (again.status, again.body) == (200, done.body)
    assert code(upload.complete([(1, md5(b"other"))])) == (404, "NoSuchUpload")
    assert code(upload.complete([(1, "no etag")])) == (404, "NoSuchUpload")
    store.send("PUT", "/box/k", b"something else")
    assert code(upload.complete()) == (404, "NoSuchUpload")
    assert store.send("GET", "/box/k").body == b"something else"


def test_a_complete_may_have_conditions(store):
    store.send("PUT", "/box/k", b"here already")
    etag = store.send("HEAD", "/box/k").headers["etag"]
    upload = Upload(store)
    upload.put(1, LAST)
    for headers in ({"if-none-match": "*"}, {"if-none-match": etag}, {"if-match": '"other"'}):
        assert code(upload.complete(headers=headers)) == (412, "PreconditionFailed")
    assert store.send("GET", "/box/k").body == b"here already"
    assert upload.complete(headers={"if-match": etag}).status == 200
    store.send("DELETE", "/box/k")
    another = Upload(store)
    another.put(1, LAST)
    assert code(another.complete(headers={"if-match": "*"})) == (404, "NoSuchKey")
    assert another.complete(headers={"if-none-match": "*"}).status == 200


def test_a_part_that_changes_between_look_and_judgement_is_looked_at_again(store):
    upload = Upload(store)
    upload.put(1, LAST)
    document = upload.document()
    Meddler(store, CompleteUpload, lambda: upload.put(2, b"another part"))
    assert upload.complete(body=document).status == 200
    assert store.send("GET", "/box/k").body == LAST
    other = Upload(store, "other")
    other.put(1, LAST)
    document = other.document()
    Meddler(store, CompleteUpload, lambda: other.put(1, b"replaced"))
    assert code(other.complete(body=document)) == (400, "InvalidPart")
    assert elements(other.listed(), "Size") == ["8"]


def test_two_completes_at_once_get_the_same_answer(store):
    upload = Upload(store)
    upload.put(1, FIRST)
    upload.put(2, LAST)
    answers = [job.get() for job in [spawn(upload.complete) for _ in range(4)]]
    assert {(answer.status, answer.body) for answer in answers} == {(200, answers[0].body)}
    assert store.send("GET", "/box/k").body == FIRST + LAST


def test_a_complete_that_loses_to_an_abort_is_told_so(store):
    upload = Upload(store)
    upload.put(1, LAST)
    Meddler(store, CompleteUpload, upload.abort)
    assert code(upload.complete()) == (404, "NoSuchUpload")
    assert store.send("GET", "/box/k").status == 404


def test_completing_does_not_hold_where_the_bytes_lie(store, monkeypatch):
    """Ten thousand parts of 64 pieces each would be 70 MB for every request."""
    store.send("PUT", "/box/source", FIRST)
    upload = Upload(store)
    for number in range(1, 4):
        assert upload.copy(number, "/box/source").status == 200
    held = []
    monkeypatch.setattr("web.multipart.complete", lambda listed, rows, *more: held.extend(rows.values()) or complete(listed, rows, *more))
    assert upload.complete().status == 200
    assert [row.slices for row in held] == [(), (), ()]


def test_long_lists_are_completed_too(store):
    """Six hundred parts are parsed and checked in a native thread; they are one blob, by copies that move nothing."""
    store.send("PUT", "/box/source", FIRST)
    upload = Upload(store)
    for number in range(1, 601):
        assert upload.copy(number, "/box/source").status == 200
    wrong = [*sorted(upload.etags.items())[:-1], (600, md5(b"other"))]
    assert code(upload.complete(wrong)) == (400, "InvalidPart")
    assert upload.complete().status == 200
    head = store.send("HEAD", "/box/k").headers
    assert head["content-length"] == str(600 * PART_BYTES)
    assert head["etag"].endswith('-600"')
    span = store.send("GET", "/box/k", headers={"range": f"bytes={500 * PART_BYTES - 3}-{500 * PART_BYTES + 3}"})
    assert span.body == FIRST[-3:] + FIRST[:4]


# ---- what ends without an object ----


def test_an_aborted_upload_gives_its_bytes_back(new_store):
    store = new_store(FS_READ_GRACE_SECS="0")
    store.make_bucket("box")
    upload = Upload(store)
    upload.put(1, FIRST)
    upload.put(2, LAST)
    number = int(upload.id[:16], 16)
    blobs = [store.worker.index.uploads.part(number, part).slices[0].blob for part in (1, 2)]
    assert upload.abort().status == 204
    assert code(upload.abort()) == (404, "NoSuchUpload")
    until(lambda: not store.worker.index.uploads.parts_after(number, 0, 10))
    assert [store.worker.index.uploads.blob(blob).blob.refs for blob in blobs] == [0, 0]


def test_a_deleted_object_gives_the_bytes_of_its_parts_back(new_store):
    store = new_store(FS_READ_GRACE_SECS="0")
    store.make_bucket("box")
    upload = Upload(store)
    for number, body in ((1, FIRST), (2, b"left out"), (3, LAST)):
        upload.put(number, body)
    number = int(upload.id[:16], 16)
    upload.complete([(1, upload.etags[1]), (3, upload.etags[3])])
    view = store.worker.index.uploads
    until(lambda: [row.number for row in view.parts_after(number, 0, 10)] == [1, 3])
    assert store.send("GET", "/box/k").body == FIRST + LAST
    store.send("DELETE", "/box/k")
    until(lambda: not view.parts_after(number, 0, 10) and view.manifest(number) is None)


def test_uploads_of_a_deleted_bucket_are_gone(store):
    upload = Upload(store)
    upload.put(1, LAST)
    assert store.send("DELETE", "/box").status == 204
    assert code(upload.put(2, LAST)) == (404, "NoSuchBucket")
    store.make_bucket("box")
    assert code(upload.put(2, LAST)) == (404, "NoSuchUpload")
    assert elements(store.send("GET", "/box?uploads"), "UploadId") == []
    assert code(upload.complete()) == (404, "NoSuchUpload")


def test_an_unfinished_upload_expires_counted_from_its_last_part(new_store):
    store = new_store(FS_MULTIPART_TTL_SECS="3600")
    store.make_bucket("box")
    idle, busy, finished = Upload(store, "idle"), Upload(store, "busy"), Upload(store, "finished")
    busy.put(1, b"one")
    finished.put(1, b"x")
    finished.complete()
    store.shift_ms = 3000_000
    busy.put(2, b"two")
    store.shift_ms = 4000_000
    until(lambda: idle.listed().status == 404)
    assert elements(busy.listed(), "PartNumber") == ["1", "2"]
    store.shift_ms = 7000_000
    until(lambda: busy.listed().status == 404)
    assert code(busy.put(3, b"three")) == (404, "NoSuchUpload")
    assert store.send("GET", "/box/finished").body == b"x"


def test_an_abort_that_comes_too_late_changes_nothing(store):
    upload = Upload(store)
    upload.put(1, LAST)
    Meddler(store, AbortUpload, upload.complete)
    assert code(upload.abort()) == (404, "NoSuchUpload")
    assert store.send("GET", "/box/k").body == LAST


# ---- access ----


def test_unsigned_headers_set_no_tags_or_acls_and_copy_nothing(store):
    """x-fs leaves the headers unsigned."""
    store.send("PUT", "/box/source", LAST)
    for headers in ({"x-amz-tagging": "a=b"}, {"x-amz-acl": "public-read"}):
        assert code(Upload(store, headers=headers, sign="xfs").created) == (403, "AccessDenied")
    upload = Upload(store, sign="xfs")
    assert code(upload.copy(1, "/box/source")) == (403, "AccessDenied")
    assert upload.put(1, LAST).status == 200
    assert upload.abort().status == 204


def test_a_stranger_may_do_nothing(store):
    upload = Upload(store)
    upload.put(1, LAST)
    stranger = Upload.__new__(Upload)
    stranger.__dict__ |= {**upload.__dict__, "sign": "none"}
    answers = [stranger.put(2, b"x"), stranger.listed(), stranger.complete(), stranger.abort(), stranger.copy(2, "/box/k")]
    assert [answer.status for answer in answers] == [403] * 5
    assert store.send("GET", "/box?uploads", sign="none").status == 403
    assert upload.complete().status == 200
