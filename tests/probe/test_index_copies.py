"""A node whose index is lost or damaged rebuilds it by itself, with every object; its log stays short; its snapshots hold."""

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import gevent
import pytest

from fasterstore.metadata.index_file import make_single
from tests.node import RunningNode, node_environment
from tests.probe.eventually import eventually
from tests.probe.ledger import Ledger
from tests.probe.load import BASE_KEY, BUCKET, Load, base_body, fetch, verify

pytestmark = pytest.mark.slow

COPIES = 1700
"""So many by each of four writers: six kilobytes of journal each, in all more than a file of it holds."""
SETTINGS = {"FS_METADATA_COMPACT_INTERVAL_SECS": "1"}


@pytest.fixture
def node(tmp_path: Path) -> Iterator[RunningNode]:
    made = RunningNode(tmp_path / "data", SETTINGS, workers=1)
    made.start()
    made.client().create_bucket(BUCKET)
    yield made
    made.kill()


def fasterstore(node: RunningNode, *arguments: str, code: int = 0) -> str:
    """Run a verb on the node's data dir; what it printed."""
    ran = subprocess.run(
        [sys.executable, "-m", "fasterstore", *arguments],
        env=node_environment(node.data_dir, 1),
        cwd=node.data_dir.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def fill(node: RunningNode, ledger: Ledger, count: int, prefix: str = "key") -> None:
    client = node.client()
    for number in range(count):
        body = f"body {number} of {prefix}".encode() * (20_000 if number % 40 == 0 else 3)
        key, value = ledger.key(f"{prefix} {number}"), hashlib.md5(body).hexdigest()
        ledger.begin(key, value)
        client.put(BUCKET, key.name, body)
        ledger.acknowledged(key, value)


def check_all(node: RunningNode, ledger: Ledger) -> None:
    verify(node, ledger, list(ledger.keys.values()), settle=False)
    assert not ledger.violations


def copies(node: RunningNode) -> list[str]:
    return sorted(path.name for path in (node.data_dir / "snapshots").glob("*.copy"))


def wait_for_copies(node: RunningNode) -> None:
    eventually(lambda: len(copies(node)) == 2, "two copies of the index", timeout_secs=120)


def test_a_deleted_index_is_rebuilt_with_every_object(node: RunningNode) -> None:
    ledger = Ledger()
    fill(node, ledger, 150)
    wait_for_copies(node)
    fill(node, ledger, 50, "later")
    node.kill()
    for path in (node.data_dir / "index").glob("index.db*"):
        path.unlink()
    node.start()
    assert "rebuilt from its copy and the log" in node.log()
    assert node.metric("fasterstore_index_rebuilt") == 1
    check_all(node, ledger)
    node.client().put(BUCKET, "after", b"after")


def test_flipped_pages_anywhere_in_the_index_are_found_when_marked_or_met_and_rebuilt(node: RunningNode) -> None:
    ledger = Ledger()
    fill(node, ledger, 200)
    wait_for_copies(node)
    node.stop()
    path = node.data_dir / "index" / "index.db"
    make_single(str(path))  # what SQLite's own log holds would hide the damage
    dice = random.Random(5)
    with open(path, "r+b") as file:
        for page in range(1, path.stat().st_size // 4096):
            file.seek(page * 4096 + dice.randrange(4096))
            byte = file.read(1)
            file.seek(-1, os.SEEK_CUR)
            file.write(bytes([byte[0] ^ 1 << dice.randrange(8)]))
    node.start()
    check_all(node, ledger)
    assert list((node.data_dir / "quarantine").glob("index-*.db"))


def test_a_page_that_only_a_write_meets_restarts_storage_which_rebuilds(node: RunningNode) -> None:
    ledger = Ledger()
    fill(node, ledger, 400)
    wait_for_copies(node)
    node.stop()
    path = node.data_dir / "index" / "index.db"
    make_single(str(path))  # what SQLite's own log holds would hide the damage
    data = path.read_bytes()
    place = data.rfind(b"key 39", 0, len(data))
    assert place > 4096
    with open(path, "r+b") as file:
        file.seek(place)
        file.write(b"KEY")
    node.start()
    client = node.client()
    with suppress(Exception):  # the node ends its storage process in the middle of it
        for number in (39, 390, 391, 399):
            client.put(BUCKET, f"key {number}", b"overwritten")
    eventually(lambda: "the index is rebuilt" in node.log(), "a rebuild", timeout_secs=20)
    node.wait_ready()
    for number in range(0, 390, 7):
        key = ledger.keys[f"key {number}"]
        assert hashlib.md5(client.get(BUCKET, key.name).content).hexdigest() in key.possible or number in (39, 390, 391, 399)


def test_a_node_killed_in_the_middle_of_a_roll_starts_and_rolls_on(node: RunningNode) -> None:
    ledger = Ledger()
    for round_number in range(5):
        fill(node, ledger, 60, f"round {round_number}")
        with suppress(TimeoutError, AssertionError):
            eventually(lambda: list((node.data_dir / "snapshots").glob("*.roll")), "a roll", timeout_secs=3)
        node.kill()
        node.start()
        check_all(node, ledger)
    wait_for_copies(node)
    node.kill()
    for path in (node.data_dir / "index").glob("index.db*"):
        path.unlink()
    node.start()
    check_all(node, ledger)


@pytest.mark.lasts(120)
@pytest.mark.faults
def test_the_journal_folder_stays_bounded_under_load_and_the_node_restarts_from_what_is_left(node: RunningNode) -> None:
    client = node.client()
    client.put(BUCKET, "source", b"x")
    headers = {
        "x-amz-copy-source": f"/{BUCKET}/source", "x-amz-metadata-directive": "REPLACE", "x-amz-meta-large": "v" * 2000,
        "x-amz-tagging-directive": "REPLACE", "x-amz-tagging": "&".join(f"{number}{'k' * 120}={'v' * 250}" for number in range(10)),
    }  # fmt: skip

    def copy_many(first: int) -> None:
        with node.client() as own:
            for number in range(first, first + COPIES):
                answer = own.request("PUT", BUCKET, f"copy {number}", (), headers)
                assert answer.status_code == 200, answer.text

    gevent.joinall([gevent.spawn(copy_many, COPIES * number) for number in range(4)], raise_error=True)
    journal = node.data_dir / "journal"
    eventually(lambda: not (journal / f"{1:016x}.wal").exists(), "the first log file is removed", timeout_secs=300)
    eventually(lambda: len(list(journal.glob("*.wal"))) <= 2, "two log files at most", timeout_secs=300)
    eventually(lambda: node.metric("fasterstore_wal_start_lsn") > 1, "the metric follows", timeout_secs=300)
    node.kill()
    node.start()
    assert node.client().get(BUCKET, f"copy {2 * COPIES + 3}").content == b"x"
    assert node.usage(BUCKET)[0] == 4 * COPIES + 1


def test_a_snapshot_under_load_is_the_store_at_one_moment_and_can_be_restored(node: RunningNode, tmp_path: Path) -> None:
    """One writer puts numbered keys in order: at any one moment those that are there are the first so many."""
    before, moving, later = Ledger(), Ledger(), Ledger()
    fill(node, before, 40, "before")
    base = moving.key(BASE_KEY)
    moving.begin(base, hashlib.md5(base_body()).hexdigest())
    node.client().put(BUCKET, BASE_KEY, base_body())
    moving.acknowledged(base, hashlib.md5(base_body()).hexdigest())
    load = Load(node, moving, "snapshot")
    acknowledged, stopping = [0], [False]

    def count() -> None:
        with node.client() as own:
            while not stopping[0]:
                own.put(BUCKET, f"number {acknowledged[0]}", b"n")
                acknowledged[0] += 1

    counter = gevent.spawn(count)
    eventually(lambda: acknowledged[0] > 20, "the counting writer writes")
    least = acknowledged[0]
    text = fasterstore(node, "snapshot", "moment")
    most = acknowledged[0] + 1
    assert "holds everything up to LSN" in text
    gevent.sleep(0.5)
    stopping[0] = True
    counter.join()
    load.stop()
    assert not moving.violations
    fill(node, later, 5, "later")
    assert "moment" in fasterstore(node, "snapshot", "--list")
    assert "a node is running" in fasterstore(node, "restore", "moment", "--in-place", code=2)
    node.stop()
    target = tmp_path / "restored"
    fasterstore(node, "restore", "moment", "--to", str(target))
    with RunningNode(target, SETTINGS, workers=1).start() as restored:
        judge_moment(restored, before, moving, later, range(least, most + 1), acknowledged[0])
    fasterstore(node, "restore", "moment", "--in-place")
    node.start()
    judge_moment(node, before, moving, later, range(least, most + 1), acknowledged[0])


def judge_moment(node: RunningNode, before: Ledger, moving: Ledger, later: Ledger, counts: range, written: int) -> None:
    check_all(node, before)
    client = node.client()
    there = [number for number in range(written) if fetch(client, f"number {number}")[0] is not None]
    assert there == list(range(len(there))), "a later key is there and an earlier one is not"
    assert len(there) in counts
    assert [key for key in later.keys if fetch(client, key)[0] is not None] == []
    for key in moving.keys.values():
        moving.judge(key, *fetch(client, key.name), exact=False)
    assert not moving.violations


def test_a_restore_goes_on_to_a_later_lsn(node: RunningNode) -> None:
    first, second = Ledger(), Ledger()
    fill(node, first, 40, "first")
    fasterstore(node, "snapshot", "point")
    fill(node, second, 40, "second")
    lsn = int(node.metric("fasterstore_wal_head_lsn"))
    for number in range(40):
        node.client().delete(BUCKET, f"second {number}")
    node.stop()
    fasterstore(node, "restore", "point", "--lsn", str(lsn), "--in-place")
    node.start()
    check_all(node, first)
    check_all(node, second)
