"""Starting a node with settings: single process, buckets made at the start, what stops the start with one line."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.node import RunningNode, node_environment
from tests.raw_connection import signed_request
from tests.refusal import assert_refused

BODIES = {"empty": b"", "small": b"s" * 100, "collected": b"c" * 100_000, "streamed": os.urandom(3_000_000)}


def start_and_end(tmp_path, command=("-m", "fasterstore", "serve"), **settings):
    """(exit code, lines on stderr) of a node that must not come up."""
    environ = node_environment(tmp_path / "data", 1, settings)
    run = subprocess.run([sys.executable, *command], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=30)
    assert run.stdout == ""
    return run.returncode, run.stderr.splitlines()


PEERS = {"FS_INTERNAL_TOKEN": "a-token-of-our-own", "FS_REPLICATION_PEERS": "http://10.0.0.2:9000", "FS_ADVERTISE_ADDR": "http://10.0.0.1:9000"}


@pytest.mark.parametrize(
    ("named", "changed"),
    [
        ("FS_INTERNAL_TOKEN", {"FS_INTERNAL_TOKEN": ""}),
        ("FS_ADVERTISE_ADDR", {"FS_ADVERTISE_ADDR": "http://127.0.0.1:9000"}),
        ("FS_REPLICATION_PEERS", {"FS_REPLICATION_PEERS": "http://10.0.0.1:9000"}),
        ("FS_REPLICATION_PEERS", {"FS_ENCRYPTION_KEY_BASE64": "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="}),
        ("FS_CA_CERT", {"FS_CA_CERT": "/no/such.pem", "FS_REPLICATION_PEERS": "https://10.0.0.2:9000"}),
    ],
)
def test_peers_that_cannot_work_stop_the_start_with_one_line(tmp_path, named, changed):
    code, lines = start_and_end(tmp_path, **{**PEERS, **changed})
    assert (code, len(lines)) == (2, 1), lines
    assert lines[0].startswith(named)
    assert not (tmp_path / "data").exists()


def test_one_process_does_everything(start_node):
    node = start_node(workers=0)
    assert len(node.pids()) == 2
    client = node.client()
    client.create_bucket("box")
    for key, body in BODIES.items():
        client.put("box", key, body)
    for _ in range(2):
        for key, body in BODIES.items():
            assert client.get("box", key).content == body
        assert client.get("box", "streamed", {"range": "bytes=1000000-2000000"}).content == BODIES["streamed"][1_000_000:2_000_001]
        assert node.usage("box") == (4, sum(map(len, BODIES.values())))
        assert_refused(client.request("PUT", "box", "key", body=b"x", payload_hash="0" * 64), 400, "XAmzContentSHA256Mismatch")
        node.kill()
        node.start()
        client = node.client()
    client.delete("box", "small")
    assert client.send("GET", "/_admin/actors").status_code == 200
    assert node.stop() == 0


@pytest.mark.parametrize("mode", ["true", "strict", "false"])
def test_every_mode_of_verified_reads_returns_the_bytes(start_node, mode):
    node = start_node(FS_VERIFY_READS=mode, FS_CACHE_CAPACITY_MB="0")
    client = node.client()
    client.create_bucket("box")
    for key, body in BODIES.items():
        client.put("box", key, body)
        assert client.get("box", key).content == body
    for first, last in ((0, 0), (262_143, 262_144), (1_048_575, 2_097_153), (2_999_999, 2_999_999)):
        assert client.get("box", "streamed", {"range": f"bytes={first}-{last}"}).content == BODIES["streamed"][first : last + 1]


def test_buckets_are_created_at_each_start_if_they_are_missing(start_node):
    node = start_node(FS_BUCKETS="first, second")
    client = node.client()
    assert client.list_buckets() == ["first", "second"]
    client.put("first", "key", b"body")
    client.delete_bucket("second")
    node.restart()
    client = node.client()
    assert client.list_buckets() == ["first", "second"]
    assert client.get("first", "key").content == b"body"


def test_a_second_node_on_the_same_data_dir_is_refused_with_one_line(node, tmp_path):
    code, lines = start_and_end(tmp_path, FS_DATA_DIR=str(node.data_dir))
    assert code != 0
    assert len(lines) == 1, lines
    assert str(node.data_dir) in lines[0]
    assert "another node" in lines[0]
    assert node.is_ready()


def test_a_taken_port_is_named_in_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, lines = start_and_end(tmp_path, FS_BIND_ADDR=address)
    assert code != 0
    assert len(lines) == 1, lines
    assert address in lines[0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FS_BIND_ADDR", "nonsense"),
        ("FS_WORKERS", "many"),
        ("FS_MAX_REQUEST_BYTES", "0"),
        ("FS_VERIFY_READS", "maybe"),
        ("FS_BUCKETS", "Not_A_Bucket"),
        ("FS_REPLICATION_PEERS", "127.0.0.1:1"),
        ("FS_REPLICATION_ACK", "one"),
        ("FS_TLS_CERT_PATH", "/cert.pem"),
        ("FS_TLS_KEY_PATH", "/key.pem"),
    ],
)
def test_a_wrong_setting_stops_the_start_with_one_line(tmp_path, name, value):
    code, lines = start_and_end(tmp_path, **{name: value})
    assert code != 0
    assert len(lines) == 1, lines
    assert name in lines[0]
    assert value in lines[0]
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("name", "value"), [("FS_SECRET_KEY", "short1"), ("FS_ENCRYPTION_KEY_BASE64", "c2VjcmV0LXNlY3JldA=="), ("FS_METRICS_TOKEN", "a b")]
)
def test_a_wrong_secret_is_named_and_not_shown(tmp_path, name, value):
    code, lines = start_and_end(tmp_path, **{name: value})
    assert code != 0
    assert len(lines) == 1, lines
    assert name in lines[0]
    assert value not in lines[0]
    assert "***" in lines[0]


def test_a_data_dir_of_a_newer_format_is_refused_by_name(start_node, tmp_path):
    node = start_node()
    node.stop()
    path = node.data_dir / "format.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 4}))
    code, lines = start_and_end(tmp_path, FS_DATA_DIR=str(node.data_dir))
    assert code != 0
    assert len(lines) == 1, lines
    assert "format" in lines[0]


def test_an_unknown_name_warns_and_is_ignored(start_node):
    node = start_node(FS_BUKETS="a-bucket")
    assert "FS_BUKETS" in node.log()
    assert "FS_BUCKETS" in node.log()
    assert node.client().list_buckets() == []


def test_keys_come_from_files_and_from_the_names_of_others(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("secret-from-a-file\n")
    for number, settings in enumerate(
        (
            {"FS_ACCESS_KEY": "me", "FS_SECRET_KEY": None, "FS_SECRET_KEY_FILE": str(secret)},
            {"FS_ACCESS_KEY": None, "FS_SECRET_KEY": None, "AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "secret-from-a-file"},
            {"FS_ACCESS_KEY": None, "FS_SECRET_KEY": None, "MINIO_ROOT_USER": "me", "MINIO_ROOT_PASSWORD": "secret-from-a-file"},
        )
    ):
        with RunningNode(tmp_path / f"node-{number}" / "data", settings) as node:
            with node.client(access_key="me", secret_key="secret-from-a-file") as client:
                assert client.create_bucket("box").status_code == 200


def test_serve_reads_the_env_file_and_the_environment_wins(tmp_path):
    (tmp_path / ".env").write_text("FS_BUCKETS=from-the-file\nFS_SECRET_KEY=secret-of-the-file\n")
    with RunningNode(tmp_path / "data") as node:
        assert node.client().list_buckets() == ["from-the-file"]


def test_a_stop_finishes_the_requests_in_flight(start_node, connect):
    node = start_node(workers=2)
    node.client().create_bucket("box")
    body = b"x" * 400_000
    connection = connect(node)
    connection.send(signed_request(node, "PUT", "/box/key", {"expect": "100-continue", "content-length": str(len(body))}))
    assert connection.answer().status == 100
    connection.send(body[:-1000])
    os.kill(node.pid, signal.SIGTERM)
    time.sleep(0.3)
    assert node.is_running()
    connection.send(body[-1000:])
    assert connection.answer().status == 200
    assert node.wait_ended() == 0
    node.start()
    assert node.client().get("box", "key").content == body


def test_a_second_sigterm_stops_at_once(start_node, connect):
    node = start_node()
    node.client().create_bucket("box")
    connection = connect(node)
    connection.send(signed_request(node, "PUT", "/box/key", {"expect": "100-continue", "content-length": "400000"}))
    assert connection.answer().status == 100
    os.kill(node.pid, signal.SIGTERM)
    time.sleep(0.2)
    assert node.is_running()
    os.kill(node.pid, signal.SIGTERM)
    assert node.wait_ended(5) != 0


def test_every_process_may_open_as_many_files_as_the_hard_limit_allows(node):
    for pid in node.pids():
        limits = (Path("/proc") / str(pid) / "limits").read_text()
        (line,) = [line for line in limits.splitlines() if line.startswith("Max open files")]
        soft, hard = line.split()[3:5]
        assert soft == hard
