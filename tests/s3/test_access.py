"""What settings open and close: the built-in secret, FS_AUTH_ENABLED=false, the admin key, the internal and the metrics token."""

import pytest
import requests

from tests.node import RunningNode
from tests.raw_connection import request_bytes, signed_request
from tests.refusal import assert_refused

FORWARDED = [
    {"x-forwarded-for": "127.0.0.1"},
    {"x-forwarded-host": "localhost"},
    {"x-real-ip": "127.0.0.1"},
    {"forwarded": "for=127.0.0.1"},
]


def plain(node, method, path, body=b"", **headers):
    """An unsigned request."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.request(method, node.endpoint + path, data=body or None, headers=sent, timeout=10)


def test_the_built_in_secret_is_honoured_only_for_clients_of_this_machine(start_node, connect):
    node = start_node(FS_ACCESS_KEY="faster", FS_SECRET_KEY="faster-secret-key")
    node.client().create_bucket("box")
    for scheme in ("sigv4", "x-fs"):
        for header in FORWARDED:
            connection = connect(node)
            connection.send(signed_request(node, "PUT", "/box/key", header, b"body", scheme=scheme))
            found = assert_refused(connection.answer(), 403, "AccessDenied")
            assert "FS_SECRET_KEY" in found["Message"]
            connection.send(signed_request(node, "GET", "/_admin/actors", header, scheme=scheme))
            assert_refused(connection.answer(), 403, "AccessDenied")
        connection = connect(node)
        connection.send(signed_request(node, "PUT", "/box/key", {}, b"body", scheme=scheme))
        assert connection.answer().status == 200
    assert node.usage("box") == (1, 4)


def test_a_secret_of_ones_own_is_honoured_behind_a_proxy(node, connect, bucket):
    for header in FORWARDED:
        connection = connect()
        connection.send(signed_request(node, "PUT", f"/{bucket}/key", header, b"body"))
        assert connection.answer().status == 200


@pytest.fixture(scope="module")
def open_node(tmp_path_factory):
    with RunningNode(tmp_path_factory.mktemp("open") / "data", {"FS_AUTH_ENABLED": "false"}) as running:
        running.client("none").create_bucket("box")
        yield running


def test_the_s3_routes_are_open(open_node):
    body = b"x" * 400_000
    assert plain(open_node, "PUT", "/box/key", body).status_code == 200
    assert plain(open_node, "GET", "/box/key").content == body
    assert plain(open_node, "GET", "/").status_code == 200
    assert plain(open_node, "DELETE", "/box/key").status_code == 204


def test_what_clients_say_of_their_bytes_is_verified_all_the_same(open_node):
    wrong = plain(open_node, "PUT", "/box/wrong", b"body", x_amz_checksum_crc32="AAAAAA==")
    assert_refused(wrong, 400, "BadDigest")
    assert_refused(plain(open_node, "PUT", "/box/wrong", b"body", x_amz_content_sha256="0" * 64), 400, "XAmzContentSHA256Mismatch")
    assert plain(open_node, "GET", "/box/wrong").status_code == 404


def test_a_signing_client_still_works(open_node):
    for scheme in ("sigv4", "x-fs"):
        with open_node.client(scheme) as client:
            client.put("box", "signed", b"body")
            assert client.get("box", "signed").content == b"body"
    with open_node.client() as client:
        assert client.put_chunked("box", "chunked", [b"bo", b"dy"]).status_code == 200
        assert client.get("box", "chunked").content == b"body"


def test_internal_routes_stay_closed(open_node):
    for headers in ({}, {"x_fs_internal_token": "internal-replication-token"}):
        assert_refused(plain(open_node, "GET", "/_internal/entries", **headers), 403, "AccessDenied")


def test_admin_routes_are_open_to_this_machine_only(open_node):
    assert plain(open_node, "GET", "/_admin/actors").status_code == 200
    for header in FORWARDED:
        assert_refused(plain(open_node, "GET", "/_admin/actors", **header), 403, "AccessDenied")


OPERATED = {"FS_ADMIN_ACCESS_KEY": "operator", "FS_ADMIN_SECRET_KEY": "operators-own-secret", "FS_INTERNAL_TOKEN": "between-our-nodes"}


@pytest.fixture(scope="module")
def operated(tmp_path_factory):
    with RunningNode(tmp_path_factory.mktemp("operated") / "data", OPERATED) as running:
        running.client().create_bucket("box")
        yield running


@pytest.mark.parametrize("scheme", ["sigv4", "x-fs"])
def test_admin_routes_accept_only_the_admin_key(operated, scheme):
    with operated.client(scheme) as owner:
        assert_refused(owner.send("GET", "/_admin/actors"), 403, "InvalidAccessKeyId")
    with operated.client(scheme, access_key="operator", secret_key="operators-own-secret") as operator:
        answer = operator.send("GET", "/_admin/actors")
        assert answer.status_code == 200
        names = {(actor["process"], actor["name"]) for actor in answer.json()["actors"]}
        assert {("storage", "metadata-journal"), ("storage", "segment-writer"), ("worker-1", "cache")} <= names
    with operated.client(scheme, access_key="operator") as wrong:
        assert_refused(wrong.send("GET", "/_admin/actors"), 403, "SignatureDoesNotMatch")


def test_the_admin_key_owns_no_bucket(operated):
    with operated.client(access_key="operator", secret_key="operators-own-secret") as operator:
        assert_refused(operator.request("GET", "box", "key"), 403, "InvalidAccessKeyId")
        assert_refused(operator.request("PUT", "box", "key", body=b"x"), 403, "InvalidAccessKeyId")


def test_internal_routes_accept_only_their_token(operated):
    assert_refused(plain(operated, "GET", "/_internal/entries", x_fs_internal_token="between-our-nodes"), 501, "NotImplemented")
    for headers in ({}, {"x_fs_internal_token": "internal-replication-token"}, {"x_fs_internal_token": "between-our-node"}):
        assert_refused(plain(operated, "GET", "/_internal/entries", **headers), 403, "AccessDenied")
    with operated.client() as owner:
        assert_refused(owner.send("GET", "/_internal/entries"), 403, "AccessDenied")
    assert_refused(plain(operated, "GET", "/box", x_fs_internal_token="between-our-nodes"), 403, "AccessDenied")


def test_metrics_ask_for_their_token_and_health_does_not(start_node):
    node = start_node(FS_METRICS_TOKEN="scraper-token")
    assert plain(node, "GET", "/metrics", authorization="Bearer scraper-token").status_code == 200
    for headers in ({}, {"authorization": "Bearer wrong"}, {"authorization": "scraper-token"}, {"authorization": "Basic scraper-token"}):
        answer = plain(node, "GET", "/metrics", **headers)
        assert_refused(answer, 403, "AccessDenied")
        assert b"fasterstore_" not in answer.content
    for path in ("/healthz", "/readyz"):
        assert plain(node, "GET", path).status_code == 200


def test_no_secret_is_ever_logged(start_node, connect):
    settings = {
        "FS_SECRET_KEY": "never-to-be-seen-1",
        "FS_ADMIN_SECRET_KEY": "never-to-be-seen-2",
        "FS_INTERNAL_TOKEN": "never-to-be-seen-3",
        "FS_METRICS_TOKEN": "never-to-be-seen-4",
    }
    node = start_node(**settings)
    client = node.client()
    client.create_bucket("box")
    client.send_presigned("GET", client.presign("GET", "box", "key"))
    connection = connect(node)
    connection.send(
        request_bytes("GET", "/box/key?X-Amz-Signature=never-to-be-seen-5", {"host": "localhost", "authorization": "never-to-be-seen-6"})
    )
    connection.answer()
    node.stop()
    assert "never-to-be-seen" not in node.log()
