"""PostObject in the application: forms of every size and order, what becomes of their fields, and when they are refused."""

import errno
import json
import os
import time
from base64 import b64encode
from io import BytesIO
from zlib import crc32

import pytest
from defusedxml.ElementTree import fromstring

from fasterstore.s3 import canonical, sigv2
from fasterstore.storage.disk import RealDisk
from tests.web.app.conftest import ACCESS_KEY, SECRET_KEY
from web.request_body import RequestBodyDisconnected

BOUNDARY = "----WebKitFormBoundaryAbC"
CONTENT_TYPE = f"multipart/form-data; boundary={BOUNDARY}"
SUBMIT = '\r\nContent-Disposition: form-data; name="submit"\r\n\r\nUpload'


def part(name, value, filename=None):
    head = f'Content-Disposition: form-data; name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + (value if isinstance(value, bytes) else value.encode()) + b"\r\n"


def body_of(fields, file=b"bytes", filename="a.txt", tail=None):
    """The body of a form. `tail` takes the place of the closing delimiter."""
    parts = [part(name, value) for name, value in fields]
    if file is not None:
        parts.append(part("file", file, filename))
    return b"".join(parts) + (f"--{BOUNDARY}--\r\n".encode() if tail is None else tail)


def signed(fields, conditions=(), version=4, secret=SECRET_KEY, bucket="box", lifetime_secs=3600):
    """The fields with a policy that allows exactly them, and its signature."""
    fields = list(fields)
    if version == 4:
        stamp = canonical.format_timestamp(int(time.time()))
        scope = f"{stamp[:8]}/us-east-1/s3/aws4_request"
        fields += [("x-amz-algorithm", "AWS4-HMAC-SHA256"), ("x-amz-credential", f"{ACCESS_KEY}/{scope}"), ("x-amz-date", stamp)]
    else:
        fields.append(("AWSAccessKeyId", ACCESS_KEY))
    named = [["starts-with", f"${name}", ""] for name, _ in fields if not name.startswith("x-ignore-")]
    expiration = canonical.format_iso(int(time.time() + lifetime_secs))
    policy = b64encode(json.dumps({"expiration": expiration, "conditions": [{"bucket": bucket}, *named, *conditions]}).encode()).decode()
    fields.append(("policy", policy))
    if version == 4:
        key = canonical.signing_key(secret, stamp[:8], "us-east-1", "s3")
        return [*fields, ("x-amz-signature", canonical.hmac_hex(key, policy))]
    return [*fields, ("signature", sigv2.sign(secret, policy))]


def post(store, fields, target="/box", headers=None, **options):
    """Send a form."""
    body = options.pop("body", None)
    names = {name: options.pop(name) for name in ("file", "filename", "tail") if name in options}
    body = body_of(fields, **names) if body is None else body
    return store.send("POST", target, body, {"content-type": CONTENT_TYPE, **(headers or {})}, sign="none", **options)


def code_of(answer):
    return answer.status, fromstring(answer.body).findtext("Code")


def test_a_signed_form_uploads_its_file(store):
    answer = post(store, signed([("key", "user/${filename}"), ("Content-Type", "image/png"), ("x-amz-meta-who", "ä")]), file=b"png")
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["location"] == "http://localhost/box/user%2Fa.txt"
    found = store.send("GET", "/box/user/a.txt")
    assert (found.status, found.body, found.headers["etag"]) == (200, b"png", answer.headers["etag"])
    assert found.headers["content-type"] == "image/png"
    assert found.headers["x-amz-meta-who"].encode("latin-1").decode() == "ä"


@pytest.mark.parametrize("size_bytes", [0, 1, 65_536, 65_537, 262_144, 262_145, 1_048_576, 3_000_001])
@pytest.mark.parametrize("stock", [False, True])
@pytest.mark.parametrize("last", [True, False])
def test_a_file_of_any_size_is_stored_whatever_follows_it(store, size_bytes, stock, last):
    file = os.urandom(size_bytes)
    tail = None if last else f"--{BOUNDARY}{SUBMIT}\r\n--{BOUNDARY}--".encode()
    answer = post(store, signed([("key", "k")]), file=file, tail=tail, stock=stock)
    assert answer.status == 204, answer.body
    assert store.send("GET", "/box/k").body == file
    assert store.worker.streamed_uploads == 0


class Dripping(BytesIO):
    """A body that comes in small pieces, and like a socket does not end: reading past it fails."""

    def readinto(self, buffer):
        count = super().readinto(memoryview(buffer)[:1000])
        assert count, "read past the body"
        return count


def test_a_body_that_drips_is_read_to_its_end_and_not_beyond(store):
    file = os.urandom(300_000)
    body = body_of(signed([("key", "k")]), file)
    answer = post(store, None, body=b"", headers={"content-length": str(len(body))}, source=Dripping(body))
    assert answer.status == 204
    assert store.send("GET", "/box/k").body == file


@pytest.mark.parametrize("file", [b"\r\n", b"\r\n--" + BOUNDARY[:-1].encode(), b"--" + BOUNDARY.encode() + b"--", b"\r\n\r\n\r\n"])
def test_a_file_may_look_like_the_form_around_it(store, file):
    assert post(store, signed([("key", "k")]), file=file).status == 204
    assert store.send("GET", "/box/k").body == file


@pytest.mark.parametrize(
    ("status", "expected"), [(None, 204), ("200", 200), ("201", 201), ("204", 204), ("404", 204), ("", 204), ("abc", 204)]
)
def test_the_form_chooses_the_status(store, status, expected):
    fields = [("key", "a b/ü")] + ([] if status is None else [("success_action_status", status)])
    answer = post(store, signed(fields))
    assert answer.status == expected
    etag = store.send("HEAD", "/box/a%20b/%C3%BC").headers["etag"]
    assert answer.headers["etag"] == etag
    assert answer.headers["location"] == "http://localhost/box/a%20b%2F%C3%BC"
    if expected == 201:
        root = fromstring(answer.body)
        assert root.tag == "PostResponse"
        assert {child.tag: child.text for child in root} == {
            "Location": answer.headers["location"],
            "Bucket": "box",
            "Key": "a b/ü",
            "ETag": etag,
        }
        assert answer.headers["content-length"] == str(len(answer.body))
    else:
        assert answer.body == b""


@pytest.mark.parametrize("name", ["success_action_redirect", "redirect"])
@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://example.org/done", "http://example.org/done?{told}"),
        ("https://example.org/done?a=1", "https://example.org/done?a=1&{told}"),
        ("http://example.org/ü?q=%20#top", "http://example.org/%C3%BC?q=%20&{told}#top"),
        ("http://example.org", "http://example.org?{told}"),
    ],
)
def test_the_form_chooses_the_next_page(store, name, url, expected):
    answer = post(store, signed([("key", "a/b"), (name, url), ("success_action_status", "201")]))
    etag = store.send("HEAD", "/box/a/b").headers["etag"].strip('"')
    assert answer.status == 303
    assert answer.headers["location"] == expected.format(told=f"bucket=box&key=a%2Fb&etag=%22{etag}%22")


@pytest.mark.parametrize("url", ["", "/done", "javascript:alert(1)", "http://", "ftp://example.org/", "http://[::1", "http:\r\nx: y"])
def test_what_is_no_url_counts_as_not_given(store, url):
    answer = post(store, signed([("key", "k"), ("success_action_redirect", url), ("success_action_status", "200")]))
    assert answer.status == 200
    assert answer.headers["location"] == "http://localhost/box/k"


def test_no_line_break_gets_into_a_header(store):
    answer = post(store, signed([("key", "a\r\nb: c"), ("success_action_redirect", "http://example.org/a\r\nb: c")]))
    assert answer.status == 303
    assert not set("\r\n") & set(answer.headers["location"])


def test_the_file_name_is_put_wherever_it_is_asked_for_but_not_into_documents(store):
    tagging = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>"
    fields = [("key", "${filename}/${filename}"), ("x-amz-meta-name", "is ${filename}"), ("tagging", tagging)]
    assert post(store, signed(fields), filename="C:\\up\\load.txt").status == 204
    found = store.send("HEAD", "/box/load.txt/load.txt")
    assert found.headers["x-amz-meta-name"] == "is load.txt"
    evil = [("key", "evil"), ("tagging", tagging.replace("v", "${filename}"))]
    answer = post(store, signed(evil), filename="</Value></Tag><Tag><Key>x</Key><Value>y")
    assert code_of(answer) == (400, "InvalidTag")


def test_a_policy_is_judged_with_the_file_name_in_its_place(store):
    condition = ["starts-with", "$key", "user/"]
    assert post(store, signed([("key", "${filename}")], [condition]), filename="user.txt").status == 403
    assert post(store, signed([("key", "user/${filename}")], [condition])).status == 204


def test_fields_become_headers(store):
    kept = {
        "Cache-Control": "no-cache",
        "Content-Disposition": "attachment",
        "Content-Encoding": "gzip",
        "Content-Type": "text/html",
        "Expires": "Thu, 01 Dec 2030 16:00:00 GMT",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
        "x-amz-website-redirect-location": "/other",
    }
    assert post(store, signed([("key", "k"), *kept.items()])).status == 204
    headers = store.send("HEAD", "/box/k").headers
    assert {name: headers[name.lower()] for name in kept} == kept


def test_the_requests_own_headers_do_not_change_the_object(store):
    own = {
        "x-amz-meta-a": "1",
        "x-amz-acl": "public-read",
        "x-amz-storage-class": "GLACIER",
        "cache-control": "no-cache",
        "if-match": '"x"',
    }
    assert post(store, signed([("key", "k")]), headers=own).status == 204
    headers = store.send("HEAD", "/box/k").headers
    assert headers["content-type"] == "binary/octet-stream"
    assert not {"x-amz-meta-a", "x-amz-storage-class", "cache-control"} & headers.keys()


def test_a_checksum_field_is_verified(store):
    right = b64encode(crc32(b"bytes").to_bytes(4)).decode()
    answer = post(store, [*signed([("key", "k")]), ("x-amz-checksum-crc32", right)])
    assert (answer.status, answer.headers["x-amz-checksum-crc32"]) == (204, right)
    answer = post(store, [*signed([("key", "wrong")]), ("x-amz-checksum-crc32", "AAAAAA==")])
    assert code_of(answer) == (400, "BadDigest")
    assert code_of(post(store, signed([("key", "wrong"), ("Content-MD5", "1B2M2Y8AsgTpgAmY7PhCfg==")]))) == (400, "BadDigest")
    assert store.send("GET", "/box/wrong").status == 404


@pytest.mark.parametrize("name", ["x-amz-server-side-encryption", "x-amz-object-lock-mode"])
def test_a_field_that_asks_for_what_is_not_built_is_refused(store, name):
    assert post(store, signed([("key", "k"), (name, "AES256")])).status in (400, 501)
    assert store.send("GET", "/box/k").status == 404


@pytest.mark.parametrize("size_bytes", [9, 10, 20, 21])
def test_the_length_must_be_in_the_range(store, size_bytes):
    answer = post(store, signed([("key", "k")], [["content-length-range", 10, 20]]), file=b"x" * size_bytes)
    if 10 <= size_bytes <= 20:
        assert answer.status == 204
        return
    assert code_of(answer) == (400, "EntityTooSmall" if size_bytes < 10 else "EntityTooLarge")
    assert fromstring(answer.body).findtext("ProposedSize") == str(size_bytes)
    assert store.send("GET", "/box/k").status == 404


class Counting(BytesIO):
    """Counts what was read of a body."""

    taken = 0

    def readinto(self, buffer):
        count = super().readinto(buffer)
        self.taken += count
        return count


def test_a_file_that_is_too_long_is_not_read_to_its_end(store):
    body = body_of(signed([("key", "k")], [["content-length-range", 0, 1000]]), b"x" * 5_000_000)
    source = Counting(body)
    answer = post(store, None, body=b"", headers={"content-length": str(len(body))}, source=source)
    assert code_of(answer) == (400, "EntityTooLarge")
    assert source.taken < 1_000_000


def test_no_form_is_longer_than_the_largest_object(new_store):
    store = new_store(FS_MAX_REQUEST_BYTES="1000")
    store.make_bucket("box")
    assert post(store, signed([("key", "k")]), file=b"x" * 1000).status == 204
    assert code_of(post(store, signed([("key", "k")]), file=b"x" * 1001)) == (400, "EntityTooLarge")
    source = Counting(b"x" * 200_000)
    answer = post(store, None, body=b"", headers={"content-length": "200000"}, source=source)
    assert code_of(answer) == (400, "EntityTooLarge")
    assert source.taken == 0


def without(fields, name):
    return [pair for pair in fields if pair[0] != name]


def test_a_form_that_is_none_is_refused(store):
    good = signed([("key", "k")])
    for fields, options, expected in (
        (without(good, "key"), {}, (400, "UserKeyMustBeSpecified")),
        (good, {"file": None}, (400, "IncorrectNumberOfFilesInPostRequest")),
        (good, {"tail": b""}, (400, "MalformedPOSTRequest")),
        ([*good, ("key", "other")], {}, (400, "InvalidArgument")),
        ([*good, ("x-ignore-a", "x" * 30_000)], {}, (400, "MaxPostPreDataLengthExceeded")),
        (without(good, "x-amz-signature"), {}, (400, "InvalidArgument")),
        (without(good, "policy"), {}, (400, "InvalidArgument")),
        (good, {"body": b"no form"}, (400, "MalformedPOSTRequest")),
        (good, {"headers": {"content-length": "(none)"}}, (411, "MissingContentLength")),
        (signed([("key", "x" * 1025)]), {}, (400, "KeyTooLongError")),
        (signed([("key", "")]), {}, (400, "InvalidArgument")),
        (signed([("key", "${filename}")]), {"filename": ""}, (400, "InvalidArgument")),
    ):
        answer = post(store, fields, **options)
        assert code_of(answer) == expected, answer.body
    assert store.send("GET", "/box/k").status == 404


def test_a_form_is_refused_for_what_its_policy_says(store):
    late = signed([("key", "k")], lifetime_secs=-1)
    assert b"Invalid according to Policy: Policy expired." in post(store, late).body
    extra = [*signed([("key", "k")]), ("x-amz-meta-a", "1")]
    assert b"Extra input fields: x-amz-meta-a" in post(store, extra).body
    failed = signed([("key", "k"), ("acl", "public-read")], [{"acl": "private"}])
    assert b"Policy Condition failed" in post(store, failed).body
    broken = [(name, "e30=" if name == "policy" else value) for name, value in signed([("key", "k")])]
    assert code_of(post(store, broken)) == (403, "SignatureDoesNotMatch")
    assert code_of(post(store, signed([("key", "k")], secret="not-the-secret"))) == (403, "SignatureDoesNotMatch")
    store.make_bucket("other")
    assert code_of(post(store, signed([("key", "k")]), "/other")) == (403, "AccessDenied")
    assert code_of(post(store, signed([("key", "k")], bucket="missing"), "/missing")) == (404, "NoSuchBucket")
    assert store.send("GET", "/box/k").status == 404


def test_version_2_counts_only_where_it_is_allowed(new_store):
    for allowed in (False, True):
        store = new_store(FS_ALLOW_SIGV2=str(allowed).lower())
        store.make_bucket("box")
        answer = post(store, signed([("key", "k")], version=2))
        assert answer.status == (204 if allowed else 400), answer.body
        assert store.send("GET", "/box/k").status == (200 if allowed else 404)


def test_a_form_that_nobody_signed_is_denied(store):
    assert code_of(post(store, [("key", "k")])) == (403, "AccessDenied")
    assert code_of(store.send("POST", "/box", b"", {"content-type": "text/plain"}, sign="none")) == (403, "AccessDenied")
    assert code_of(store.send("POST", "/box", b"", sign="none")) == (403, "AccessDenied")
    assert store.send("GET", "/box/k").status == 404


def test_a_signed_request_that_is_no_form_is_told_so(store):
    answer = store.send("POST", "/box", b"{}", {"content-type": "application/json"})
    assert code_of(answer) == (412, "PreconditionFailed")
    assert "multipart/form-data" in fromstring(answer.body).findtext("Condition")


def test_a_form_carries_its_own_signature_only(store):
    body = body_of(signed([("key", "k")]))
    for scheme in ("v4", "xfs"):
        answer = store.send("POST", "/box", body, {"content-type": CONTENT_TYPE}, sign=scheme)
        assert code_of(answer) == (400, "InvalidRequest")


def test_the_built_in_secret_signs_forms_for_this_machine_only(new_store):
    store = new_store(FS_ACCESS_KEY=ACCESS_KEY, FS_SECRET_KEY="faster-secret-key")
    store.make_bucket("box")
    fields = signed([("key", "k")], secret="faster-secret-key")
    for options in ({"peer": "192.0.2.1"}, {"headers": {"x-forwarded-for": "127.0.0.1"}}):
        answer = post(store, fields, **options)
        assert code_of(answer) == (403, "AccessDenied")
        assert b"FS_SECRET_KEY" in answer.body
    assert post(store, fields).status == 204


def test_without_authentication_a_form_needs_no_policy_but_keeps_to_one(new_store):
    store = new_store(FS_AUTH_ENABLED="false")
    store.make_bucket("box")
    assert post(store, [("key", "plain"), ("x-amz-meta-a", "1")]).status == 204
    assert post(store, signed([("key", "k")], secret="any-secret-at-all")).status == 204
    assert post(store, signed([("key", "k")], lifetime_secs=-1)).status == 403
    assert post(store, signed([("key", "k")], [{"key": "other"}])).status == 403


def test_a_client_that_leaves_stores_nothing(store):
    body = body_of(signed([("key", "k")]), b"x" * 600_000)

    class Leaving(BytesIO):
        def readinto(self, buffer):
            count = super().readinto(buffer)
            if not count:
                raise RequestBodyDisconnected("gone")
            return count

    for have in (0, 100, len(body) - 10):
        answer = post(store, None, body=b"", headers={"content-length": str(len(body))}, source=Leaving(body[:have]))
        assert code_of(answer) == (400, "IncompleteBody")
    assert store.send("GET", "/box/k").status == 404
    assert store.worker.streamed_uploads == 0
    assert post(store, None, body=b"", headers={"content-length": str(len(body))}, source=BytesIO(body)).status == 204


def unnamed_files(store):
    """The open files of this store's folder that have no name."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if target.startswith(os.path.dirname(store.worker.segments_dir)) and target.endswith("(deleted)"):
            found.append(target)
    return found


class FullDisk(RealDisk):
    """No room, at the moment that is told."""

    def __init__(self, error_number, free_bytes=None):
        self._error_number = error_number
        self._free_bytes = free_bytes

    def pwrite(self, fd, data, offset):
        if self._error_number:
            raise OSError(self._error_number, "planted")
        super().pwrite(fd, data, offset)

    def free_bytes(self, path):
        return super().free_bytes(path) if self._free_bytes is None else self._free_bytes


@pytest.mark.parametrize(
    ("disk", "expected"),
    [
        (FullDisk(errno.ENOSPC), (507, "XMinioStorageFull")),
        (FullDisk(0, free_bytes=1_900_000), (507, "XMinioStorageFull")),
        (FullDisk(errno.EIO), (500, "InternalError")),
    ],
)
def test_a_disk_without_room_refuses_the_file_and_keeps_nothing(store, disk, expected):
    store.worker.disk = disk
    answer = post(store, signed([("key", "k")]), file=b"x" * 1_000_000)
    assert code_of(answer) == expected
    assert not unnamed_files(store)
    store.worker.disk = RealDisk()
    assert post(store, signed([("key", "k")]), file=b"x" * 1_000_000).status == 204


def test_nothing_named_is_left_beside_the_data(store):
    folder = os.path.dirname(store.worker.segments_dir)
    before = sorted(os.listdir(folder))
    assert post(store, signed([("key", "k")]), file=b"x" * 2_000_000).status == 204
    assert post(store, signed([("key", "k")]), file=b"x" * 2_000_000, tail=b"").status == 400
    assert sorted(os.listdir(folder)) == before
    assert not unnamed_files(store)


def test_a_read_only_store_takes_no_form(store):
    store.worker.read_only = "planted"
    assert code_of(post(store, signed([("key", "k")]))) == (503, "ServiceUnavailable")


def test_the_bytes_of_a_form_are_counted(store):
    body = body_of(signed([("key", "k")]), b"x" * 500_000)
    before = store.worker.metrics.bytes_in
    assert post(store, None, body=body).status == 204
    assert store.worker.metrics.bytes_in - before == len(body)
