"""Nothing is open that does not say so: every route and every S3 action x every form of authentication x {good, bad, absent}."""

import os
import time

import pytest

from actors.directory import Directory
from fasterstore.s3 import signer
from fasterstore.s3.actions import ACTIONS, BUCKET, OBJECT, classify
from fasterstore.s3.errors import S3Error
from fasterstore.s3.names import parse_path
from fasterstore.settings import load
from fasterstore.storage.disk import RealDisk
from tests.raw_connection import RawConnection, request_bytes
from web.app import make_app
from web.context import parse_query
from web.worker import Worker

SCHEMES = ["sigv4", "presigned", "x-fs"]
BAD = ["wrong secret", "unknown key", "another request's signature", "expired", "cut off"]
OPEN_PATHS = ("/healthz", "/readyz", "/metrics", "/minio/health/live", "/minio/health/ready", "/minio/health/cluster")
OPEN = {(path, method) for path in OPEN_PATHS for method in ("GET", "HEAD")}
DENIED = (400, 401, 403)
METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"]
UNSIGNED = ("PreflightBucket", "PreflightObject")
"""Answered without a signature by design: browsers cannot sign a preflight. It says what the bucket's CORS rules say, nothing else."""
NOT_BY_XFS = {
    "CopyObject", "UploadPartCopy", "RenameObject", "PutBucketAcl", "PutObjectAcl", "PutBucketTagging", "DeleteBucketTagging",
    "PutObjectTagging", "DeleteObjectTagging",
}  # fmt: skip
"""Refused to x-fs, which leaves headers unsigned (design, section 7)."""


def action_of(method, path, query, headers):
    """The S3 action that a request is, "" if it is none."""
    try:
        bucket, key = parse_path(path)
        if bucket.partition("/")[0] in ("_admin", "_internal"):
            return ""
        return classify(method, bool(bucket), bool(key), parse_query(query), "x-amz-copy-source" in headers).name
    except S3Error:
        return ""


def routes():
    """(rule, method, access) of every route of the application."""
    worker = Worker(
        settings=load({"FS_SECRET_KEY": "some-secret"}, cores=1),
        directory=Directory(),
        disk=RealDisk(),
        segments_dir="",
        blob_key=bytes(32),
        now_ms=lambda: 0,
    )
    return [(route.rule, route.method, route.config["access"]) for route in make_app(worker).routes]


def requests_of_all_routes(bucket):
    """(method, path, query, headers) for each action and for what is no action."""
    found = []
    for action in ACTIONS.values():
        path = {BUCKET: f"/{bucket}", OBJECT: f"/{bucket}/key"}.get(action.resource, "/")
        headers = {"x-amz-copy-source": f"/{bucket}/key"} if "Copy" in action.name else {}
        found.append((action.method, path, f"{action.subresource}=" if action.subresource else "", headers))
    for rule, _, _ in routes():
        path = rule.partition("<")[0] or f"/{bucket}/anything"
        found += [(method, path, "", {}) for method in METHODS]
        found += [(method, f"{path}/below", "", {}) for method in METHODS]
    for odd in ("//_admin/actors", "/%5Fadmin/actors", "/_admin%2Factors", "/_adminx", "/./_admin/actors", f"/{bucket}/../_admin", "//"):
        found += [(method, odd, "", {}) for method in METHODS]
    return found


def bucket_of(path):
    """The bucket's name in a path, "" without one."""
    try:
        return parse_path(path)[0]
    except S3Error:
        return ""


def authenticated(node, scheme, quality, method, path, query, headers):
    """(target, headers) of the request with that form of authentication."""
    credentials, now = node.credentials, int(time.time())
    sent = {"host": f"{node.host}:{node.port}", **headers}
    if method in ("PUT", "POST", "PATCH"):
        sent["content-length"] = "0"
    if quality == "wrong secret":
        credentials = credentials._replace(secret_key="not-the-secret")
    elif quality == "unknown key":
        credentials = credentials._replace(access_key="stranger")
    elif quality == "expired":
        now -= 24 * 3600
    signed_path = path + "x" if quality == "another request's signature" else path
    if scheme == "presigned":
        signed = {name: value for name, value in sent.items() if name == "host" or name.startswith("x-amz-")}
        query = signer.presign_v4(method, signed_path, query, signed, credentials, now, 60)
        if quality == "cut off":
            query = query[:-1]
    elif scheme == "sigv4":
        sent |= signer.sign_v4_headers(method, signed_path, query, sent, "UNSIGNED-PAYLOAD", credentials, now)[0]
        if quality == "cut off":
            sent["authorization"] = sent["authorization"][:-1]
    else:
        sent |= signer.sign_xfs(method, signed_path, query, "UNSIGNED-PAYLOAD", credentials, now)
        if quality == "cut off":
            sent["x-fs-signature"] = sent["x-fs-signature"][:-1]
    return (f"{path}?{query}" if query else path), sent


def exchange(node, connection, method, target, headers):
    """(answer, connection to go on with)."""
    connection.send(request_bytes(method, target, headers))
    answer = connection.answer(to_head=method == "HEAD")
    if answer.headers.get("connection") == "close":
        connection.close()
        connection = RawConnection(node)
    return answer, connection


@pytest.fixture
def guarded(client, bucket):
    """A bucket with one object that no refused request may touch."""
    client.put(bucket, "key", b"guarded")
    return bucket


def test_every_route_says_who_may_use_it():
    found = routes()
    assert {access for _, _, access in found} == {"open", "metrics", "admin", "internal", "s3"}
    assert {(rule, method) for rule, method, access in found if access in ("open", "metrics")} <= OPEN
    assert [rule for rule, _, access in found if access == "s3"] == [found[-1][0]]


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("quality", BAD)
def test_bad_authentication_opens_nothing(node, client, guarded, scheme, quality):
    opened = []
    connection = RawConnection(node)
    for method, path, query, headers in requests_of_all_routes(guarded):
        if (path, method) in OPEN:
            continue
        target, sent = authenticated(node, scheme, quality, method, path, query, headers)
        answer, connection = exchange(node, connection, method, target, sent)
        if answer.status not in DENIED or not answer.headers.get("x-amz-request-id"):
            opened.append((method, target, answer))
    connection.close()
    assert not opened
    assert client.get(guarded, "key").content == b"guarded"
    assert node.usage(guarded) == (1, 7)


def test_no_authentication_opens_nothing(node, client, guarded):
    opened = []
    connection = RawConnection(node)
    for method, path, query, headers in requests_of_all_routes(guarded):
        sent = {"host": "localhost", **headers, **({"content-length": "0"} if method in ("PUT", "POST", "PATCH") else {})}
        answer, connection = exchange(node, connection, method, f"{path}?{query}" if query else path, sent)
        expected = (200,) if (path, method) in OPEN else (403,)
        if action_of(method, path, query, headers) in UNSIGNED:
            # No Origin was sent; with one the answer is the bucket's rules.
            expected = (400,)
        elif bucket_of(path).partition("/")[0] not in ("", guarded, "_admin", "_internal") and (path, method) not in OPEN:
            # That there is no such bucket, or never can be, is said to everybody, as by AWS.
            expected = (403, 400, 404)
        if answer.status not in expected:
            opened.append((method, path, query, answer))
    connection.close()
    assert not opened
    assert client.get(guarded, "key").content == b"guarded"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_good_authentication_opens_everything_but_the_internal_routes(node, client, bucket, scheme):
    refused = []
    connection = RawConnection(node)
    for method, path, query, headers in requests_of_all_routes(bucket):
        target, sent = authenticated(node, scheme, "good", method, path, query, headers)
        answer, connection = exchange(node, connection, method, target, sent)
        internal = path.startswith("/_internal")
        denied = internal or (scheme == "x-fs" and action_of(method, path, query, headers) in NOT_BY_XFS)
        if (answer.status == 403) != denied or answer.status == 401 or answer.status >= 502:
            refused.append((method, target, answer))
        if answer.status in (404,) and b"NoSuchBucket" in answer.content:
            client.request("PUT", bucket)  # DeleteBucket is one of the actions
    connection.close()
    assert not refused


def test_the_built_in_internal_token_opens_nothing(node, connect):
    for path in ("/_internal", "/_internal/", "/_internal/entries"):
        connection = connect()
        connection.send(request_bytes("GET", path, {"host": "localhost", "x-fs-internal-token": "internal-replication-token"}))
        assert connection.answer().status == 403


def test_bytes_that_only_look_like_a_signature_open_nothing(node, connect, guarded):
    for headers in (
        {"authorization": ""},
        {"authorization": "AWS4-HMAC-SHA256 " + "A" * 5000},
        {"authorization": "\xff\xfe"},
        {"x-fs-signature": ""},
        {"x-fs-access-key": node.credentials.access_key},
        {"x-amz-content-sha256": "UNSIGNED-PAYLOAD", "x-amz-date": "20260101T000000Z"},
        {"x-fs-internal-token": "internal-replication-token"},
        {"x-forwarded-user": node.credentials.access_key},
    ):
        connection = connect()
        connection.send(request_bytes("GET", f"/{guarded}/key", {"host": "localhost", **headers}))
        assert connection.answer().status in DENIED, headers
    for query in ("X-Amz-Signature=" + os.urandom(32).hex(), "X-Amz-Algorithm=AWS4-HMAC-SHA256", "AWSAccessKeyId=a&Signature=b&Expires=1"):
        connection = connect()
        connection.send(request_bytes("GET", f"/{guarded}/key?{query}", {"host": "localhost"}))
        assert connection.answer().status in DENIED, query
