"""`fasterstore replication` as an operator uses it, with two real nodes that are each other's peers."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from tests.node import ACCESS_KEY, ROOT, SECRET_KEY, RunningNode
from tests.probe.eventually import eventually

TOKEN = "a-token-of-our-own"


class TwoNodes:
    """`a` and `b`, on loopback, each the other's peer."""

    def __init__(self, folder: Path) -> None:
        held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        self.addresses = [f"http://127.0.0.1:{listener.getsockname()[1]}" for listener in held]
        for listener in held:
            listener.close()
        self.folder = folder
        self.nodes = []
        for name, own, other in zip("ab", self.addresses, self.addresses[::-1], strict=True):
            settings = {
                "FS_BIND_ADDR": own.removeprefix("http://"), "FS_ADVERTISE_ADDR": own, "FS_REPLICATION_PEERS": other,
                "FS_INTERNAL_TOKEN": TOKEN, "FS_REQUEST_TIMEOUT_SECS": "10",
            }  # fmt: skip
            self.nodes.append(RunningNode(folder / name, settings, workers=1))
        self.a, self.b = self.nodes

    def verb(self, *arguments: str, at: int = 0) -> subprocess.CompletedProcess[str]:
        environ = {
            "PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(ROOT), "FS_ENDPOINT": self.addresses[at],
            "FS_ACCESS_KEY": ACCESS_KEY, "FS_SECRET_KEY": SECRET_KEY,
        }  # fmt: skip
        command = [sys.executable, "-m", "fasterstore", "replication", *arguments]
        return subprocess.run(command, cwd=self.folder, env=environ, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    made = TwoNodes(tmp_path_factory.mktemp("two"))
    for node in made.nodes:
        node.start()
    made.a.client().create_bucket("box")
    yield made
    for node in made.nodes:
        node.stop()


def test_status_waits_until_the_peer_has_everything(two):
    client = two.a.client()
    for number in range(50):
        client.put("box", f"key-{number}", b"%d" % number)
    ran = two.verb("status", "--wait", "30")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    line = ran.stdout.splitlines()[1].split()
    assert line[:3] == [two.addresses[1], "shipping", "0"]
    assert two.b.client().get("box", "key-49").content == b"49"
    told = json.loads(two.verb("status", "--json").stdout)
    (peer,) = told["peers"]
    assert (peer["lag_entries"], peer["state"]) == (0, "shipping")
    assert peer["node_id"] == json.loads(two.verb("status", "--json", at=1).stdout)["node_id"]


def test_an_object_is_completed_where_it_was_put_and_a_replica_elsewhere(two):
    two.a.client().put("box", "seen", b"bytes")
    two.verb("status", "--wait", "30")
    eventually(lambda: two.a.client().head("box", "seen").headers["x-amz-replication-status"] == "COMPLETED", "the peer has it")
    assert two.b.client().head("box", "seen").headers["x-amz-replication-status"] == "REPLICA"


def test_nodes_that_hold_the_same_do_not_differ(two):
    two.a.client().put("box", "same", b"bytes")
    two.verb("status", "--wait", "30")
    ran = two.verb("diff")
    assert (ran.returncode, "has the same" in ran.stdout) == (0, True), ran.stdout + ran.stderr


def test_a_resync_is_followed_to_its_end(two):
    ran = two.verb("resync", two.addresses[1])
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert ran.stdout.startswith(f"{two.addresses[1]} shipping")


def test_the_home_is_moved_and_both_nodes_follow(two):
    two.verb("status", "--wait", "30")
    client = two.b.client()
    refused = client.request("PUT", "box", "lock", headers={"if-none-match": "*"}, body=b"mine")
    assert (refused.status_code, two.addresses[0] in refused.text) == (503, True)
    assert f"at {two.addresses[0]}" in two.verb("set-home", "box", "?", at=1).stdout
    ran = two.verb("set-home", "box", at=1)
    assert (ran.returncode, f"at {two.addresses[1]}" in ran.stdout) == (0, True)
    assert client.request("PUT", "box", "lock", headers={"if-none-match": "*"}, body=b"mine").status_code == 200
    eventually(
        lambda: two.a.client().request("PUT", "box", "lock", headers={"if-none-match": "*"}).status_code == 503, "the other one follows"
    )


def test_a_peer_that_is_away_is_told_in_status_metrics_readyz_and_inspector(two):
    two.b.stop()
    two.a.client().put("box", "while-away", b"bytes")
    eventually(lambda: two.verb("status").returncode == 1, "the peer is missed")
    shown = two.verb("status").stdout.splitlines()[1]
    assert "unreachable" in shown
    ready = requests.get(f"{two.addresses[0]}/readyz", timeout=5)
    assert (ready.status_code, ready.text.splitlines()[:2]) == (200, ["ready", "replication: peer 1 of 1 does not answer"])
    metrics = requests.get(f"{two.addresses[0]}/metrics", timeout=5).text
    assert f'fasterstore_replication_peer_state{{peer="{two.addresses[1]}",state="unreachable"}} 1.0' in metrics
    assert f'fasterstore_replication_lag_entries{{peer="{two.addresses[1]}"}}' in metrics
    assert two.a.client().head("box", "while-away").headers["x-amz-replication-status"] == "PENDING"
    two.b.start()
    assert two.verb("status", "--wait", "30").returncode == 0
    assert two.b.client().get("box", "while-away").content == b"bytes"


def test_wrong_arguments_are_2_and_silence_is_3(two):
    assert two.verb("resync", "http://127.0.0.1:1").returncode == 2
    assert two.verb("set-home", "nobucket").returncode == 2
    ran = subprocess.run(
        [sys.executable, "-m", "fasterstore", "replication", "status"], cwd=two.folder, capture_output=True, text=True, timeout=60,
        env={"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(ROOT), "FS_ENDPOINT": "http://127.0.0.1:1"},
    )  # fmt: skip
    assert (ran.returncode, len(ran.stderr.splitlines())) == (3, 1)
