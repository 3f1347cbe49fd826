"""`fasterstore rekey`: the old master key opens the data dir until the new one surely does, whatever cuts a step short."""

import os
import random
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

import pytest

from fasterstore.keyring import unlock
from fasterstore.storage import pins
from fasterstore.storage.datadir import DirLock, open_datadir
from fasterstore.storage.disk import RealDisk
from fasterstore.storage.key_file import WrongMasterKey, master_key_id, read_key_file, write_key_file
from fasterstore.storage.memory_disk import MemoryDisk
from tools.key_preparation import prepare
from tools.rekey import change, main

OLD, NEW, OTHER = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32
PATH = "/srv/data"
ROOT = Path(__file__).parents[2]


def text(key: bytes) -> str:
    return b64encode(key).decode()


def made(disk, path=PATH):
    datadir = open_datadir(disk, path, os.urandom)
    prepare(disk, datadir, OLD, os.urandom)
    return open_datadir(disk, path, os.urandom)


def step(disk, master_key, new_key=None, *, finish=False):
    return change(disk, PATH, master_key, new_key, finish=finish, random_bytes=os.urandom)


def opened(disk, master_key, suffix=""):
    try:
        return unlock(read_key_file(disk, f"{PATH}/keys.json{suffix}"), master_key)
    except WrongMasterKey:
        return None


def test_two_keys_open_the_data_dir_until_the_old_one_is_dropped():
    disk = MemoryDisk()
    before = unlock(made(disk).keys, OLD)
    sealed = before.new_data_key(bytes(16), 9)
    assert master_key_id(NEW) in step(disk, OLD, NEW)
    for master_key in (OLD, NEW):
        keyring = opened(disk, master_key)
        assert keyring.blob_key == before.blob_key
        assert keyring.data_key(bytes(16), 1, sealed.wrapped, 9) == sealed.key
    with pytest.raises(WrongMasterKey, match="is the old master key"):
        step(disk, OLD, finish=True)
    step(disk, NEW, finish=True)
    for suffix in ("", ".previous"):
        assert opened(disk, OLD, suffix) is None
        assert opened(disk, NEW, suffix).data_key(bytes(16), 1, sealed.wrapped, 9) == sealed.key
    with pytest.raises(WrongMasterKey):
        step(disk, OLD, OTHER)


def test_snapshots_that_the_new_key_does_not_open_are_named_when_the_old_one_is_dropped():
    disk = MemoryDisk()
    datadir = made(disk)

    def take(name):
        path = f"{pins.pins_dir(datadir.snapshots_dir)}/{name}"
        for folder in (datadir.snapshots_dir, pins.pins_dir(datadir.snapshots_dir), path):
            if not disk.exists(folder):
                disk.mkdir(folder)
        pins.write_document(disk, pins.Pin(name, path, 1, bytes(16), bytes(16), 2, 0, 0, 0, 0))
        write_key_file(disk, f"{path}/keys.json", read_key_file(disk, datadir.keys_path), keep_previous=False)

    take("before")
    step(disk, OLD, NEW)
    take("between")
    assert step(disk, NEW, finish=True).endswith("as they were taken before: before")


@pytest.mark.parametrize("what", ["turn on", "new key", "finish", "new epoch"])
def test_a_power_cut_at_any_point_leaves_a_data_dir_that_opens(what):
    disk = MemoryDisk()
    if what == "turn on":
        datadir = open_datadir(disk, PATH, os.urandom)
        start = len(disk.ops)
        prepare(disk, datadir, OLD, os.urandom)
        blob_key = datadir.blob_key
    else:
        blob_key = unlock(made(disk).keys, OLD).blob_key
        if what == "finish":
            step(disk, OLD, NEW)
        start = len(disk.ops)
        step(disk, NEW if what == "finish" else OLD, NEW if what == "new key" else None, finish=what == "finish")
    rng = random.Random(5)
    states = 0
    for upto in range(start, len(disk.ops) + 1):
        for state in disk.crash_states(upto, rng, 15):
            states += 1
            datadir = open_datadir(state, PATH, os.urandom)
            if what == "turn on":
                prepare(state, datadir, OLD, os.urandom)
            works = NEW if what == "finish" else OLD
            assert opened(state, works).blob_key == blob_key
            if what == "new key":  # taken again
                step(state, OLD, NEW)
                assert opened(state, NEW).blob_key == blob_key
            if what == "finish":
                step(state, NEW, finish=True)
                assert opened(state, OLD) is None and opened(state, OLD, ".previous") is None
            if what == "new epoch":
                step(state, OLD)
                assert opened(state, OLD).epoch in (2, 3)
    assert states > 25


def test_a_new_epoch_key_seals_what_comes_and_the_old_one_still_opens():
    disk = MemoryDisk()
    sealed = unlock(made(disk).keys, OLD).new_data_key(bytes(16), 9)
    assert "epoch key 2" in step(disk, OLD)
    assert opened(disk, OLD).epoch == 2
    assert opened(disk, OLD).data_key(bytes(16), 1, sealed.wrapped, 9) == sealed.key


@pytest.fixture
def node(tmp_path):
    """(environment, run): `run(*arguments, **variables)` is the verb on a real data dir under the master key OLD."""
    made(RealDisk(), str(tmp_path / "data"))
    environ = {"FS_DATA_DIR": str(tmp_path / "data"), "FS_ENCRYPTION_KEY_BASE64": text(OLD)}

    def run(finish=False, new_epoch=False, new_key_file=None, **variables):
        return main(environ | variables, new_key_file=new_key_file, finish=finish, new_epoch=new_epoch)

    return tmp_path, run


def test_the_verb_goes_through_a_rotation(node, capsys):
    folder, run = node
    (folder / "new").write_text(text(NEW) + "\n")
    assert run(new_key_file=folder / "new") == 0
    assert run(FS_ENCRYPTION_KEY_BASE64=text(NEW), finish=True) == 0
    assert run(FS_ENCRYPTION_KEY_BASE64=text(NEW), new_epoch=True) == 0
    assert run(FS_ENCRYPTION_NEW_KEY_BASE64=text(OTHER)) == 1
    said = capsys.readouterr()
    assert master_key_id(OLD) in said.err and len(said.err.splitlines()) == 1
    assert not any(text(key) in said.out + said.err for key in (OLD, NEW, OTHER))


def test_the_new_key_may_stand_in_a_file_that_a_variable_names_as_every_secret(node):
    folder, run = node
    (folder / "new").write_text(text(NEW) + "\n")
    assert run(FS_ENCRYPTION_NEW_KEY_BASE64_FILE=str(folder / "new")) == 0
    assert run(FS_ENCRYPTION_KEY_BASE64=text(NEW), finish=True) == 0


@pytest.mark.parametrize(
    ("variables", "options", "code", "says"),
    [
        ({}, {}, 2, "give the new master key by"),
        ({"FS_ENCRYPTION_NEW_KEY_BASE64": "c2hvcnQ="}, {}, 2, "must be 32 bytes"),
        ({"FS_ENCRYPTION_NEW_KEY_BASE64": text(OLD)}, {}, 2, "is the one in use"),
        ({"FS_ENCRYPTION_KEY_BASE64": ""}, {"finish": True}, 2, "FS_ENCRYPTION_KEY_BASE64 is not set"),
        ({"FS_ENCRYPTION_KEY_BASE64": text(OTHER)}, {"new_epoch": True}, 1, "this data dir is encrypted under master key"),
        ({"FS_ENCRYPTION_NEW_KEY_BASE64": text(NEW)}, {"new_key_file": Path("/nowhere")}, 2, "only one of the two"),
        ({"FS_ENCRYPTION_NEW_KEY_BASE64_FILE": "/nowhere"}, {"new_key_file": Path("/nowhere")}, 2, "only one of the two"),
        ({"FS_ENCRYPTION_NEW_KEY_BASE64_FILE": "/nowhere"}, {}, 2, "FS_ENCRYPTION_NEW_KEY_BASE64_FILE /nowhere: cannot be read"),
        ({}, {"new_key_file": Path("/nowhere")}, 2, "cannot be read"),
        ({}, {"finish": True, "new_epoch": True}, 2, "two steps"),
        ({}, {"finish": True, "new_key_file": Path("/nowhere")}, 2, "goes with neither"),
        ({}, {"new_epoch": True, "new_key_file": Path("/nowhere")}, 2, "goes with neither"),
        ({"FS_DATA_DIR": "/nowhere/at/all"}, {"new_epoch": True}, 2, "there is no data dir"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_changes_nothing(node, capsys, variables, options, code, says):
    folder, run = node
    before = (folder / "data" / "keys.json").read_bytes()
    assert run(**variables, **options) == code
    said = capsys.readouterr()
    assert says in said.err and len(said.err.splitlines()) == 1 and not said.out
    assert "c2hvcnQ=" not in said.err
    assert (folder / "data" / "keys.json").read_bytes() == before


def test_no_data_dir_is_made_in_an_empty_folder(tmp_path, capsys):
    environ = {"FS_DATA_DIR": str(tmp_path), "FS_ENCRYPTION_KEY_BASE64": text(OLD)}
    assert main(environ, new_key_file=None, finish=False, new_epoch=True) == 2
    assert "there is no data dir" in capsys.readouterr().err
    assert os.listdir(tmp_path) == []


def test_a_running_node_is_left_alone(node, capsys):
    folder, run = node
    lock = DirLock(str(folder / "data")).acquire(wait=False)
    try:
        assert run(new_epoch=True) == 2
    finally:
        os.close(lock)
    assert "stop it first" in capsys.readouterr().err


def test_a_plain_data_dir_has_nothing_to_rotate(tmp_path, capsys):
    open_datadir(RealDisk(), str(tmp_path), os.urandom)
    environ = {"FS_DATA_DIR": str(tmp_path), "FS_ENCRYPTION_KEY_BASE64": text(OLD)}
    assert main(environ, new_key_file=None, finish=False, new_epoch=True) == 1
    assert "is not encrypted yet" in capsys.readouterr().err


def test_it_is_a_verb_of_the_command_line(tmp_path):
    made(RealDisk(), str(tmp_path / "data"))
    environ = {"PATH": os.defpath, "PYTHONPATH": str(ROOT), "FS_DATA_DIR": str(tmp_path / "data"), "FS_ENCRYPTION_KEY_BASE64": text(OLD)}
    command = [sys.executable, "-m", "fasterstore", "rekey", "--new-epoch"]
    run = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    assert "epoch key 2" in run.stdout
