"""S3 over HTTPS against real nodes: the store itself, the certificate that changes under it, and what stops the start."""

import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import warnings
from pathlib import Path

import boto3
import pytest
import requests
from boto3.s3.transfer import TransferConfig
from botocore.client import Config
from defusedxml.ElementTree import fromstring

from tests.certificates import Pair, der_of, make_certificate, openssl
from tests.node import ROOT, RunningNode, node_environment
from tests.probe.eventually import eventually
from tests.raw_connection import RawConnection, request_bytes
from tests.refusal import assert_refused

SIZES = {"empty": 0, "small": 100, "page": 4096, "collected": 100_000, "streamed": 3_000_000, "large": 20 << 20}


def tls_settings(pair: Pair, **more: str) -> dict[str, str]:
    return {"FS_TLS_CERT_PATH": pair.cert, "FS_TLS_KEY_PATH": pair.key, **more}


@pytest.fixture(scope="module")
def node(tmp_path_factory):
    """A node of two workers that speaks TLS."""
    folder = tmp_path_factory.mktemp("tls")
    with RunningNode(folder / "data", tls_settings(make_certificate(folder)), workers=2) as running:
        yield running


@pytest.fixture
def start_tls_node(tmp_path, start_node):
    """start_tls_node(workers=1, **settings) -> (node, its pair)."""

    def start(workers=1, **settings):
        pair = make_certificate(tmp_path / "live", days=10)
        return start_node(workers=workers, **tls_settings(pair, **settings)), pair

    return start


def boto(node):
    return boto3.client(
        "s3",
        endpoint_url=node.endpoint,
        aws_access_key_id=node.credentials.access_key,
        aws_secret_access_key=node.credentials.secret_key,
        region_name="us-east-1",
        verify=node.cert_path,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 0}),
    )


def served_der(node) -> bytes:
    """The certificate that a new connection gets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with socket.create_connection((node.host, node.port), timeout=10) as plain, context.wrap_socket(plain) as secured:
        found = secured.getpeercert(binary_form=True)
    assert found is not None
    return found


def readyz(node) -> requests.Response:
    with warnings.catch_warnings(action="ignore"):  # unverified: it is asked while certificates change
        return requests.get(f"{node.endpoint}/readyz", verify=False, timeout=10)


# ---- the store


@pytest.mark.parametrize("mode", ["true", "strict", "false"])
@pytest.mark.parametrize("cached", [False, True], ids=["no cache", "cache"])
def test_objects_of_every_size_and_their_ranges_come_back_unchanged(start_tls_node, mode, cached):
    node, _ = start_tls_node(FS_VERIFY_READS=mode, FS_CACHE_CAPACITY_MB="32" if cached else "0")
    client = node.client()
    client.create_bucket("box")
    for key, size_bytes in SIZES.items():
        body = os.urandom(size_bytes)
        client.put("box", key, body)
        for _ in range(2):
            assert client.get("box", key).content == body, key
        for first, last in ((0, 0), (262_143, 262_144), (1_048_575, 2_097_153), (5, 19_999_999)):
            if first < size_bytes:
                found = client.get("box", key, {"range": f"bytes={first}-{last}"})
                assert (found.status_code, found.content) == (206, body[first : last + 1])
    assert node.stop() == 0


def test_cold_objects_are_read_from_the_disk(start_tls_node):
    node, _ = start_tls_node(FS_CACHE_CAPACITY_MB="0")
    client = node.client()
    client.create_bucket("box")
    bodies = {f"k{number}": os.urandom(9_000_000) for number in range(3)}
    for key, body in bodies.items():
        client.put("box", key, body)
    for path in (node.data_dir / "segments").iterdir():
        fd = os.open(path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)
    for key, body in bodies.items():
        assert client.get("box", key).content == body
        assert client.get("box", key, {"range": "bytes=4000000-8000000"}).content == body[4_000_000:8_000_001]


def test_one_process_speaks_tls_too(start_tls_node):
    node, _ = start_tls_node(workers=0)
    client = node.client()
    client.create_bucket("box")
    client.put("box", "key", b"body")
    assert client.get("box", "key").content == b"body"


def test_boto3_uploads_in_parts_and_gets_links_by_https(node, tmp_path):
    s3 = boto(node)
    s3.create_bucket(Bucket="boto")
    body = os.urandom(17 << 20)
    (tmp_path / "in").write_bytes(body)
    s3.upload_file(str(tmp_path / "in"), "boto", "key", Config=TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20))
    s3.download_file("boto", "key", str(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == body
    assert s3.get_object(Bucket="boto", Key="key", Range="bytes=5242870-5242900")["Body"].read() == body[5_242_870:5_242_901]
    upload = s3.create_multipart_upload(Bucket="boto", Key="parts")["UploadId"]
    part = s3.upload_part(Bucket="boto", Key="parts", UploadId=upload, PartNumber=1, Body=b"only")
    done = s3.complete_multipart_upload(
        Bucket="boto", Key="parts", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    assert done["Location"] == f"{node.endpoint}/boto/parts"
    url = s3.generate_presigned_url("get_object", {"Bucket": "boto", "Key": "parts"})
    assert url.startswith("https://")
    assert requests.get(url, verify=node.cert_path, timeout=10).content == b"only"
    form = s3.generate_presigned_post("boto", "form", {"success_action_status": "201"}, [{"success_action_status": "201"}], 600)
    answer = requests.post(form["url"], data=form["fields"], files={"file": ("f", b"from a form")}, verify=node.cert_path, timeout=10)
    assert answer.status_code == 201, answer.content
    assert answer.headers["location"] == fromstring(answer.content).findtext("Location") == f"{node.endpoint}/boto/form"
    assert s3.get_object(Bucket="boto", Key="form")["Body"].read() == b"from a form"


def test_curl_puts_and_gets(node, tmp_path):
    node.client().create_bucket("curl")
    (tmp_path / "in").write_bytes(os.urandom(3_000_000))
    keys = f"{node.credentials.access_key}:{node.credentials.secret_key}"
    curl = ["curl", "--fail", "--silent", "--show-error", "--cacert", node.cert_path, "--aws-sigv4", "aws:amz:us-east-1:s3", "--user", keys]
    target = f"{node.endpoint}/curl/key"
    subprocess.run(
        [*curl, "-H", "x-amz-content-sha256: UNSIGNED-PAYLOAD", "-T", str(tmp_path / "in"), target], check=True, timeout=60
    )
    for more in ([], ["--tls-max", "1.2"]):
        subprocess.run([*curl, *more, "-o", str(tmp_path / "out"), target], check=True, timeout=60)
        assert (tmp_path / "out").read_bytes() == (tmp_path / "in").read_bytes()


def test_policies_see_that_the_client_spoke_tls(node):
    client = node.client()
    client.create_bucket("secure")
    client.put("secure", "key", b"body")
    for asked, status in (("true", 200), ("false", 403)):
        statement = {
            "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::secure/*",
            "Condition": {"Bool": {"aws:SecureTransport": asked}},
        }  # fmt: skip
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()
        assert client.request("PUT", "secure", query=[("policy", "")], body=document).status_code == 204
        assert requests.get(f"{node.endpoint}/secure/key", verify=node.cert_path, timeout=10).status_code == status


@pytest.mark.parametrize(
    ("forwarded", "status"), [({}, 200), ({"x-forwarded-proto": "https"}, 200), ({"x-forwarded-proto": "http"}, 403)]
)
def test_a_trusted_proxy_that_speaks_tls_tells_what_its_client_spoke(start_tls_node, forwarded, status):
    node, pair = start_tls_node(FS_TRUSTED_PROXIES="127.0.0.0/8")
    client = node.client()
    client.create_bucket("box")
    client.put("box", "key", b"body")
    statement = {
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::box/*",
        "Condition": {"Bool": {"aws:SecureTransport": "true"}},
    }  # fmt: skip
    document = json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()
    assert client.request("PUT", "box", query=[("policy", "")], body=document).status_code == 204
    assert requests.get(f"{node.endpoint}/box/key", headers=forwarded, verify=pair.cert, timeout=10).status_code == status


def test_a_refused_upload_that_waits_for_100_is_refused_in_words(node):
    with node.client(secret_key="another-secret") as stranger:
        assert_refused(stranger.request("PUT", "no-such-box", "key", body=b"x" * 200_000), 403, "SignatureDoesNotMatch")


# ---- who gets in


def test_tls_1_1_is_refused_with_an_alert(node):
    context = ssl.create_default_context(cafile=node.cert_path)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    with socket.create_connection((node.host, node.port), timeout=10) as plain:
        with pytest.raises(ssl.SSLError, match="PROTOCOL_VERSION"):
            context.wrap_socket(plain, server_hostname="localhost")


def test_a_plain_request_is_told_to_speak_tls(node):
    with RawConnection(node) as connection:
        connection.send(request_bytes("GET", "/box/key", {"host": "localhost"}))
        answer = connection.answer()
        assert (answer.status, b"https://" in answer.content) == (400, True)
        assert connection.rest() == b""


def test_stalled_handshakes_do_not_keep_anybody_out(node):
    stalled = [socket.create_connection((node.host, node.port), timeout=10) for _ in range(300)]
    try:
        for number, connection in enumerate(stalled):
            connection.sendall(b"\x16\x03\x01\x02\x00\x01"[: number % 7])
        with node.client() as client:
            for _ in range(20):
                assert client.send("GET", "/healthz").status_code == 200
    finally:
        for connection in stalled:
            connection.close()


@pytest.mark.slow
def test_stalled_handshakes_are_cut_after_ten_seconds(node):
    with socket.create_connection((node.host, node.port), timeout=20) as connection:
        connection.sendall(b"\x16\x03\x01")
        assert connection.recv(100) == b""


# ---- a certificate that changes


def test_a_renewed_certificate_is_served_by_every_worker_without_a_restart(start_tls_node, tmp_path):
    node, pair = start_tls_node(workers=2)
    pids = node.pids()
    old, new = der_of(pair.cert), make_certificate(tmp_path / "new", days=20)
    with node.client() as before:
        assert before.send("GET", "/healthz").status_code == 200
        wanted = der_of(new.cert)
        os.replace(new.key, pair.key)
        os.replace(new.cert, pair.cert)
        eventually(lambda: node.metric("fasterstore_tls_reloads_total") == 2, "a worker has not taken the new certificate")
        assert {served_der(node) for _ in range(20)} == {wanted} != {old}
        assert before.send("GET", "/healthz").status_code == 200, "a connection that was open lives on"
    client = node.client()
    client.create_bucket("box")
    assert node.pids() == pids
    assert readyz(node).text == "ready\n"


def test_a_broken_certificate_leaves_the_old_one_and_is_shown_until_it_is_mended(start_tls_node, tmp_path):
    node, pair = start_tls_node(workers=2)
    old = der_of(pair.cert)
    key = Path(pair.key).read_text()
    Path(pair.cert).write_text("not a certificate")
    eventually(lambda: node.metric("fasterstore_tls_reload_failed") == 2, "a worker has not seen it")
    assert {served_der(node) for _ in range(10)} == {old}
    shown = readyz(node)
    assert shown.status_code == 200
    assert "certificate" in shown.text
    assert pair.cert not in shown.text
    time.sleep(2.5)
    assert node.log().count("cannot be served") == 2, "once for each worker"
    assert key.splitlines()[1] not in node.log()
    for new, live in zip(make_certificate(tmp_path / "new"), pair, strict=True):
        os.replace(new, live)
    eventually(lambda: node.metric("fasterstore_tls_reload_failed") == 0, "a worker has not taken the mended one")
    assert readyz(node).text == "ready\n"
    assert served_der(node) == der_of(pair.cert)


@pytest.mark.parametrize("workers", [0, 2])
def test_sighup_loads_the_certificate_at_once_and_stops_nothing(start_tls_node, workers):
    node, _ = start_tls_node(workers=workers)
    for count in (1, 2):
        os.kill(node.pid, signal.SIGHUP)
        eventually(lambda: node.metric("fasterstore_tls_reloads_total") == count * max(workers, 1), "a process has not loaded it")  # noqa: B023
    assert node.is_ready()


def test_a_worker_that_dies_while_the_files_are_broken_comes_back_when_they_are_mended(start_tls_node, tmp_path):
    node, pair = start_tls_node(workers=2)
    kept = [Path(path).read_bytes() for path in pair]
    Path(pair.key).write_text("nonsense")
    victim = node.worker_pids()[0]
    os.kill(victim, signal.SIGKILL)
    eventually(lambda: "holds no PEM private key" in node.log(), "the new worker has not looked at the files")
    assert node.is_ready(), "the other one serves"
    assert "Traceback" not in node.log()
    for path, content in zip(pair, kept, strict=True):
        Path(path).write_bytes(content)
    node.wait_ready()
    assert len(node.connected_workers()) == 2


# ---- the start


def start_and_end(tmp_path, **settings):
    environ = node_environment(tmp_path / "data", 1, settings)
    return subprocess.run(
        [sys.executable, "-m", "fasterstore", "serve"], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=30,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("fault", ["missing", "garbage", "another key", "encrypted key", "weak key", "one alone"])
def test_a_pair_that_cannot_be_served_stops_the_start_with_one_line(tmp_path, fault):
    pair = make_certificate(tmp_path, newkey="rsa:1024" if fault == "weak key" else "rsa:2048")
    settings = tls_settings(pair)
    if fault == "missing":
        os.unlink(pair.key)
    elif fault == "garbage":
        Path(pair.cert).write_text("nonsense")
    elif fault == "another key":
        settings["FS_TLS_KEY_PATH"] = make_certificate(tmp_path, "other", newkey="rsa:2048").key
    elif fault == "encrypted key":
        settings["FS_TLS_KEY_PATH"] = str(tmp_path / "locked")
        openssl("rsa", "-in", pair.key, "-aes256", "-passout", "pass:a-password", "-out", settings["FS_TLS_KEY_PATH"])
    elif fault == "one alone":
        del settings["FS_TLS_KEY_PATH"]
    ended = start_and_end(tmp_path, **settings)
    assert (ended.returncode, ended.stdout, len(ended.stderr.splitlines())) == (2, "", 1), ended.stderr
    assert ended.stderr.startswith("FS_TLS_")
    assert "PRIVATE KEY-" not in ended.stderr
    assert not (tmp_path / "data").exists()


def test_a_certificate_that_soon_expires_is_warned_about_once(tmp_path):
    pair = make_certificate(tmp_path, days=3)
    with RunningNode(tmp_path / "data", tls_settings(pair), workers=2) as node:
        assert node.log().count("expires in") == 1
        assert node.metric("fasterstore_tls_certificate_not_after_seconds", process="worker-1") == pytest.approx(
            time.time() + 3 * 86_400, abs=600
        )


def test_the_recipe_for_trials_works_when_pasted(tmp_path):
    recipe = (ROOT / "docs/tls.md").read_text().split("```sh\n")[1].split("```")[0]
    told = subprocess.run(["sh", "-ec", recipe + "env"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=30)
    environ = dict(line.split("=", 1) for line in told.stdout.splitlines() if line.startswith("FS_"))
    settings = {name: str(tmp_path / environ[name]) for name in ("FS_TLS_CERT_PATH", "FS_TLS_KEY_PATH")}
    assert environ["FS_CA_CERT"] == environ["FS_TLS_CERT_PATH"]
    with RunningNode(tmp_path / "data", settings) as node:
        assert node.client().create_bucket("box").status_code == 200


def test_gevent_finds_nothing_loaded_that_it_must_patch(node):
    assert "MonkeyPatchWarning" not in node.log()
    assert "RecursionError" not in node.log()
    assert "serving https on" in node.log()
