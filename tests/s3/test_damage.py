"""Damaged bytes in a segment file: none of them is ever sent, the answer is 5xx or a reset, and a PUT of the same bytes repairs."""

import os

import pytest
import requests

from fasterstore.storage.record import HEADER_BYTES
from tests.node import RunningNode
from tests.refusal import assert_refused

KIB, MIB = 1 << 10, 1 << 20
SIZES = {"small": 1000, "collected": 100 * KIB, "several-chunks": 400 * KIB, "several-windows": 5 * MIB}


@pytest.fixture(scope="module", params=["true", "strict"])
def damaged_node(request, tmp_path_factory):
    """A node for each mode that verifies; its cache takes objects up to 2 MiB."""
    settings = {"FS_VERIFY_READS": request.param, "FS_CACHE_CAPACITY_MB": "64"}
    with RunningNode(tmp_path_factory.mktemp("damaged") / "data", settings) as node:
        with node.client() as client:
            client.create_bucket("box")
        yield node


@pytest.fixture
def stored(damaged_node):
    """stored(size) -> (client, key, body, damage(offset in the payload)); never read before it is damaged."""
    with damaged_node.client() as client:

        def store(size):
            body = os.urandom(SIZES[size])
            key = body[:8].hex()
            client.put("box", key, body)
            return client, key, body, lambda at: flip_stored_byte(damaged_node.data_dir, body, at)

        yield store


def flip_stored_byte(data_dir, body, at):
    """Change one byte of the stored record, `at` bytes after the start of its payload (negative: in its header)."""
    for path in data_dir.glob("segments/*.seg"):
        start = path.read_bytes().find(body[:64])
        if start >= 0:
            with open(path, "r+b") as file:
                file.seek(start + at)
                (byte,) = file.read(1)
                file.seek(start + at)
                file.write(bytes([byte ^ 0x40]))
            return
    raise AssertionError("the body is not in any segment file")


def assert_no_wrong_byte(client, key, body, headers=None, first=0):
    """A GET is refused, or broken off after right bytes only. Returns how many bytes came."""
    try:
        answer = client.request("GET", "box", key, headers=headers, stream=True)
    except requests.ConnectionError:
        return 0
    if answer.status_code >= 400:
        assert_refused(answer, 500, "InternalError")
        return 0
    announced = int(answer.headers["content-length"])
    got = b""
    try:
        for piece in answer.raw.stream(64 * KIB, decode_content=False):
            got += piece
    except Exception:  # whatever urllib3 makes of a reset
        pass
    assert len(got) < announced, "a damaged object arrived whole"
    assert got == body[first : first + len(got)], "a wrong byte was sent"
    return len(got)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("place", ["first byte", "middle", "last byte", "header", "chunk table"])
def test_no_damaged_byte_is_ever_sent(damaged_node, stored, size, place):
    client, key, body, damage = stored(size)
    damage(
        {"first byte": 0, "middle": len(body) // 2, "last byte": len(body) - 1, "header": -HEADER_BYTES + 40, "chunk table": len(body)}[
            place
        ]
    )
    before = damaged_node.metric("fasterstore_damaged_reads_total")
    for _ in range(2):
        got = assert_no_wrong_byte(client, key, body)
        if size != "several-windows" or place in ("first byte", "header", "chunk table"):
            assert got == 0, "what is damaged before the first byte is refused with a document"
    assert damaged_node.metric("fasterstore_damaged_reads_total") > before
    # The node is none the worse for it.
    client.put("box", "after", b"after")
    assert client.get("box", "after").content == b"after"


@pytest.mark.parametrize("at", [0, 300 * KIB, 2 * MIB + 5, 5 * MIB - 1])
def test_a_range_over_the_damage_is_refused_and_one_beside_it_is_served(stored, at):
    client, key, body, damage = stored("several-windows")
    damage(at)
    for first, last in ((at, at), (max(at - 10, 0), min(at + 10, len(body) - 1))):
        assert assert_no_wrong_byte(client, key, body, {"range": f"bytes={first}-{last}"}, first) == 0
    beside = (at + 2 * MIB) % len(body)
    answer = client.get("box", key, {"range": f"bytes={beside}-{beside + 1000}"})
    assert answer.content == body[beside : beside + 1001]


def repair(client, key, body, damage, seen_first):
    """Damage an object, and PUT the same bytes under another key."""
    damage(len(body) // 2)
    if seen_first:
        assert_no_wrong_byte(client, key, body)
    client.put("box", f"{key}-again", body)


def assert_both_whole(client, key, body):
    assert client.get("box", f"{key}-again").content == body
    assert client.get("box", key).content == body


@pytest.mark.parametrize("seen_first", [True, False], ids=["seen by a read", "not yet seen"])
@pytest.mark.parametrize("size", SIZES)
def test_a_put_of_the_same_bytes_repairs_the_object(stored, size, seen_first):
    client, key, body, damage = stored(size)
    repair(client, key, body, damage, seen_first)
    assert_both_whole(client, key, body)


def test_what_was_repaired_is_whole_after_a_restart(damaged_node, stored):
    repaired = []
    for size in SIZES:
        for seen_first in (True, False):
            client, key, body, damage = stored(size)
            repair(client, key, body, damage, seen_first)
            repaired.append((key, body))
    damaged_node.restart()
    with damaged_node.client() as again:
        for key, body in repaired:
            assert_both_whole(again, key, body)


def test_head_and_delete_of_a_damaged_object_go_on(stored):
    client, key, body, damage = stored("small")
    damage(10)
    assert_no_wrong_byte(client, key, body)
    assert client.head("box", key).headers["content-length"] == str(len(body))
    client.delete("box", key)
    assert_refused(client.request("GET", "box", key), 404, "NoSuchKey")


def test_without_verification_the_bytes_are_sent_as_they_are(start_node):
    node = start_node(FS_VERIFY_READS="false")
    client = node.client()
    client.create_bucket("box")
    body = os.urandom(1000)
    client.put("box", "key", body)
    flip_stored_byte(node.data_dir, body, 500)
    got = client.get("box", "key").content
    assert got != body
    assert len(got) == len(body)
    flip_stored_byte(node.data_dir, body, -HEADER_BYTES + 40)
    assert_refused(client.request("GET", "box", "key"), 500, "InternalError")
