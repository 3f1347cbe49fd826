"""A disk that gives back other bytes than it was given, or none: what a client gets is right, or is an error, also of a range."""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gevent
import pytest
import requests

from fasterstore.metadata.index import IndexView
from fasterstore.model import BlobLocation
from fasterstore.storage.record import CHUNK_BYTES, HEADER_BYTES, record_bytes
from fasterstore.storage.segment import segment_name
from tests.node import RunningNode, child_pids
from tools.client import Client

pytestmark = pytest.mark.faults

BUCKET = "reads"
SETTINGS = {"FS_CACHE_CAPACITY_MB": "0", "FS_SEGMENT_TARGET_SIZE_MB": "8", "FS_STORAGE_COMPACT_INTERVAL_SECS": "86400"}
SIZES = (100, 4096, 60_000, 300_000, 1_100_000)
OBJECTS = 120
RANGES = 6
READS = "pread64,preadv,preadv2,sendfile"
FAULTS_OF_READS = 16
ATTACH_SECS = 20.0


def fill(client: Client, dice: random.Random, count: int) -> dict[str, bytes]:
    client.create_bucket(BUCKET)
    bodies = {f"key/{number}": dice.randbytes(SIZES[number % len(SIZES)]) for number in range(count)}
    for key, body in bodies.items():
        client.put(BUCKET, key, body)
    return bodies


def fetch(client: Client, key: str, span: tuple[int, int] | None = None) -> bytes | None:
    """The bytes of an answer that says success and is complete, None for an error or a connection that breaks off."""
    headers = {} if span is None else {"range": f"bytes={span[0]}-{span[1] - 1}"}
    try:
        answer = client.request("GET", BUCKET, key, (), headers)
    except requests.RequestException:
        return None
    if answer.status_code in {200, 206}:
        length = int(answer.headers["content-length"])
        return answer.content if len(answer.content) == length else None
    assert answer.status_code >= 500, f"{key}: {answer.status_code} {answer.text}"
    return None


# ---- other bytes ----


def flip_each(node: RunningNode, keys: list[str], dice: random.Random) -> dict[str, tuple[int, int]]:
    """Flip a bit in each of their records; which bytes of the object can no longer be told, by key, as (first, end)."""
    view = IndexView(str(node.data_dir / "index" / "index.db"))
    found = {}
    for key in keys:
        blob = view.locate(BUCKET, key.encode()).blob
        assert blob is not None
        place = blob.location
        at = dice.randrange(record_bytes(place.stored_bytes))
        with open(node.data_dir / "segments" / segment_name(place.segment_id), "r+b") as file:
            file.seek(place.offset + at)
            (byte,) = file.read(1)
            file.seek(place.offset + at)
            file.write(bytes([byte ^ 1 << dice.randrange(8)]))
        found[key] = _lost(place, at)
    view.close()
    return found


def _lost(place: BlobLocation, at: int) -> tuple[int, int]:
    """All of it, unless the bit is in the payload: then the chunk."""
    if not HEADER_BYTES <= at < HEADER_BYTES + place.stored_bytes:
        return 0, place.stored_bytes
    first = (at - HEADER_BYTES) // CHUNK_BYTES * CHUNK_BYTES
    return first, min(first + CHUNK_BYTES, place.stored_bytes)


def read_rotten(node: RunningNode, dice: random.Random) -> tuple[list[str], Counter[str]]:
    """Store, flip, read; what was wrong, and how often what happened."""
    node.start()
    bodies = fill(node.client(), dice, OBJECTS)
    node.stop()
    lost = flip_each(node, [key for number, key in enumerate(bodies) if number % 4], dice)
    node.start()
    client, wrong, seen = node.client(), [], Counter[str]()
    for key, body in bodies.items():
        spans: list[tuple[int, int] | None] = [None]
        spans += [(first, dice.randint(first + 1, len(body))) for first in dice.choices(range(len(body)), k=RANGES)]
        for span in spans:
            first, end = span or (0, len(body))
            hit = key in lost and first < lost[key][1] and lost[key][0] < end
            got = fetch(client, key, span)
            seen["refused" if got is None else "read"] += 1
            if got is not None and got != body[first:end]:
                wrong.append(f"{key} {span}: wrong bytes")
            if hit and got is not None:
                wrong.append(f"{key} {span}: a flipped bit in {lost[key]} went unnoticed")
            if key not in lost and got is None:
                wrong.append(f"{key} {span}: cannot be read, and is sound")
    return wrong, seen


@pytest.mark.parametrize("seed", range(2))
def test_a_flipped_bit_is_never_served_in_whole_or_in_a_range(seed: int, tmp_path: Path) -> None:
    node = RunningNode(tmp_path / "data", SETTINGS, workers=1)
    try:
        wrong, seen = read_rotten(node, random.Random(seed))
    finally:
        node.kill()
    print(f"\n{OBJECTS * 3 // 4} flipped bits, {dict(seen)}")
    assert not wrong, "\n".join(wrong[:10])
    assert min(seen.values()) > OBJECTS


def test_the_reads_find_planted_records_that_are_not_verified(tmp_path: Path) -> None:
    node = RunningNode(tmp_path / "data", SETTINGS | {"FS_VERIFY_READS": "false"}, workers=1)
    try:
        wrong, _ = read_rotten(node, random.Random(0))
    finally:
        node.kill()
    assert any("wrong bytes" in complaint for complaint in wrong)


# ---- none ----


@contextmanager
def failing_reads(process: int, files: list[Path], when: int, record: Path) -> Iterator[None]:
    """While open: of each thread the `when`-th read of each kind of those files fails with EIO."""
    said = record.with_suffix(".err")
    paths = [word for file in files for word in ("-P", str(file))]
    with open(said, "wb") as errors:
        strace = subprocess.Popen(
            [
                "strace",
                "-f",
                "-p",
                str(process),
                "-o",
                str(record),
                *paths,
                "-e",
                f"trace={READS}",
                "-e",
                f"inject={READS}:error=EIO:when={when}",
            ],
            stdout=subprocess.DEVNULL,
            stderr=errors,
        )
    try:
        deadline = time.monotonic() + ATTACH_SECS
        while "attached" not in said.read_text():
            assert strace.poll() is None and time.monotonic() < deadline, said.read_text()
            gevent.sleep(0.005)
        yield
    finally:
        strace.send_signal(signal.SIGTERM)
        strace.wait(ATTACH_SECS)


@pytest.mark.skipif(not any((Path(folder) / "strace").exists() for folder in os.get_exec_path()), reason="strace is not installed")
def test_a_read_that_fails_is_an_error_or_a_reset_and_never_other_bytes(tmp_path: Path) -> None:
    with RunningNode(tmp_path / "data", SETTINGS, workers=0).start() as node:
        dice = random.Random(3)
        client = node.client()
        bodies = fill(client, dice, 10)
        (process,) = child_pids(node.pid)
        files = [*(node.data_dir / "segments").iterdir(), node.data_dir / "index" / "index.db", node.data_dir / "index" / "index.db-wal"]
        seen = Counter[str]()
        for when in range(1, FAULTS_OF_READS + 1):
            record = tmp_path / f"strace-{when}"
            with failing_reads(process, files, when, record):
                for key, body in bodies.items():
                    span = (len(body) // 3, len(body) // 2)
                    for got, truth in ((fetch(client, key), body), (fetch(client, key, span), body[span[0] : span[1]])):
                        assert got is None or got == truth, f"{key}: wrong bytes after a failed read"
                        seen["refused" if got is None else "read"] += 1
            seen["failed reads"] += record.read_text().count("(INJECTED)")
            for key, body in bodies.items():
                assert fetch(client, key) == body, f"{key} cannot be read after the disk reads again"
        assert client.put(BUCKET, "after", b"after").status_code == 200
        log = node.log()
    print(f"\n{dict(seen)}")
    assert seen["failed reads"] > FAULTS_OF_READS and seen["refused"]
    assert "defect" not in log
