"""A log file that is not as it was left: an interrupted last write is set aside and the node starts; anything else stops all writes."""

import hashlib
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from fasterstore.storage.wal_format import FileWalk, FrameAt, unpack_file_header
from tests.node import RunningNode
from tests.probe.eventually import eventually
from tests.probe.ledger import Ledger
from tests.probe.load import BUCKET, verify
from tools.client import Client

pytestmark = pytest.mark.slow

TORN = bytes(range(1, 256)) * 3
PUTS = 20


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    made = RunningNode(tmp_path / "data", workers=2)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def ledger(node: RunningNode) -> Ledger:
    """The node holds these keys; it was killed."""
    kept = Ledger()
    client = node.client()
    client.create_bucket(BUCKET)
    for number in range(PUTS):
        body = f"body {number}".encode() * (20_000 if number % 5 == 0 else 10)
        key, value = kept.key(f"key {number}"), hashlib.md5(body).hexdigest()
        kept.begin(key, value)
        client.put(BUCKET, key.name, body)
        kept.acknowledged(key, value)
    node.kill()
    return kept


def log_file(node: RunningNode) -> Path:
    return max((node.data_dir / "journal").glob("*.wal"))


def frames(path: Path) -> list[FrameAt]:
    data = path.read_bytes()
    header = unpack_file_header(data)
    assert header is not None
    return list(FileWalk(data, header))


def is_read_only(client: Client) -> bool:
    """What the node says of itself."""
    return "read-only" in client.send("GET", "/readyz").text


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def test_a_torn_tail_is_set_aside_counted_and_the_node_starts(node: RunningNode, ledger: Ledger) -> None:
    path = log_file(node)
    end = frames(path)[-1].end
    overwrite(path, end, TORN)
    node.start()
    copies = list((node.data_dir / "quarantine").glob("*.torn"))
    assert [copy.read_bytes() for copy in copies] == [TORN]
    assert f"{path.name}-{end}-" in copies[0].name
    found = re.search(rf"^fasterstore_wal_torn_bytes(\{{[^}}]*\}})? {len(TORN)}(\.0)?$", node.client().send("GET", "/metrics").text, re.M)
    assert found, "the torn bytes are not in /metrics"
    verify(node, ledger, list(ledger.keys.values()), settle=False)
    assert not ledger.violations
    node.client().put(BUCKET, "after", b"after")
    node.restart()
    assert node.client().get(BUCKET, "after").content == b"after"
    assert TORN[:64] not in path.read_bytes()


@pytest.mark.parametrize("place", ["first frame", "middle frame", "file header", "last frame"])
def test_damage_in_the_log_stops_writes_serves_reads_and_names_file_and_offset(place: str, node: RunningNode, ledger: Ledger) -> None:
    path = log_file(node)
    whole = path.read_bytes()
    all_frames = frames(path)
    chosen = {"first frame": 0, "middle frame": len(all_frames) // 2, "last frame": -1}
    offset = 0 if place == "file header" else all_frames[chosen[place]].offset
    position = offset + 40
    overwrite(path, position, bytes([whole[position] ^ 1]))
    damaged = path.read_bytes()
    for _ in range(2):  # a restart changes nothing
        node.start(wait_ready=False)
        client = node.client()
        eventually(partial(is_read_only, client), "/readyz does not say read-only")
        text = client.send("GET", "/readyz").text
        assert path.name in text and f"offset {offset}" in text, text
        verify(node, ledger, list(ledger.keys.values()), settle=False)
        assert not ledger.violations
        for method in ("PUT", "DELETE"):
            answer = client.request(method, BUCKET, "key 1", body=b"x" if method == "PUT" else b"")
            assert answer.status_code == 503, answer.text
        node.stop()
        assert path.read_bytes() == damaged, "the damaged log was changed"
    overwrite(path, position, whole[position : position + 1])
    node.start()
    node.client().put(BUCKET, "after", b"after")
    verify(node, ledger, list(ledger.keys.values()), settle=False)
    assert not ledger.violations
