"""The verbs snapshot and restore without a node: what they refuse, and with which exit code."""

import os

import pytest

from fasterstore.storage.datadir import DirLock, open_datadir
from fasterstore.storage.disk import RealDisk
from tools import restore, snapshot

NOTHING = {"name": None, "list_pins": False, "drop": None, "copy_to": None}


@pytest.fixture
def environ(tmp_path):
    open_datadir(RealDisk(), str(tmp_path / "data"), os.urandom)
    return {"FS_DATA_DIR": str(tmp_path / "data")}


def test_a_snapshot_needs_a_running_node(environ, capsys):
    assert snapshot.main(environ, **NOTHING) == 2
    assert "no node is running" in capsys.readouterr().err
    assert snapshot.main(environ, **NOTHING | {"drop": "one"}) == 2


def test_the_list_needs_none(environ, capsys):
    assert snapshot.main(environ, **NOTHING | {"list_pins": True}) == 0
    assert capsys.readouterr().out == "no snapshots\n"


@pytest.mark.parametrize("wanted", [{"list_pins": True}, {"drop": "one"}, {"copy_to": "there"}, {}])
def test_a_folder_that_is_no_data_dir_is_named(wanted, tmp_path, capsys):
    assert snapshot.main({"FS_DATA_DIR": str(tmp_path / "none")}, **NOTHING | wanted) == 2
    assert f"{tmp_path / 'none'}: there is no data dir" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_wrong_arguments_are_exit_code_2(environ, tmp_path, capsys):
    assert snapshot.main(environ, **NOTHING | {"list_pins": True, "drop": "one"}) == 2
    for to, in_place in ((None, False), (str(tmp_path / "x"), True)):
        assert restore.main(environ, source="one", lsn=None, to=to, in_place=in_place) == 2
    assert "--in-place" in capsys.readouterr().err
    assert snapshot.main({"FS_WORKERS": "many"}, **NOTHING) == 2
    assert restore.main({"FS_WORKERS": "many"}, source="one", lsn=None, to=None, in_place=True) == 2


def test_a_restore_of_what_is_no_snapshot_changes_nothing(environ, tmp_path, capsys):
    before = sorted(os.listdir(environ["FS_DATA_DIR"]))
    assert restore.main(environ, source="one", lsn=None, to=None, in_place=True) == 1
    assert restore.main(environ, source=str(tmp_path), lsn=None, to=str(tmp_path / "new"), in_place=False) == 1
    assert "not a snapshot" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()
    assert set(os.listdir(environ["FS_DATA_DIR"])) - set(before) <= {"lock", "storage.lock"}


def test_in_place_there_must_be_a_store(tmp_path, capsys):
    environ = {"FS_DATA_DIR": str(tmp_path / "none")}
    assert restore.main(environ, source="one", lsn=None, to=None, in_place=True) == 2
    assert "use --to" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        {"drop": ""},
        {"copy_to": ""},
        {"name": ""},
        {"name": "monday", "drop": "tuesday"},
        {"name": "monday", "list_pins": True},
        {"drop": "monday", "copy_to": "there"},
    ],
)
def test_arguments_that_are_empty_or_too_many_do_nothing_else_than_was_meant(wrong, environ, capsys):
    assert snapshot.main(environ, **NOTHING | wrong) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) == 1


def test_nothing_is_restored_beside_a_running_node(environ, capsys):
    lock = DirLock(environ["FS_DATA_DIR"]).acquire(wait=False)
    try:
        assert restore.main(environ, source="one", lsn=None, to=None, in_place=True) == 2
    finally:
        os.close(lock)
    assert "stop it first" in capsys.readouterr().err
