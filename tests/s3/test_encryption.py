"""Encryption at rest on real nodes: what is on the disk, restarts, and which keys a start takes."""

import os
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest

from fasterstore.storage.key_file import master_key_id
from tests.node import NodeEnded, node_environment

pytestmark = pytest.mark.slow

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
MARKER = b"PLAINTEXT-MARKER-"
BLOB_KEY_LINE = '"blob_id_key": "'


def text(key: bytes) -> str:
    return b64encode(key).decode()


def marked(size: int) -> bytes:
    return (MARKER * (size // len(MARKER) + 1))[:size]


def plaintext_in(data_dir: Path) -> list[str]:
    return [path.name for path in data_dir.rglob("*") if path.is_file() and MARKER in path.read_bytes()]


def rekey(node, *arguments: str, **variables: str) -> None:
    command = [sys.executable, "-m", "fasterstore", "rekey", *arguments]
    environ = node_environment(node.data_dir, 1, node.settings) | variables
    subprocess.run(command, cwd=node.data_dir.parent, env=environ, check=True, timeout=60, capture_output=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_is_stored_comes_back_after_a_restart_and_is_nowhere_on_the_disk(start_node, workers):
    node = start_node(workers, FS_ENCRYPTION_KEY_BASE64=text(KEY), FS_CACHE_CAPACITY_MB="0", FS_SEGMENT_TARGET_SIZE_MB="8")
    bodies = {"small": marked(4000), "middle": marked(200_000), "large": marked(20_000_000)}
    with node.client() as client:
        client.create_bucket("box")
        for key, body in bodies.items():
            client.put("box", key, body)
    for _ in range(2):
        with node.client() as client:
            for key, body in bodies.items():
                assert client.get("box", key).content == body
                for first, last in ((0, 10), (65_530, 65_545), (1_048_570, 1_048_585), (262_140, 262_150), (len(body) - 5, len(body) - 1)):
                    if last < len(body):
                        ranged = client.get("box", key, {"Range": f"bytes={first}-{last}"})
                        assert (ranged.status_code, ranged.content) == (206, body[first : last + 1])
        node.restart()
    node.stop()
    assert plaintext_in(node.data_dir) == []


def test_a_plain_data_dir_is_turned_on_by_the_next_start_and_never_off_again(start_node):
    node = start_node()
    old, new = os.urandom(100_000), marked(100_000)
    with node.client() as client:
        client.create_bucket("box")
        client.put("box", "old", old)
    node.stop()
    plain_keys = (node.data_dir / "keys.json").read_text()
    blob_key = plain_keys.split(BLOB_KEY_LINE)[1].split('"')[0]
    node.settings["FS_ENCRYPTION_KEY_BASE64"] = text(KEY)
    node.start()
    with node.client() as client:
        client.put("box", "new", new)
        assert client.get("box", "old").content == old
        assert client.get("box", "new").content == new
        client.put("box", "again", old)
        assert client.get("box", "again").content == old
    node.stop()
    assert plaintext_in(node.data_dir) == []
    assert blob_key not in "".join(path.read_text() for path in node.data_dir.glob("keys.json*"))
    del node.settings["FS_ENCRYPTION_KEY_BASE64"]
    with pytest.raises(NodeEnded) as refused:
        node.start()
    assert refused.value.code == 1
    assert master_key_id(KEY) in node.log()
    node.settings["FS_ENCRYPTION_KEY_BASE64"] = text(KEY)
    node.start()
    with node.client() as client:
        assert client.get("box", "new").content == new


@pytest.mark.parametrize("workers", [0, 1])
def test_a_wrong_key_is_refused_by_name_in_one_line_before_serving(start_node, workers):
    node = start_node(workers, FS_ENCRYPTION_KEY_BASE64=text(KEY))
    node.stop()
    before = node.log()
    keys = (node.data_dir / "keys.json").read_bytes()
    node.settings["FS_ENCRYPTION_KEY_BASE64"] = text(OTHER)
    with pytest.raises(NodeEnded) as refused:
        node.start()
    said = node.log()[len(before) :]
    assert refused.value.code == 1
    assert len(said.splitlines()) == 1
    assert master_key_id(KEY) in said and master_key_id(OTHER) in said
    assert text(KEY) not in said and text(OTHER) not in said
    assert (node.data_dir / "keys.json").read_bytes() == keys


def test_changed_keys_are_refused_and_the_copy_beside_them_helps(start_node):
    node = start_node(FS_ENCRYPTION_KEY_BASE64=text(KEY))
    with node.client() as client:
        client.create_bucket("box")
        client.put("box", "key", b"the bytes")
    node.stop()
    path = node.data_dir / "keys.json"
    good = path.read_text()
    place = good.index(BLOB_KEY_LINE) + len(BLOB_KEY_LINE) + 40
    path.write_text(good[:place] + ("A" if good[place] != "A" else "B") + good[place + 1 :])
    with pytest.raises(NodeEnded) as refused:
        node.start()
    assert refused.value.code == 1 and "keys.json: it fails its checksum; restore it" in node.log()
    path.write_bytes((node.data_dir / "keys.json.previous").read_bytes())
    node.start()
    with node.client() as client:
        assert client.get("box", "key").content == b"the bytes"


def test_the_master_key_is_rotated_while_two_are_valid(start_node):
    node = start_node(FS_ENCRYPTION_KEY_BASE64=text(KEY), FS_CACHE_CAPACITY_MB="0")
    bodies = {}

    def put(key: str) -> None:
        bodies[key] = marked(100_000) + key.encode()
        with node.client() as client:
            client.put("box", key, bodies[key])

    def all_there() -> None:
        with node.client() as client:
            for key, body in bodies.items():
                assert client.get("box", key).content == body

    with node.client() as client:
        client.create_bucket("box")
    put("first")
    node.stop()
    rekey(node, FS_ENCRYPTION_NEW_KEY_BASE64=text(OTHER))
    for key in (KEY, OTHER):
        node.settings["FS_ENCRYPTION_KEY_BASE64"] = text(key)
        node.start()
        put(f"under {key[0]}")
        all_there()
        node.stop()
    rekey(node, "--finish")
    rekey(node, "--new-epoch")
    node.start()
    put("in the second epoch")
    all_there()
    node.stop()
    node.settings["FS_ENCRYPTION_KEY_BASE64"] = text(KEY)
    with pytest.raises(NodeEnded):
        node.start()
    assert plaintext_in(node.data_dir) == []


def test_a_node_that_is_killed_keeps_what_it_acknowledged(start_node):
    node = start_node(2, FS_ENCRYPTION_KEY_BASE64=text(KEY))
    bodies = {f"key-{number}": os.urandom(3000 + number * 40_000) for number in range(12)}
    with node.client() as client:
        client.create_bucket("box")
        for key, body in bodies.items():
            client.put("box", key, body)
    node.kill()
    node.start()
    with node.client() as client:
        for key, body in bodies.items():
            assert client.get("box", key).content == body
