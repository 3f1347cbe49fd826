"""Scrubbing a real node whose files rot: found, shown, kept aside, repaired by a new PUT of the same bytes, and gone from every report."""

import base64
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fasterstore.metadata.index import IndexView
from fasterstore.model import BlobRow
from fasterstore.storage.record import HEADER_BYTES
from fasterstore.storage.segment import segment_name
from tests.node import RunningNode
from tests.probe.eventually import eventually
from tests.storage_node import change
from tools.client import Client

pytestmark = pytest.mark.slow

BUCKET = "cold"
SMALL, LARGE = b"small body " * 50, bytes(range(256)) * 9000
SETTINGS = {"FS_CACHE_CAPACITY_MB": "0", "FS_SCRUB_INTERVAL_DAYS": "0"}


MASTER_KEY = base64.b64encode(bytes(range(32))).decode()


@pytest.fixture(params=["worker process", "one process", "encrypted"])
def node(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningNode]:
    secret = {"FS_ENCRYPTION_KEY_BASE64": MASTER_KEY} if request.param == "encrypted" else {}
    made = RunningNode(tmp_path / "data", SETTINGS | secret, workers=int(request.param != "one process"))
    made.start()
    client = made.client()
    client.create_bucket(BUCKET)
    for number in range(20):
        client.put(BUCKET, f"other-{number}", b"%d" % number * 100)
    client.put(BUCKET, "small", SMALL)
    client.put(BUCKET, "large", LARGE)
    yield made
    made.kill()


def order(client: Client, query: str = "") -> dict[str, Any]:
    answer = client.send("POST", "/_admin/scrub", query)
    assert answer.status_code in (200, 202), answer.text
    return dict(answer.json())


def status(client: Client) -> dict[str, Any]:
    return dict(client.send("GET", "/_admin/scrub").json())


def scrubbed(client: Client) -> dict[str, Any]:
    """What a whole round, made now, has found."""
    before = order(client)["round"]
    eventually(lambda: status(client)["state"] == "off" and status(client)["round"] >= before, "the round has ended")
    return dict(status(client)["last_round"])


def blob_of(node: RunningNode, key: str) -> BlobRow:
    view = IndexView(str(node.data_dir / "index" / "index.db"))
    try:
        blob = view.locate(BUCKET, key.encode()).blob
        assert blob is not None
        return blob
    finally:
        view.close()


def rot(node: RunningNode, key: str, place: int) -> BlobRow:
    """Flip a bit of a record's byte `place`."""
    blob = blob_of(node, key)
    with open(node.data_dir / "segments" / segment_name(blob.location.segment_id), "r+b") as file:
        file.seek(blob.location.offset + place)
        (byte,) = file.read(1)
        file.seek(blob.location.offset + place)
        file.write(bytes([byte ^ 1]))
    return blob


def test_rot_is_found_shown_kept_aside_and_repaired_by_the_same_bytes(node: RunningNode) -> None:
    client = node.client()
    sound = scrubbed(client)
    assert (sound["damaged"], sound["records"]) == (0, 22)
    assert sound["bytes"] > len(LARGE)
    assert client.send("GET", "/readyz").text == "ready\n"
    blobs = [rot(node, "small", HEADER_BYTES + 7), rot(node, "large", HEADER_BYTES + 1_500_000)]
    found = scrubbed(client)
    assert found["damaged"] == 2
    ready = client.send("GET", "/readyz")
    assert ready.status_code == 200
    assert "stored bytes of 2 blobs are damaged" in ready.text
    assert node.metric("fasterstore_scrub_damaged_total") == 2
    assert node.metric("fasterstore_scrub_last_round_damaged") == 2
    shown = status(client)
    assert shown["damaged_blobs"] == 2
    assert {f"blob {blob.number} in" in " ".join(shown["findings"]) for blob in blobs} == {True}
    (vitals,) = [row for row in client.send("GET", "/_admin/actors").json()["actors"] if row["name"] == "scrubber"]
    assert "blob" in vitals["last_error"]
    copies = {path.name: path.stat().st_size for path in (node.data_dir / "quarantine").glob("*.record")}
    assert len(copies) == 2
    for blob in blobs:
        assert f"{blob.location.segment_id:016x}-{blob.location.offset}-{blob.number}.record" in copies
    assert client.send("GET", f"/{BUCKET}/other-3").status_code == 200

    client.put(BUCKET, "small again", SMALL)
    client.put(BUCKET, "large again", LARGE)
    for key, body in (("small", SMALL), ("large", LARGE)):
        assert hashlib.md5(client.get(BUCKET, key).content).digest() == hashlib.md5(body).digest()
    assert client.send("GET", "/readyz").text == "ready\n"
    assert scrubbed(client)["damaged"] == 0
    assert node.metric("fasterstore_scrub_last_round_damaged") == 0
    assert len(list((node.data_dir / "quarantine").glob("*.record"))) == 2, "quarantine is never emptied by the node"


def test_a_missing_segment_is_damage_of_what_lay_in_it_and_nothing_goes(node: RunningNode) -> None:
    client = node.client()
    blob = blob_of(node, "large")
    (node.data_dir / "segments" / segment_name(blob.location.segment_id)).unlink()
    assert scrubbed(client)["damaged"] == 1
    assert "the segment file is missing" in status(client)["findings"][0]
    assert client.send("HEAD", f"/{BUCKET}/large").headers["content-length"] == str(len(LARGE))
    assert status(client)["damaged_blobs"] == 1
    client.put(BUCKET, "large again", LARGE)
    assert client.get(BUCKET, "large").content == LARGE
    assert scrubbed(client)["damaged"] == 0


def test_a_damaged_index_is_told_and_made_anew_by_the_next_start(node: RunningNode) -> None:
    client = node.client()
    usage = node.usage(BUCKET)
    change(str(node.data_dir / "index" / "index.db"), "UPDATE usage SET value = CAST(x'00' || substr(value, 2) AS BLOB)")
    assert scrubbed(client)["damaged"] == 1
    ready = client.send("GET", "/readyz")
    assert (ready.status_code, "the index is damaged" in ready.text) == (200, True)
    assert node.metric("fasterstore_scrub_index_damaged") == 1
    node.restart()
    client = node.client()
    assert client.send("GET", "/readyz").text == "ready\n"
    assert node.usage(BUCKET) == usage
    assert scrubbed(client)["damaged"] == 0
    assert client.get(BUCKET, "large").content == LARGE


def test_a_round_can_be_paused_and_an_unknown_order_is_refused(node: RunningNode) -> None:
    client = node.client()
    assert order(client, "pause=")["state"] == "paused"
    assert node.metric("fasterstore_scrub_state", state="paused") == 1
    assert order(client, "resume=")["state"] == "off"
    assert client.send("POST", "/_admin/scrub", "faster=").status_code == 400
    assert client.send("DELETE", "/_admin/scrub").status_code == 405
