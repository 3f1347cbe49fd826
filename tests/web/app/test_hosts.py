"""Virtual hosts and trusted proxies in the application: which bucket a host names, who the client is, and whom nobody believes."""

from io import BytesIO

import pytest
from defusedxml.ElementTree import fromstring

from fasterstore.s3.signer import presign_v4
from fasterstore.settings import load
from web.client_address import Addressing
from web.context import Request

DOMAIN = "s3.example.org"
HOST = {"host": f"box.{DOMAIN}"}
RESERVED = ["/metrics", "/healthz", "/readyz", "/_admin/actors", "/_admin", "/_internal/entries", "/minio/health/live"]


def code_of(answer):
    return answer.status, fromstring(answer.body).findtext("Code")


@pytest.fixture
def hosted(new_store):
    """A store with FS_DOMAIN and the buckets `box` and `my.box`."""
    store = new_store(FS_DOMAIN="S3.Example.org")
    store.make_bucket("box")
    store.make_bucket("my.box")
    return store


@pytest.mark.parametrize("host", ["box.s3.example.org", "box.s3.example.org:9000", "BOX.s3.EXAMPLE.org", "box.s3.example.org."])
def test_a_host_under_the_domain_names_the_bucket(hosted, host):
    headers = {"host": host}
    assert hosted.send("PUT", "/a/b%20c", b"body", headers).status == 200
    assert hosted.send("GET", "/a/b%20c", headers=headers).body == b"body"
    assert hosted.send("GET", "/box/a/b%20c").body == b"body"
    assert hosted.send("HEAD", "/", headers=headers).headers["x-amz-bucket-region"] == "us-east-1"
    assert code_of(hosted.send("GET", "/box/a/b%20c", headers=headers)) == (404, "NoSuchKey")


def test_a_bucket_may_have_dots(hosted):
    assert hosted.send("PUT", "/k", b"dotted", {"host": f"my.box.{DOMAIN}"}).status == 200
    assert hosted.send("GET", "/my.box/k").body == b"dotted"


@pytest.mark.parametrize("host", [DOMAIN, f"{DOMAIN}:9000", "127.0.0.1", "[::1]:9000", "localhost", "other.example.org", f"x{DOMAIN}"])
def test_every_other_host_speaks_path_style(hosted, host):
    assert hosted.send("PUT", "/box/k", b"body", {"host": host}).status == 200
    assert hosted.send("GET", "/box/k", headers={"host": host}).body == b"body"
    assert hosted.send("GET", "/", headers={"host": host}).body.count(b"<Bucket>") == 2
    assert hosted.send("GET", "/healthz", headers={"host": host}, sign="none").status == 200


@pytest.mark.parametrize("path", RESERVED)
def test_on_a_virtual_host_every_path_is_a_key(hosted, path):
    assert hosted.send("PUT", path, b"an object", HOST).status == 200
    assert hosted.send("GET", path, headers=HOST).body == b"an object"
    assert code_of(hosted.send("GET", path, headers=HOST, sign="none")) == (403, "AccessDenied")
    assert hosted.send("GET", f"/box{path}").body == b"an object"


def test_a_bucket_that_is_not_there_is_missed_as_in_a_path(hosted):
    assert code_of(hosted.send("GET", "/k", headers={"host": f"nobody.{DOMAIN}"})) == (404, "NoSuchBucket")
    assert code_of(hosted.send("PUT", "/", headers={"host": f"no_name.{DOMAIN}"})) == (400, "InvalidBucketName")
    assert hosted.send("PUT", "/", headers={"host": f"new-one.{DOMAIN}"}).status == 200
    assert code_of(hosted.send("GET", "/%zz", headers=HOST)) == (400, "InvalidURI")
    assert code_of(hosted.send("GET", "/" + "k" * 1025, headers=HOST)) == (400, "KeyTooLongError")


def test_without_the_setting_a_host_means_nothing(store):
    assert store.send("PUT", "/box/k", b"body", HOST).status == 200
    assert store.send("GET", "/healthz", headers=HOST, sign="none").status == 200
    assert code_of(store.send("GET", "/key", headers=HOST)) == (404, "NoSuchBucket")


def test_a_signature_of_one_bucket_opens_no_other(hosted):
    hosted.make_bucket("other")
    hosted.send("PUT", "/other/k", b"secret")
    query = presign_v4("GET", "/k", "", HOST, hosted.credentials, hosted.now_ms() // 1000, 60)
    assert code_of(hosted.send("GET", f"/k?{query}", headers=HOST, sign="none")) == (404, "NoSuchKey")
    assert code_of(hosted.send("GET", f"/k?{query}", headers={"host": f"other.{DOMAIN}"}, sign="none")) == (403, "SignatureDoesNotMatch")
    assert code_of(hosted.send("GET", "/k", headers=HOST, sign="xfs")) == (400, "InvalidRequest")


def test_a_server_that_is_not_ours_serves_virtual_hosts_too(hosted):
    assert hosted.send("PUT", "/metrics", b"body", HOST, stock=True).status == 200
    assert hosted.send("GET", "/metrics", headers=HOST, stock=True).body == b"body"


def test_a_form_sent_to_a_virtual_host_says_where_its_file_is(new_store):
    store = new_store(FS_DOMAIN=DOMAIN, FS_AUTH_ENABLED="false", FS_TRUSTED_PROXIES="127.0.0.1")
    store.make_bucket("box")
    body = (
        b'--X\r\nContent-Disposition: form-data; name="key"\r\n\r\na/b\r\n'
        b'--X\r\nContent-Disposition: form-data; name="success_action_status"\r\n\r\n201\r\n'
        b'--X\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\nbytes\r\n--X--\r\n'
    )
    headers = {**HOST, "content-type": "multipart/form-data; boundary=X"}
    answer = store.send("POST", "/", body, headers, sign="none")
    assert fromstring(answer.body).findtext("Location") == f"http://box.{DOMAIN}/a%2Fb"
    answer = store.send("POST", "/", body, {**headers, "x-forwarded-proto": "https"}, sign="none")
    assert answer.headers["location"] == f"https://box.{DOMAIN}/a%2Fb"
    assert store.send("GET", "/box/a/b").body == b"bytes"


# ---- trusted proxies ----

PROXY = "10.0.0.1"


@pytest.fixture
def proxied(new_store):
    store = new_store(FS_TRUSTED_PROXIES="10.0.0.0/8, fd00::/8", FS_DOMAIN=DOMAIN)
    store.make_bucket("box")
    return store


def signed_for(store, host, peer, **forwarded):
    """A GET of a key, signed for `host`, that arrives from `peer` with another Host."""
    query = presign_v4("GET", "/box/k", "", {"host": host}, store.credentials, store.now_ms() // 1000, 60)
    headers = {"host": "backend:9000", **{name.replace("_", "-"): value for name, value in forwarded.items()}}
    return store.send("GET", f"/box/k?{query}", headers=headers, sign="none", peer=peer)


@pytest.mark.parametrize("forwarded", ["s3.mine.org", "s3.mine.org, 10.0.0.7", " s3.mine.org ,x"])
def test_the_host_that_a_trusted_proxy_forwards_is_the_one_that_was_signed(proxied, forwarded):
    proxied.send("PUT", "/box/k", b"body")
    assert signed_for(proxied, "s3.mine.org", PROXY, x_forwarded_host=forwarded).body == b"body"
    assert signed_for(proxied, "backend:9000", PROXY).body == b"body"
    assert code_of(signed_for(proxied, "backend:9000", PROXY, x_forwarded_host=forwarded)) == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("peer", ["192.0.2.1", "11.0.0.1", "127.0.0.1", "::1", "fe80::1", ""])
def test_nobody_else_is_believed(proxied, peer):
    proxied.send("PUT", "/box/k", b"body")
    assert code_of(signed_for(proxied, "s3.mine.org", peer, x_forwarded_host="s3.mine.org")) == (403, "SignatureDoesNotMatch")
    assert signed_for(proxied, "backend:9000", peer, x_forwarded_host="s3.mine.org").body == b"body"
    hosted = proxied.send("GET", "/key", headers={"host": "backend", "x-forwarded-host": f"box.{DOMAIN}"}, peer=peer)
    assert code_of(hosted) == (404, "NoSuchBucket")


def test_a_forwarded_host_may_name_a_bucket(proxied):
    proxied.send("PUT", "/box/metrics", b"body")
    query = presign_v4("GET", "/metrics", "", {"host": f"box.{DOMAIN}"}, proxied.credentials, proxied.now_ms() // 1000, 60)
    headers = {"host": "backend", "x-forwarded-host": f"box.{DOMAIN}"}
    for stock in (False, True):
        answer = proxied.send("GET", f"/metrics?{query}", headers=headers, sign="none", peer=PROXY, stock=stock)
        assert answer.body == b"body"


@pytest.mark.parametrize("forwarded", ["", ",", "a b", "host/path", "evil.org:port", "x" * 300, "a@b", "h\u00f6st"])
def test_a_forwarded_host_that_is_none_is_ignored(proxied, forwarded):
    proxied.send("PUT", "/box/k", b"body")
    assert signed_for(proxied, "backend:9000", PROXY, x_forwarded_host=forwarded).body == b"body"


def origin(peer, proxies="10.0.0.0/8, fd00::/8", **forwarded):
    """(client_ip, is_secure) of a request from `peer`."""
    settings = load({"FS_SECRET_KEY": "some-secret", "FS_TRUSTED_PROXIES": proxies}, cores=1)
    environ = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": "/box/k",
        "fs.headers": {"host": "h"},
        "fs.peer": (peer, 1),
        "wsgi.input": BytesIO(),
        **{f"HTTP_{name.upper()}": value for name, value in forwarded.items()},
    }
    Addressing(settings.domain, settings.trusted_proxies).apply(environ)
    request = Request(environ, "ID", 0.0)
    assert request.peer_ip == peer
    return request.client_ip, request.is_secure


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "203.0.113.9, 192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "203.0.113.9,192.0.2.7, 10.1.1.1 ,10.2.2.2", "192.0.2.7"),
        ("10.0.0.1", "10.1.1.1, 10.2.2.2", "10.1.1.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", " , ", "10.0.0.1"),
        ("10.0.0.1", "192.0.2.7:4711", "192.0.2.7"),
        ("10.0.0.1", "[2001:db8::7]:4711", "2001:db8::7"),
        ("10.0.0.1", "[2001:db8::7]", "2001:db8::7"),
        ("10.0.0.1", "2001:DB8:0::7", "2001:db8::7"),
        ("10.0.0.1", "::ffff:192.0.2.7", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7, ::ffff:10.1.1.1", "192.0.2.7"),
        ("10.0.0.1", "192.0.2.7, unknown", ""),
        ("10.0.0.1", "unix:", ""),
        ("10.0.0.1", "192.0.2.7, 10.0.0.999", ""),
        ("10.0.0.1", "unknown, 192.0.2.7", "192.0.2.7"),
        ("::ffff:10.0.0.1", "192.0.2.7", "192.0.2.7"),
        ("fd00::1", "192.0.2.7", "192.0.2.7"),
        ("192.0.2.1", "10.0.0.5", "192.0.2.1"),
        ("::1", "10.0.0.5", "::1"),
        ("", "10.0.0.5", ""),
    ],
)
def test_the_client_is_the_last_address_that_is_no_trusted_proxy(peer, forwarded_for, client):
    assert origin(peer, x_forwarded_for=forwarded_for)[0] == client


@pytest.mark.parametrize(
    ("peer", "proto", "secure"),
    [
        ("10.0.0.1", "https", True),
        ("10.0.0.1", "HTTPS", True),
        ("10.0.0.1", "http, https", True),
        ("10.0.0.1", "https, http", False),
        ("10.0.0.1", "http", False),
        ("10.0.0.1", "", False),
        ("10.0.0.1", "httpsx", False),
        ("192.0.2.1", "https", False),
    ],
)
def test_only_a_trusted_proxy_says_that_the_client_spoke_tls(peer, proto, secure):
    assert origin(peer, x_forwarded_proto=proto)[1] is secure


def test_a_trusted_proxy_makes_nobody_local(new_store):
    store = new_store(FS_ACCESS_KEY="test-key", FS_SECRET_KEY="faster-secret-key", FS_TRUSTED_PROXIES="127.0.0.0/8")
    credentials = store.credentials._replace(secret_key="faster-secret-key")
    assert store.send("GET", "/", credentials=credentials).status == 200
    for forwarded in ({"x-forwarded-for": "127.0.0.1"}, {"x-forwarded-host": "localhost"}, {"x-forwarded-proto": "https"}):
        assert code_of(store.send("GET", "/", headers=forwarded, credentials=credentials)) == (403, "AccessDenied")
