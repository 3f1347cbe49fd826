"""CORS over HTTP, as a browser does it: preflight without a signature, then the request itself by a presigned URL."""

import pytest
import requests

from tests.raw_connection import request_bytes
from tests.refusal import assert_refused

ORIGIN = "https://app.example"
RULES = (
    b"<CORSConfiguration><CORSRule><AllowedOrigin>https://app.example</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"
    b"<AllowedMethod>PUT</AllowedMethod><AllowedHeader>content-type</AllowedHeader><ExposeHeader>ETag</ExposeHeader>"
    b"<MaxAgeSeconds>600</MaxAgeSeconds></CORSRule></CORSConfiguration>"
)
ASKING = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "Content-Type"}


@pytest.fixture
def shared(client, bucket):
    """A bucket that may be used from ORIGIN."""
    assert client.request("PUT", bucket, query=[("cors", "")], body=RULES).status_code == 200
    return bucket


def test_a_browser_uploads_and_downloads_by_presigned_urls(client, shared):
    put = client.presign("PUT", shared, "key")
    asked = requests.options(put, headers=ASKING, timeout=30)
    assert (asked.status_code, asked.content) == (200, b"")
    assert asked.headers["access-control-allow-origin"] == ORIGIN
    assert asked.headers["access-control-allow-methods"] == "GET, PUT"
    assert asked.headers["access-control-allow-headers"] == "content-type"
    assert asked.headers["access-control-max-age"] == "600"
    sent = requests.put(put, data=b"body" * 100_000, headers={"Origin": ORIGIN, "Content-Type": "text/plain"}, timeout=30)
    assert (sent.status_code, sent.headers["access-control-allow-origin"]) == (200, ORIGIN)
    assert sent.headers["access-control-expose-headers"] == "ETag"
    got = requests.get(client.presign("GET", shared, "key"), headers={"Origin": ORIGIN}, timeout=30)
    assert (got.content, got.headers["access-control-allow-origin"]) == (b"body" * 100_000, ORIGIN)
    assert "Origin" in got.headers["vary"]


def test_a_refusal_can_be_read_by_the_page_that_asked(client, shared):
    answer = requests.get(client.presign("GET", shared, "missing"), headers={"Origin": ORIGIN}, timeout=30)
    assert_refused(answer, 404, "NoSuchKey")
    assert answer.headers["access-control-allow-origin"] == ORIGIN


def test_another_origin_is_told_nothing(node, client, shared):
    client.put(shared, "key", b"body")
    target = f"{node.endpoint}/{shared}/key"
    refused = assert_refused(
        requests.options(target, headers={**ASKING, "Origin": "https://evil.example"}, timeout=30), 403, "AccessForbidden"
    )
    assert refused["Method"] == "PUT"
    answer = requests.get(client.presign("GET", shared, "key"), headers={"Origin": "https://evil.example"}, timeout=30)
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers


def test_a_preflight_without_origin_or_rules_is_refused(node, shared, client):
    assert_refused(requests.options(f"{node.endpoint}/{shared}/key", timeout=30), 400, "BadRequest")
    client.request("DELETE", shared, query=[("cors", "")])
    assert_refused(requests.options(f"{node.endpoint}/{shared}/key", headers=ASKING, timeout=30), 403, "AccessForbidden")


def test_the_connection_goes_on_after_a_preflight(connect, shared):
    connection = connect()
    for _ in range(3):
        connection.send(request_bytes("OPTIONS", f"/{shared}/key", {"host": "localhost", **ASKING}))
        answer = connection.answer()
        assert (answer.status, answer.headers["content-length"]) == (200, "0")
        assert answer.headers["access-control-allow-origin"] == ORIGIN


def test_every_worker_follows_new_rules_at_once(node, client, shared):
    """The node has two workers; a new connection for every request meets both."""
    target = f"{node.endpoint}/{shared}/key"
    for number in range(4):
        origin = f"https://number-{number}.example"
        rules = RULES.replace(ORIGIN.encode(), origin.encode())
        assert client.request("PUT", shared, query=[("cors", "")], body=rules).status_code == 200
        for _ in range(4):
            answer = requests.options(target, headers={**ASKING, "Origin": origin, "Connection": "close"}, timeout=30)
            assert (answer.status_code, answer.headers.get("access-control-allow-origin")) == (200, origin)
            assert requests.options(target, headers={**ASKING, "Connection": "close"}, timeout=30).status_code == 403
