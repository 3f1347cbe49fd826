"""Deleted bytes come back: segment files shrink to what is live, every object stays what it was, and nobody has to stop for it."""

import json
import os
import random
import time
from pathlib import Path

import pytest

from tests.node import RunningNode

QUICK = {"FS_SEGMENT_TARGET_SIZE_MB": "1", "FS_READ_GRACE_SECS": "0", "FS_STORAGE_COMPACT_DISK_PERCENT": "100"}
SIZES = (100, 4096, 60_000, 70_000, 300_000, 1_500_000)


def segment_bytes(data_dir: Path) -> int:
    """What the segment files take on the disk."""
    return sum(os.stat(path).st_blocks * 512 for path in (data_dir / "segments").iterdir())


def status(client) -> dict:
    return json.loads(client.send("GET", "/_admin/compaction").content)


def compact(client, timeout_secs: float = 60.0) -> dict:
    """Ask for a round and wait for its end."""
    before = status(client)["rounds"]
    assert client.send("POST", "/_admin/compaction").status_code == 200
    deadline = time.monotonic() + timeout_secs
    while (found := status(client))["rounds"] == before or found["state"] == "running":
        assert time.monotonic() < deadline, found
        time.sleep(0.05)
    assert found["last_round"]["error"] == ""
    return found


def fill(client, rng: random.Random, count: int) -> dict[str, bytes]:
    client.send("PUT", "/box")
    bodies = {f"key-{number:03d}": rng.randbytes(rng.choice(SIZES)) for number in range(count)}
    for key, body in bodies.items():
        assert client.send("PUT", f"/box/{key}", body=body).status_code == 200
    return bodies


def delete_most(client, rng: random.Random, bodies: dict[str, bytes], share: float) -> None:
    for key in rng.sample(sorted(bodies), int(len(bodies) * share)):
        assert client.send("DELETE", f"/box/{key}").status_code == 204
        del bodies[key]


def check_all(client, bodies: dict[str, bytes]) -> None:
    for key, body in bodies.items():
        answer = client.send("GET", f"/box/{key}")
        assert (answer.status_code, answer.content == body) == (200, True), key


@pytest.mark.parametrize("workers", [0, 2])
def test_files_shrink_to_the_live_bytes_and_every_object_stays(tmp_path, workers):
    rng = random.Random(workers)
    with RunningNode(tmp_path / "data", QUICK, workers=workers).start() as node:
        client = node.client()
        bodies = fill(client, rng, 120)
        full = segment_bytes(node.data_dir)
        delete_most(client, rng, bodies, 0.9)
        found = compact(client)
        live = sum(map(len, bodies.values()))
        assert found["moved_blobs"] > 0
        assert found["freed_bytes"] > full / 2
        # A few active segments hold up to a quarter of a segment each, and what is allocated ahead.
        assert segment_bytes(node.data_dir) <= 1.25 * live + 6 * (1 << 20)
        check_all(client, bodies)
        node.kill()
        node.start()
        check_all(node.client(), bodies)
        compact(node.client())
        check_all(node.client(), bodies)
        assert segment_bytes(node.data_dir) <= 1.25 * live + 6 * (1 << 20)


def test_a_round_leaves_what_is_still_in_its_grace(tmp_path):
    with RunningNode(tmp_path / "data", {**QUICK, "FS_READ_GRACE_SECS": "600"}, workers=1).start() as node:
        client = node.client()
        bodies = fill(client, random.Random(5), 20)
        held = segment_bytes(node.data_dir)
        for key in bodies:
            client.send("DELETE", f"/box/{key}")
        found = compact(client)
        assert (found["forgotten_blobs"], found["freed_bytes"]) == (0, 0)
        assert segment_bytes(node.data_dir) >= held * 0.9


def test_an_object_that_fails_its_checksum_is_never_given_up(tmp_path):
    with RunningNode(tmp_path / "data", QUICK, workers=1).start() as node:
        client = node.client()
        client.send("PUT", "/box")
        bodies = {f"k{number}": bytes([number]) * 60_000 for number in range(40)}
        for key, body in bodies.items():
            client.send("PUT", f"/box/{key}", body=body)
        rotten = None
        for path in sorted((node.data_dir / "segments").iterdir()):
            data = path.read_bytes()
            place = data.find(bodies["k3"])
            if place >= 0:
                rotten = path
                with open(path, "r+b") as file:
                    file.seek(place + 1000)
                    file.write(b"\xff")
        assert rotten is not None
        for number in range(4, 40):
            client.send("DELETE", f"/box/k{number}")
        found = compact(client)
        assert found["damaged_blobs"] >= 1
        assert rotten.exists()
        assert client.send("GET", "/box/k3").status_code == 500
        assert client.send("GET", "/box/k2").content == bodies["k2"]
        assert client.send("PUT", "/box/k3", body=bodies["k3"]).status_code == 200  # repairs it
        compact(client)
        assert not rotten.exists()
        check_all(client, {key: bodies[key] for key in ("k0", "k1", "k2", "k3")})


def test_pausing_stands_still_and_resuming_goes_on(tmp_path):
    with RunningNode(tmp_path / "data", QUICK, workers=1).start() as node:
        client = node.client()
        bodies = fill(client, random.Random(6), 60)
        delete_most(client, random.Random(7), bodies, 0.9)
        assert json.loads(client.send("POST", "/_admin/compaction", "action=pause").content)["paused"]
        client.send("POST", "/_admin/compaction")
        time.sleep(0.5)
        found = status(client)
        assert (found["state"], found["freed_bytes"]) == ("paused", 0)
        client.send("POST", "/_admin/compaction", "action=resume")
        deadline = time.monotonic() + 30
        while status(client)["state"] != "idle" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert status(client)["freed_bytes"] > 0
        check_all(client, bodies)


def test_the_admin_route_refuses_what_it_does_not_know(tmp_path):
    with RunningNode(tmp_path / "data", QUICK, workers=1).start() as node:
        client = node.client()
        assert client.send("POST", "/_admin/compaction", "action=explode").status_code == 400
        assert client.send("DELETE", "/_admin/compaction").status_code == 405
        assert node.client(access_key="other", secret_key="other-secret").send("GET", "/_admin/compaction").status_code == 403
        assert node.metric("fasterstore_compaction_rounds_total") == 0


def test_an_upload_that_is_broken_off_gives_its_blocks_back(tmp_path):
    with RunningNode(tmp_path / "data", {**QUICK, "FS_SEGMENT_TARGET_SIZE_MB": "64"}, workers=1).start() as node:
        client = node.client()
        client.send("PUT", "/box")
        client.send("PUT", "/box/seed", body=b"x" * 300_000)
        before = segment_bytes(node.data_dir)
        refused = client.send("PUT", "/box/wrong", body=b"y" * 8_000_000, headers={"Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg=="})
        assert refused.status_code == 400
        deadline = time.monotonic() + 10
        while segment_bytes(node.data_dir) > before + 2_000_000 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert segment_bytes(node.data_dir) <= before + 2_000_000


def test_what_was_stored_before_encryption_is_encrypted_by_a_round(tmp_path):
    marker = b"plaintext-that-must-go-"
    bodies = {f"k{size}": (marker * (size // len(marker) + 1))[:size] for size in (100, 5000, 60_000, 300_000, 2_500_000)}
    with RunningNode(tmp_path / "data", QUICK, workers=1).start() as node:
        client = node.client()
        client.send("PUT", "/box")
        for key, body in bodies.items():
            assert client.send("PUT", f"/box/{key}", body=body).status_code == 200
        node.stop()
        node.settings["FS_ENCRYPTION_KEY_BASE64"] = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
        node.start()
        client = node.client()
        check_all(client, bodies)
        assert any(marker in path.read_bytes() for path in (node.data_dir / "segments").iterdir())
        compact(client)
        assert not any(marker in path.read_bytes() for path in (node.data_dir / "segments").iterdir())
        check_all(client, bodies)
        assert compact(client)["last_round"]["moved_bytes"] == 0
        node.kill()
        node.start()
        check_all(node.client(), bodies)
