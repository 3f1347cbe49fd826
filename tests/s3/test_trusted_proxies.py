"""A real nginx in front, and forwarding headers made by hand: what a trusted proxy says counts, what anybody else says does not."""

import contextlib
import json
import os
import shutil
import socket
import subprocess
import time

import pytest
import requests
from requests.adapters import HTTPAdapter

from tests.node import RunningNode
from tests.raw_connection import RawConnection, request_bytes, signed_request
from tests.refusal import assert_refused
from tools.client import Client

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
needs_nginx = pytest.mark.skipif(NGINX is None, reason="nginx is not installed (Debian package nginx)")
DOMAIN = "s3.proxied.test"
START_SECS = 30.0

_CONFIGURATION = """
daemon off;
{user}
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    client_max_body_size 0;
    proxy_http_version 1.1;
    proxy_request_buffering off;
    proxy_set_header Host backend.internal;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    server {{ listen 127.0.0.1:{plain_port}; location / {{ proxy_pass {node}; }} }}
    server {{
        listen 127.0.0.1:{tls_port} ssl;
        ssl_certificate {folder}/cert.pem;
        ssl_certificate_key {folder}/key.pem;
        location / {{ proxy_pass {node}; }}
    }}
}}
"""


class Nginx:
    """An nginx before a node. It is handed its listening sockets, as at an upgrade of its binary: no port can be taken in between."""

    def __init__(self, folder, node):
        self.folder = folder
        folder.mkdir()
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
            + ["-addext", "subjectAltName=IP:127.0.0.1"]
            + ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")],
            check=True,
            capture_output=True,
        )
        self._sockets = [socket.create_server(("127.0.0.1", 0), backlog=64) for _ in range(2)]
        self.plain_port, self.tls_port = (one.getsockname()[1] for one in self._sockets)
        user = "user root;" if os.geteuid() == 0 else ""
        text = _CONFIGURATION.format(
            folder=folder, user=user, node=node.endpoint, plain_port=self.plain_port, tls_port=self.tls_port
        )  # fmt: skip
        (folder / "nginx.conf").write_text(text)
        fds = [one.fileno() for one in self._sockets]
        environ = {"PATH": os.environ.get("PATH", os.defpath), "NGINX": "".join(f"{fd};" for fd in fds)}
        command = [NGINX, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
        self._log = open(folder / "output.log", "wb")  # noqa: SIM115
        self._process = subprocess.Popen(command, env=environ, pass_fds=fds, stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL)
        self._wait()

    def _wait(self):
        deadline = time.monotonic() + START_SECS
        while time.monotonic() < deadline and self._process.poll() is None:
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"http://127.0.0.1:{self.plain_port}/healthz", timeout=5).status_code == 200:
                    return
            time.sleep(0.05)
        self.stop()
        logs = "".join((self.folder / name).read_text() for name in ("error.log", "output.log") if (self.folder / name).exists())
        raise RuntimeError(f"nginx did not start:\n{logs}")

    @property
    def certificate(self):
        """The file of the certificate that it shows."""
        return str(self.folder / "cert.pem")

    def stop(self):
        """End it, and whatever it started."""
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        for one in self._sockets:
            one.close()
        self._log.close()


@pytest.fixture(scope="module")
def trusting(tmp_path_factory):
    """A node that trusts this machine's proxy, which always connects from 127.0.0.1."""
    settings = {"FS_TRUSTED_PROXIES": "127.0.0.1, ::1", "FS_DOMAIN": DOMAIN}
    with RunningNode(tmp_path_factory.mktemp("trusting") / "data", settings) as running:
        running.client().create_bucket("box")
        yield running


@pytest.fixture(scope="module")
def nginx(tmp_path_factory, trusting):
    running = Nginx(tmp_path_factory.mktemp("nginx") / "run", trusting)
    yield running
    running.stop()


def through(proxy, node):
    """A client that knows only the proxy."""
    return Client(f"http://127.0.0.1:{proxy.plain_port}", node.credentials.access_key, node.credentials.secret_key)


class FromAddress(HTTPAdapter):
    """Connects from a loopback address of its own."""

    def __init__(self, address):
        self._address = address
        super().__init__()

    def init_poolmanager(self, *arguments, **options):
        super().init_poolmanager(*arguments, source_address=(self._address, 0), **options)


def get_from(address, url, headers=None, certificate=None):
    """GET, from one of this machine's addresses."""
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", FromAddress(address))
        session.mount("https://", FromAddress(address))
        return session.get(url, headers=headers, timeout=30, verify=certificate)


@needs_nginx
def test_signatures_hold_behind_nginx(nginx, trusting):
    with through(nginx, trusting) as client:
        for key in ("plain", "a b/ü+%", "a//b/../c", "line\nbreak", "q?x=1&y"):
            body = os.urandom(300_000)
            assert client.put("box", key, body).status_code == 200
            assert client.get("box", key).content == body
            assert client.get("box", key, {"range": "bytes=5-9"}).content == body[5:10]
        url = client.presign("GET", "box", "plain")
        assert requests.get(url, timeout=30).status_code == 200
        assert client.put_chunked("box", "chunked", [b"x" * 100_000, b"y"]).status_code == 200
        wrong = client.request("GET", "box", "missing")
        assert_refused(wrong, 404, "NoSuchKey")


@needs_nginx
def test_virtual_hosts_work_behind_nginx(nginx, trusting):
    host = {"host": f"box.{DOMAIN}"}
    with socket.create_connection(("127.0.0.1", nginx.plain_port), timeout=30) as connection:
        connection.sendall(signed_request(trusting, "PUT", "/metrics", {**host, "connection": "close"}, b"by host"))
        with connection.makefile("rb") as answer:
            assert answer.readline() == b"HTTP/1.1 200 OK\r\n"
    with trusting.client() as client:
        assert client.get("box", "metrics").content == b"by host"


@needs_nginx
def test_without_trust_the_forwarded_host_does_not_count(tmp_path, start_node):
    node = start_node(FS_TRUSTED_PROXIES="192.0.2.0/24")
    running = Nginx(tmp_path / "nginx", node)
    try:
        with through(running, node) as client:
            assert_refused(client.request("GET"), 403, "SignatureDoesNotMatch")
    finally:
        running.stop()


def public_read(node, condition):
    """Let everybody read box/open where the condition holds."""
    statement = {
        "Effect": "Allow",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::box/open",
        "Condition": condition,
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()
    with node.client() as client:
        client.put("box", "open", b"for some")
        answer = client.send("PUT", "/box", "policy", body=policy)
        assert answer.status_code in (200, 204), answer.content


@needs_nginx
def test_policies_see_the_clients_address_behind_nginx(nginx, trusting):
    public_read(trusting, {"IpAddress": {"aws:SourceIp": "127.0.0.2/32"}})
    url = f"http://127.0.0.1:{nginx.plain_port}/box/open"
    assert get_from("127.0.0.2", url).content == b"for some"
    for address, headers in (
        ("127.0.0.3", None),
        ("127.0.0.3", {"x-forwarded-for": "127.0.0.2"}),
        ("127.0.0.3", {"x-forwarded-for": "127.0.0.2, 127.0.0.1"}),
        ("127.0.0.3", {"x-real-ip": "127.0.0.2", "forwarded": "for=127.0.0.2"}),
    ):
        assert_refused(get_from(address, url, headers), 403, "AccessDenied")


@needs_nginx
def test_policies_see_that_the_client_spoke_tls_to_nginx(nginx, trusting):
    public_read(trusting, {"Bool": {"aws:SecureTransport": "true"}})
    secure = f"https://127.0.0.1:{nginx.tls_port}/box/open"
    assert get_from("127.0.0.2", secure, certificate=nginx.certificate).content == b"for some"
    plain = f"http://127.0.0.1:{nginx.plain_port}/box/open"
    assert_refused(get_from("127.0.0.2", plain), 403, "AccessDenied")
    assert_refused(get_from("127.0.0.2", plain, {"x-forwarded-proto": "https"}), 403, "AccessDenied")


def test_who_connects_from_elsewhere_is_believed_nothing(trusting):
    public_read(trusting, {"IpAddress": {"aws:SourceIp": "127.0.0.2/32"}, "Bool": {"aws:SecureTransport": "true"}})
    url = f"{trusting.endpoint}/box/open"
    claims = {"x-forwarded-for": "127.0.0.2", "x-forwarded-proto": "https", "x-forwarded-host": f"box.{DOMAIN}"}
    assert_refused(get_from("127.0.0.2", url, claims), 403, "AccessDenied")
    assert_refused(get_from("127.0.0.3", url, claims), 403, "AccessDenied")
    believed = {"x-forwarded-for": "127.0.0.2", "x-forwarded-proto": "https"}
    assert get_from("127.0.0.1", url, believed).content == b"for some"
    assert_refused(get_from("127.0.0.1", url, believed | {"x-forwarded-for": "127.0.0.2, 127.0.0.4"}), 403, "AccessDenied")


def test_a_trusted_proxy_opens_nothing_that_is_for_this_machine_alone(start_node):
    node = start_node(FS_ACCESS_KEY="faster", FS_SECRET_KEY="faster-secret-key", FS_TRUSTED_PROXIES="127.0.0.0/8")
    with RawConnection(node) as connection:
        connection.send(signed_request(node, "GET", "/"))
        assert connection.answer().status == 200
        for header in ({"x-forwarded-for": "127.0.0.1"}, {"x-forwarded-proto": "https"}, {"x-forwarded-host": "localhost"}):
            connection.send(signed_request(node, "GET", "/", header))
            assert connection.answer().status == 403
        connection.send(request_bytes("GET", "/_admin/actors", {"host": "localhost", "x-forwarded-for": "127.0.0.1"}))
        assert connection.answer().status == 403
