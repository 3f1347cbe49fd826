"""keys.json: its bytes are pinned, a wrong key is refused by name, and whatever cuts a change short leaves a whole file."""

import json
import os
import random
from pathlib import Path

import pytest

from fasterstore.errors import UnsupportedFormat
from fasterstore.keyring import add_master_key, drop_other_master_keys, turn_on, unlock
from fasterstore.storage import key_file
from fasterstore.storage.atomic_file import json_bytes
from fasterstore.storage.key_file import KeyFile, WrongMasterKey, master_key_id, read_key_file, render, require_master_key, write_key_file
from fasterstore.storage.memory_disk import MemoryDisk

GOLDEN = Path(__file__).parents[2] / "golden"
PATH = "/keys.json"
BLOB_KEY, MASTER, OTHER = bytes(range(32)), bytes(range(100, 132)), bytes(range(60, 92))


def counting():
    """Bytes that differ from call to call, and are the same in each run."""
    number = 0

    def random_bytes(size):
        nonlocal number
        number += 1
        return bytes((number * 7 + place) % 256 for place in range(size))

    return random_bytes


def golden_keys() -> KeyFile:
    return add_master_key(turn_on(KeyFile(BLOB_KEY), MASTER, counting(), nothing_stored=True), MASTER, OTHER, counting())


def disk_with(keys: KeyFile) -> MemoryDisk:
    disk = MemoryDisk()
    write_key_file(disk, PATH, keys, keep_previous=False)
    return disk


def put(disk: MemoryDisk, path: str, data: bytes) -> None:
    fd = disk.open(path, create=True)
    disk.truncate(fd, 0)
    disk.pwrite(fd, data, 0)
    disk.close(fd)


def test_both_versions_are_the_golden_ones():
    assert render(KeyFile(BLOB_KEY)) == (GOLDEN / "keys_v1.json").read_bytes()
    assert render(golden_keys()) == (GOLDEN / "keys_v2.json").read_bytes()
    for name, expected in (("keys_v1.json", KeyFile(BLOB_KEY)), ("keys_v2.json", golden_keys())):
        disk = MemoryDisk()
        put(disk, PATH, (GOLDEN / name).read_bytes())
        assert read_key_file(disk, PATH) == expected


def test_the_golden_file_opens_with_either_master_key():
    disk = MemoryDisk()
    put(disk, PATH, (GOLDEN / "keys_v2.json").read_bytes())
    for master_key in (MASTER, OTHER):
        keyring = unlock(read_key_file(disk, PATH), master_key)
        assert (keyring.blob_key, keyring.epoch, keyring.all_sealed) == (BLOB_KEY, 1, True)


def test_a_wrong_and_a_missing_master_key_are_refused_by_name():
    keys = drop_other_master_keys(golden_keys(), OTHER)
    with pytest.raises(WrongMasterKey) as wrong:
        require_master_key(keys, MASTER)
    assert master_key_id(MASTER) in wrong.value.detail and master_key_id(OTHER) in wrong.value.detail
    with pytest.raises(WrongMasterKey, match=f"{master_key_id(OTHER)}: set FS_ENCRYPTION_KEY_BASE64"):
        require_master_key(keys, None)
    require_master_key(keys, OTHER)
    require_master_key(golden_keys(), MASTER)
    require_master_key(KeyFile(BLOB_KEY), None)
    require_master_key(KeyFile(BLOB_KEY), MASTER)


def test_no_repr_shows_a_key():
    for keys in (KeyFile(BLOB_KEY), golden_keys()):
        assert repr(BLOB_KEY)[2:-1] not in repr(keys) and "blob_id_key" not in repr(keys)


def golden(name):
    """What is in it, without its checksum."""
    document = json.loads((GOLDEN / name).read_bytes())
    del document["crc32"]
    return document


@pytest.mark.parametrize(
    "change",
    [
        {"version": 3}, {"version": None}, {"epochs": []}, {"epochs": [2]}, {"epochs": ["1"]}, {"epochs": [0]}, {"epochs": [1, 1]},
        {"epochs": [True]}, {"master_keys": []}, {"master_keys": {}}, {"master_keys": [{}]}, {"all_sealed": 1}, {"epochs": None},
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_name(change):
    disk = MemoryDisk()
    put(disk, PATH, json_bytes(golden("keys_v2.json") | change))
    with pytest.raises(UnsupportedFormat, match=r"/keys\.json"):
        read_key_file(disk, PATH)


@pytest.mark.parametrize("key", ["", "AAAA", "!", None, 5, "A" * 87 + "="])
def test_a_key_of_another_length_is_refused(key):
    for name in ("keys_v1.json", "keys_v2.json"):
        document = golden(name)
        (document["master_keys"][0] if "master_keys" in document else document)["blob_id_key"] = key
        disk = MemoryDisk()
        put(disk, PATH, json_bytes(document))
        with pytest.raises(UnsupportedFormat, match="unreadable"):
            read_key_file(disk, PATH)


def test_any_flipped_bit_is_refused_or_changes_no_key():
    whole = (GOLDEN / "keys_v2.json").read_bytes()
    rng = random.Random(1)
    refused = 0
    for _ in range(400):
        bad = bytearray(whole)
        bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        disk = MemoryDisk()
        put(disk, PATH, bytes(bad))
        try:
            keyring = unlock(read_key_file(disk, PATH), MASTER)
        except (UnsupportedFormat, WrongMasterKey):
            refused += 1
            continue
        assert (keyring.blob_key, keyring.epoch) == (BLOB_KEY, 1)
    assert refused > 150


@pytest.mark.parametrize("keep_previous", [True, False])
def test_a_change_cut_short_anywhere_leaves_the_old_keys_or_the_new(keep_previous):
    old, new = KeyFile(BLOB_KEY), turn_on(KeyFile(BLOB_KEY), MASTER, os.urandom, nothing_stored=False)
    disk = disk_with(old)
    start = len(disk.ops)
    write_key_file(disk, PATH, new, keep_previous=keep_previous)
    rng = random.Random(2)
    seen = set()
    for upto in range(start, len(disk.ops) + 1):
        for state in disk.crash_states(upto, rng, 20):
            found = read_key_file(state, PATH)
            assert found in (old, new)
            seen.add(bool(found.wrapped))
            if upto == len(disk.ops):
                assert found == new
                assert read_key_file(state, PATH + ".previous") == (old if keep_previous else new)
    assert seen == {True, False}


def test_the_unwrapped_key_is_gone_after_the_next_start_even_if_turning_on_was_cut_short():
    old, new = KeyFile(BLOB_KEY), turn_on(KeyFile(BLOB_KEY), MASTER, os.urandom, nothing_stored=False)
    disk = disk_with(old)
    start = len(disk.ops)
    write_key_file(disk, PATH, new, keep_previous=False)
    rng = random.Random(3)
    for upto in range(start, len(disk.ops) + 1):
        for state in disk.crash_states(upto, rng, 10):
            keys = read_key_file(state, PATH)
            key_file.settle_previous(state, PATH, keys)
            if keys.wrapped:
                assert read_key_file(state, PATH + ".previous") == new


def test_a_dropped_master_key_opens_neither_file_and_a_kept_one_still_does():
    both = golden_keys()
    disk = disk_with(both)
    only = drop_other_master_keys(both, OTHER)
    write_key_file(disk, PATH, only, keep_previous=False)
    for path in (PATH, PATH + ".previous"):
        with pytest.raises(WrongMasterKey):
            unlock(read_key_file(disk, path), MASTER)
        assert unlock(read_key_file(disk, path), OTHER).blob_key == BLOB_KEY
    before = len(disk.ops)
    key_file.settle_previous(disk, PATH, only)
    assert len(disk.ops) == before
