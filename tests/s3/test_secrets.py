"""Secrets appear nowhere: not in logs, error bodies, metrics, health, the inspector, command lines or the data dir, whatever goes wrong."""

import base64
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import requests

from fasterstore.s3 import signer
from tests.framing_corpus import REFUSED_HEADS
from tests.node import ROOT, node_environment
from tests.probe.eventually import eventually, gone
from tests.raw_connection import RawConnection, request_bytes, signed_request

PLANTED = f"{Path(__file__).parents[1] / 'probe' / 'planted'}:{ROOT}"
MASTER_KEY = base64.b64encode(b"zq6-core-of-the-master-key---zq6").decode()
SECRETS = {
    "FS_SECRET_KEY": 'zq1"core-of-the-secret\\zq1',
    "FS_ADMIN_SECRET_KEY": "zq2'core-of-the-admin-secret<zq2",
    "FS_INTERNAL_TOKEN": "zq3&core-of-the-internal-token>zq3",
    "FS_METRICS_TOKEN": "zq4%core-of-the-metrics-token~zq4",
    "FS_ENCRYPTION_KEY_BASE64": MASTER_KEY,
}
CUSTOMER_KEY = base64.b64encode(b"zq5-core-of-the-customer-key-zq5").decode()
_CORE = b"core-of-the-"
CORES = (_CORE.decode(), base64.b64encode(_CORE).decode()[:15], _CORE.hex(), _CORE.hex(" "), CUSTOMER_KEY[4:40], MASTER_KEY[4:40])
"""What survives every escaping of the secrets; in base64 and hex as far as it can be told apart."""
SESSION = "customer-session-token-value"


def customer_headers(prefix=""):
    """A client's own key as SSE-C sends it."""
    name = f"x-amz-{prefix}server-side-encryption-customer"
    return {f"{name}-algorithm": "AES256", f"{name}-key": CUSTOMER_KEY, f"{name}-key-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}


def wrongly_signed(node):
    """Requests of every scheme with a wrong secret, and with headers and queries that hold keys and tokens."""
    wrong, now = node.credentials._replace(secret_key="another-secret"), int(time.time())
    headers = {"host": "x", **customer_headers(), **customer_headers("copy-source-"), "x-amz-security-token": SESSION}
    v4, _ = signer.sign_v4_headers("GET", "/box/key", "", headers, "UNSIGNED-PAYLOAD", wrong, now)
    plain = {name: value for name, value in headers.items() if name != "x-amz-security-token"}
    v4_without, _ = signer.sign_v4_headers("GET", "/box/key", "", plain, "UNSIGNED-PAYLOAD", wrong, now)
    in_query = signer.canonical.encode_query([*customer_headers().items(), ("versionId", "null")])
    presigned = signer.presign_v4("GET", "/box/key", in_query, {"host": "x"}, wrong, now, 60)
    xfs = signer.sign_xfs("GET", "/box/key", in_query, "UNSIGNED-PAYLOAD", wrong, now)
    v2 = {"authorization": f"AWS {wrong.access_key}:AAAA", "x-amz-date": signer.canonical.format_timestamp(now)}
    return [
        request_bytes("GET", "/box/key", headers | v4),
        request_bytes("GET", "/box/key", plain | v4_without),
        request_bytes("GET", f"/box/key?{presigned}", {"host": "x"}),
        request_bytes("GET", f"/box/key?{in_query}", {"host": "x", **xfs}),
        request_bytes("GET", "/box/key", plain | v2),
        request_bytes("GET", f"/box/key?AWSAccessKeyId={wrong.access_key}&Signature=AAAA&Expires={now + 60}&{in_query}", {"host": "x"}),
    ]


def well_signed(node):
    """Requests of the owner with his keys in them: answered, or refused for another reason than the signature."""
    return [
        signed_request(node, "PUT", "/box/key", customer_headers(), b"body"),
        signed_request(node, "GET", "/box/missing", customer_headers()),
        signed_request(node, "PUT", "/box/copy", {"x-amz-copy-source": "/box/key", **customer_headers("copy-source-")}),
        signed_request(node, "PUT", "/box/key", {**customer_headers(), "x-amz-server-side-encryption-customer-algorithm": "x"}, b"body"),
        signed_request(node, "HEAD", "/box"),
        signed_request(node, "PUT", "/box/key", {"content-md5": "AAAA"}, b"body"),
    ]


def mixed_up():
    """A client that has put the secrets where they do not belong: it may be told what it sent, nobody else may."""
    found = []
    for secret in SECRETS.values():
        quoted = signer.canonical.uri_encode(secret.encode(), False)
        found += [
            request_bytes("GET", f"/{quoted}/{quoted}?{quoted}={quoted}", {"host": "x"}),
            request_bytes("GET", "/box/key", {"host": "x", "authorization": f"AWS {secret}:AAAA", "user-agent": secret}),
            request_bytes("GET", "/box/key", {"host": "x", "x-fs-access-key": secret, "x-fs-signature": secret}),
            request_bytes("GET", "/_internal/x", {"host": "x", "x-fs-internal-token": secret}),
            request_bytes("GET", "/_admin/actors", {"host": "x", "authorization": f"Bearer {secret}"}),
            request_bytes("GET", "/metrics", {"host": "x", "authorization": f"Bearer {secret}"}),
            request_bytes("GET", "/box/key", {"host": secret}),
            request_bytes("FETCH", f"/{quoted}", {"host": "x"}),
            REFUSED_HEADS["bare LF after a header"].replace(b"A: b", b"A: " + secret.encode()),
        ]
    return found


def answers_to(node, requests_):
    """Everything that the node says to each, on a connection of its own."""
    said = b""
    for raw in requests_:
        with RawConnection(node) as connection:
            connection.send(raw.replace(b"\r\n\r\n", b"\r\nconnection: close\r\n\r\n", 1))
            said += connection.rest()
    return said.decode("latin-1")


def leaks(text):
    """The forms of secrets that stand in `text`."""
    return [core for core in (*CORES, SESSION) if core in text]


def provoke(node):
    """Everything that the node says while all kinds of things go wrong, but what it says to a client about the secret it sent itself."""
    client = node.client()
    client.create_bucket("box")
    said = answers_to(node, [*wrongly_signed(node), *well_signed(node)])
    answers_to(node, mixed_up())
    for pid in (node.worker_pids()[0], node.storage_pid()):
        os.kill(pid, signal.SIGKILL)
        eventually(lambda pid=pid: gone(pid), "the process lives")
        said += requests.get(f"{node.endpoint}/readyz", timeout=10).text
        node.wait_ready()
    for path in ("/healthz", "/readyz", "/metrics", "/_admin/actors", "/_internal/x", "/box/key"):
        said += requests.get(node.endpoint + path, timeout=10).text
    said += requests.get(f"{node.endpoint}/metrics", headers={"authorization": f"Bearer {SECRETS['FS_METRICS_TOKEN']}"}, timeout=10).text
    inspected = subprocess.run(
        [sys.executable, "-m", "fasterstore", "actors", "--json"],
        env=node_environment(node.data_dir, 1, node.settings) | {"FS_ENDPOINT": node.endpoint},
        cwd=node.data_dir.parent,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert inspected.returncode == 0, inspected.stderr
    said += inspected.stdout + inspected.stderr
    said += "".join(Path(f"/proc/{pid}/cmdline").read_text() for pid in node.pids())
    return said


@pytest.mark.slow
@pytest.mark.parametrize("as_json", ["true", "false"])
@pytest.mark.parametrize("bug", ["chatty", "failing"])
def test_no_secret_is_said_or_logged_whatever_goes_wrong(bug, as_json, start_node):
    node = start_node(2, **SECRETS, FS_LOG_JSON=as_json, FS_ALLOW_SIGV2="true", PYTHONPATH=PLANTED, PLANTED_BUG=bug)
    said = provoke(node)
    assert "SignatureDoesNotMatch" in said and "fasterstore_http_defects" in said and '"segment-writer"' in said
    assert leaks(said) == []
    node.stop()
    log = node.log()
    assert ("secrets are" if bug == "chatty" else "cannot go on with ***") in log
    assert leaks(log) == []
    for path in node.data_dir.rglob("*"):
        if path.is_file():
            assert b"core-of-the-" not in path.read_bytes(), path


def test_a_log_that_is_not_blanked_out_would_be_seen(start_node):
    node = start_node(2, **SECRETS, FS_LOG_JSON="false", PYTHONPATH=PLANTED, PLANTED_BUG="unblanked")
    answers_to(node, mixed_up())
    assert leaks(node.log())


@pytest.mark.parametrize("name", SECRETS)
def test_a_start_that_is_refused_does_not_show_them(name, tmp_path):
    for change in ({name: SECRETS[name] + " and a space"}, {"FS_WORKERS": "many"}, {name: SECRETS[name] * 20}):
        ended = subprocess.run(
            [sys.executable, "-m", "fasterstore", "serve"],
            env=node_environment(tmp_path / "data", 1, SECRETS | change),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode != 0
        assert next(iter(change)) in ended.stderr
        assert leaks(ended.stdout + ended.stderr) == []
