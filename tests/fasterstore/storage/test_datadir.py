"""The data dir: made once, resumed when cut short, gated by format; what is missing is refused and never made anew."""

import os
import random
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from fasterstore.errors import UnsupportedFormat
from fasterstore.storage.atomic_file import json_bytes, read_json
from fasterstore.storage.datadir import DirInUse, DirLock, open_datadir
from fasterstore.storage.disk import RealDisk
from fasterstore.storage.key_file import KeyFile
from fasterstore.storage.memory_disk import MemoryDisk

GOLDEN = Path(__file__).parents[2] / "golden"
PATH = "/srv/data"


def counting(length: int) -> bytes:
    return bytes(range(length))


def made() -> MemoryDisk:
    disk = MemoryDisk()
    open_datadir(disk, PATH, os.urandom)
    return disk


def write(disk: MemoryDisk, name: str, data: bytes) -> None:
    path = f"{PATH}/{name}"
    disk.close(disk.open(path, create=True))
    disk.replace(path, data)


def test_its_files_are_the_golden_ones():
    disk = MemoryDisk()
    made_first = open_datadir(disk, PATH, counting)
    for name, golden in (("format.json", "format_v3.json"), ("keys.json", "keys_v1.json")):
        assert disk.contents(f"{PATH}/{name}") == (GOLDEN / golden).read_bytes()
        write(disk, name, (GOLDEN / golden).read_bytes())
    again = open_datadir(disk, PATH, os.urandom)
    assert again == made_first == (PATH, bytes(range(16)), bytes(range(16)), KeyFile(bytes(range(32))))
    assert disk.listdir(PATH) == ["format.json", "index", "journal", "keys.json", "quarantine", "segments", "snapshots"]


def test_on_a_real_disk_it_is_private_and_opens_again(tmp_path):
    path = str(tmp_path / "deep" / "data")
    datadir = open_datadir(RealDisk(), path, os.urandom)
    assert open_datadir(RealDisk(), path, os.urandom) == datadir
    for folder in (path, datadir.journal_dir, datadir.segments_dir, datadir.snapshots_dir, datadir.quarantine_dir):
        assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert os.path.dirname(datadir.index_path) == os.path.join(path, "index")
    assert stat.S_IMODE(os.stat(os.path.join(path, "keys.json")).st_mode) == 0o600
    assert datadir.blob_key.hex() not in repr(datadir)


def test_two_data_dirs_have_nothing_in_common():
    first, second = (open_datadir(MemoryDisk(), PATH, os.urandom) for _ in range(2))
    assert not set(first[1:]) & set(second[1:])


def test_a_first_start_cut_short_anywhere_is_resumed_and_a_finished_one_is_kept():
    disk = MemoryDisk()
    datadir = open_datadir(disk, PATH, os.urandom)
    rng = random.Random(3)
    for upto in range(len(disk.ops) + 1):
        for state in disk.crash_states(upto, rng, 10):
            resumed = open_datadir(state, PATH, os.urandom)
            for later in state.crash_states(len(state.ops), rng, 10):
                assert open_datadir(later, PATH, os.urandom) == resumed
    for state in disk.crash_states(len(disk.ops), rng, 50):
        assert open_datadir(state, PATH, os.urandom) == datadir


@pytest.mark.parametrize("operation", ["mkdir", "open", "pwrite", "fsync", "rename", "fsync_dir"])
def test_a_first_start_killed_anywhere_is_resumed_and_then_survives_a_power_cut(operation):
    rng = random.Random(4)
    for after in range(20):
        disk = MemoryDisk()
        disk.fail_next(operation, after=after)
        try:
            open_datadir(disk, PATH, os.urandom)
        except OSError:
            resumed = open_datadir(disk, PATH, os.urandom)
        else:
            assert after > 0, "this operation is never used"
            return
        for state in disk.crash_states(len(disk.ops), rng, 20):
            assert open_datadir(state, PATH, os.urandom) == resumed


@pytest.mark.parametrize("older", ["format_v1.json", "format_v2.json"])
def test_an_older_format_becomes_the_newest_when_it_is_opened_wherever_the_power_is_cut(older):
    disk = made()
    write(disk, "format.json", (GOLDEN / older).read_bytes())
    before = len(disk.ops)
    opened = open_datadir(disk, PATH, os.urandom)
    assert disk.contents(f"{PATH}/format.json") == (GOLDEN / "format_v3.json").read_bytes()
    rng = random.Random(1)
    for upto in range(before, len(disk.ops) + 1):
        for state in disk.crash_states(upto, rng, 5):
            assert open_datadir(state, PATH, os.urandom) == opened
            assert state.contents(f"{PATH}/format.json") == (GOLDEN / "format_v3.json").read_bytes()


def test_a_data_dir_of_format_1_that_is_refused_stays_one():
    disk = made()
    write(disk, "format.json", (GOLDEN / "format_v1.json").read_bytes())
    write(disk, "keys.json", b'{"version":99}')
    with pytest.raises(UnsupportedFormat, match="version 99"):
        open_datadir(disk, PATH, os.urandom)
    assert disk.contents(f"{PATH}/format.json") == (GOLDEN / "format_v1.json").read_bytes()


def test_a_newer_format_is_refused_by_name():
    disk = made()
    document = read_json(disk, f"{PATH}/format.json")
    write(disk, "format.json", json_bytes(document | {"format": 4}))
    with pytest.raises(UnsupportedFormat, match="data format 4 is newer than 3"):
        open_datadir(disk, PATH, os.urandom)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b"\xff", b'{"format":"1"}', b'{"format":1}', b'{"format":1,"node_id":"00","log_uuid":"00"}']
)
def test_an_unreadable_format_is_refused(content):
    disk = made()
    write(disk, "format.json", content)
    with pytest.raises(UnsupportedFormat):
        open_datadir(disk, PATH, os.urandom)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b'{"version":2,"blob_id_key":""}', b'{"version":1}', b'{"version":1,"blob_id_key":"AAAA"}']
)
def test_unreadable_keys_are_refused(content):
    disk = made()
    write(disk, "keys.json", content)
    with pytest.raises(UnsupportedFormat):
        open_datadir(disk, PATH, os.urandom)


def test_missing_keys_are_never_made_anew():
    disk = made()
    disk.unlink(f"{PATH}/keys.json")
    with pytest.raises(UnsupportedFormat, match="keys.json is missing"):
        open_datadir(disk, PATH, os.urandom)
    assert not disk.exists(f"{PATH}/keys.json")


@pytest.mark.parametrize("folder", ["index", "journal", "segments"])
def test_a_store_without_its_format_file_is_refused(folder):
    disk = made()
    write(disk, f"{folder}/something", b"x")
    disk.unlink(f"{PATH}/format.json")
    with pytest.raises(UnsupportedFormat, match=folder):
        open_datadir(disk, PATH, os.urandom)
    assert not disk.exists(f"{PATH}/format.json")


@pytest.mark.parametrize("folder", ["index", "journal", "segments"])
def test_a_missing_folder_of_the_store_is_refused(tmp_path, folder):
    open_datadir(RealDisk(), str(tmp_path), os.urandom)
    (tmp_path / folder).rmdir()
    (tmp_path / "snapshots").rmdir()
    with pytest.raises(UnsupportedFormat, match=folder):
        open_datadir(RealDisk(), str(tmp_path), os.urandom)
    (tmp_path / folder).mkdir()
    open_datadir(RealDisk(), str(tmp_path), os.urandom)
    assert (tmp_path / "snapshots").is_dir()


def test_a_lock_is_held_until_its_descriptor_closes(tmp_path):
    lock = DirLock(str(tmp_path / "new"))
    fd = lock.acquire(wait=False)
    with pytest.raises(DirInUse):
        DirLock(str(tmp_path / "new"), "lock").acquire(wait=False)
    other = DirLock(str(tmp_path / "new"), "storage.lock").acquire(wait=False)
    os.close(fd)
    os.close(lock.acquire(wait=True))
    os.close(other)


def test_a_lock_outlives_nobody(tmp_path):
    code = (
        "import sys; from fasterstore.storage.datadir import DirLock; "
        "DirLock(sys.argv[1]).acquire(False); print('held', flush=True); input()"
    )
    root = Path(__file__).parents[3]
    holder = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None and holder.stdin is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DirInUse):
            DirLock(str(tmp_path)).acquire(wait=False)
        holder.kill()
        os.close(DirLock(str(tmp_path)).acquire(wait=True))
    finally:
        holder.kill()
        holder.wait()
        holder.stdin.close()
        holder.stdout.close()
