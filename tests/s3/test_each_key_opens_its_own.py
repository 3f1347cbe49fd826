"""Four keys, four doors: each of them opens its own routes and nothing else, and none of them passes for another."""

import time
from collections import Counter
from urllib.parse import unquote

import pytest

from fasterstore.s3 import signer, sigv2
from tests.node import RunningNode
from tests.raw_connection import RawConnection
from tests.s3.test_default_deny import DENIED, OPEN, UNSIGNED, action_of, bucket_of, exchange, requests_of_all_routes

PEER = "http://127.0.0.1:9"
"""Nobody answers there: who calls has to be one of the node's peers, whatever token it has."""
INTERNAL, METRICS, ADMIN = "token-of-the-internal-routes", "token-of-the-metrics", "secret-of-the-administrator"
SETTINGS = {
    "FS_INTERNAL_TOKEN": INTERNAL,
    "FS_REPLICATION_PEERS": PEER,
    "FS_METRICS_TOKEN": METRICS,
    "FS_ADMIN_ACCESS_KEY": "administrator",
    "FS_ADMIN_SECRET_KEY": ADMIN,
    "FS_ALLOW_SIGV2": "true",
}
BUCKET = "guarded"


@pytest.fixture(scope="module")
def doors(tmp_path_factory):
    """A node with a key of its own for each door, and a bucket with one object."""
    with RunningNode(tmp_path_factory.mktemp("doors") / "data", SETTINGS) as node:
        with node.client() as client:
            client.create_bucket(BUCKET)
            client.put(BUCKET, "key", b"guarded")
        yield node


def door_of(path, method):
    """Which key a request to that path needs; "" if none."""
    if path == "/metrics" and method in ("GET", "HEAD"):
        return "metrics"
    if (path, method) in OPEN:
        return ""
    first = unquote(path)[1:].partition("/")[0]
    return {"_admin": "admin", "_internal": "internal"}.get(first, "s3")


def by_sigv4(access_key, secret):
    """Signs with that pair."""

    def sign(node, method, path, query, headers):
        credentials = node.credentials._replace(access_key=access_key or node.credentials.access_key, secret_key=secret)
        return query, signer.sign_v4_headers(method, path, query, headers, "UNSIGNED-PAYLOAD", credentials, int(time.time()))[0]

    return sign


def by_sigv2(access_key, secret):
    """Signs by version 2, in headers."""

    def sign(node, method, path, query, headers):
        dated = headers | {"x-amz-date": signer.canonical.format_timestamp(int(time.time()))}
        request = sigv2._SignedRequest(method, path, sigv2._pairs(query), dated, "")
        signature = sigv2.sign(secret or node.credentials.secret_key, request.string_to_sign(path, True))
        added = {"x-amz-date": dated["x-amz-date"], "authorization": f"AWS {access_key or node.credentials.access_key}:{signature}"}
        return query, added

    return sign


def by_sigv2_query(access_key, secret):
    """Signs a URL by version 2."""

    def sign(node, method, path, query, headers):
        expires = str(int(time.time()) + 60)
        request = sigv2._SignedRequest(method, path, sigv2._pairs(query), headers, expires)
        signature = signer.canonical.uri_encode(sigv2.sign(secret, request.string_to_sign(path, True)).encode(), False)
        added = f"AWSAccessKeyId={access_key or node.credentials.access_key}&Expires={expires}&Signature={signature}"
        return f"{query}&{added}" if query else added, {}

    return sign


def with_header(name, value):
    """Sends a token."""
    return lambda node, method, path, query, headers: (query, {name: value})


def of_peer(token):
    """Sends the internal token as the peer does."""
    sent = {"x-fs-internal-token": token}
    return lambda node, method, path, query, headers: (f"{query}&source={PEER}" if query else f"source={PEER}", sent)


KEYS = {
    "the S3 key": (by_sigv4(None, "a-secret-of-nodes"), "s3"),
    "the S3 key by version 2": (by_sigv2(None, ""), "s3"),
    "the admin key": (by_sigv4("administrator", ADMIN), "admin"),
    "the internal token": (of_peer(INTERNAL), "internal"),
    "the metrics token": (with_header("authorization", f"Bearer {METRICS}"), "metrics"),
    "the admin key with the S3 secret": (by_sigv4("administrator", "a-secret-of-nodes"), None),
    "the S3 key with the admin secret": (by_sigv4(None, ADMIN), None),
    "the S3 key with the internal token for a secret": (by_sigv4(None, INTERNAL), None),
    "the admin key by version 2": (by_sigv2("administrator", ADMIN), None),
    "the S3 key by version 2 with another secret": (by_sigv2(None, "another"), None),
    "the S3 key in a URL of version 2 with another secret": (by_sigv2_query(None, "another"), None),
    "the internal token as a bearer": (with_header("authorization", f"Bearer {INTERNAL}"), None),
    "the metrics token as the internal one": (of_peer(METRICS), None),
    "the admin secret as the internal token": (of_peer(ADMIN), None),
    "the built-in internal token": (of_peer("internal-replication-token"), None),
    "the S3 secret as a bearer": (with_header("authorization", "Bearer a-secret-of-nodes"), None),
}


@pytest.mark.parametrize("name", KEYS)
def test_a_key_opens_its_own_routes_and_no_others(doors, name):
    sign, own = KEYS[name]
    wrong, seen = [], Counter()
    connection = RawConnection(doors)
    for method, path, query, headers in requests_of_all_routes(BUCKET):
        door = door_of(path, method)
        if not door or action_of(method, path, query, headers) in UNSIGNED:
            continue
        if own == "s3" and door == "s3" and method != "GET":
            continue  # it would be carried out: what the S3 key may do is tested elsewhere
        sent = {"host": f"{doors.host}:{doors.port}", **headers, **({"content-length": "0"} if method in ("PUT", "POST", "PATCH") else {})}
        signed_query, added = sign(doors, method, path, query, sent)
        answer, connection = exchange(doors, connection, method, f"{path}?{signed_query}" if signed_query else path, sent | added)
        opened = answer.status not in DENIED
        if door == "s3" and answer.status == 404 and bucket_of(path) not in ("", BUCKET):
            opened = False  # that there is no such bucket is said to everybody, as by AWS
        seen[door, opened] += 1
        # A request of the owner may be wrong in other ways than that he may not make it.
        if opened != (door == own) and not (door == own and answer.status == 400):
            wrong.append((method, path, query, answer.status, answer.content[:200]))
    connection.close()
    assert not wrong
    assert {door for door, _ in seen} == {"s3", "admin", "internal", "metrics"}
    assert [door for door in ("s3", "admin", "internal", "metrics") if seen[door, True]] == ([own] if own else [])
    with doors.client() as client:
        assert client.get(BUCKET, "key").content == b"guarded"
