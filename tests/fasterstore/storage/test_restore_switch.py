"""The document that commits a restore in place: its bytes are pinned, and one that cannot be understood stops the start."""

import os
import random

import pytest

from fasterstore.errors import UnsupportedFormat
from fasterstore.storage.datadir import open_datadir, read_datadir
from fasterstore.storage.disk import RealDisk
from fasterstore.storage.restore_switch import commit_document, finish_restore

LOG = bytes(range(16))


def test_the_document_is_the_documented_one():
    assert commit_document("restore-1", LOG) == b'{"restore": 1, "aside": "restore-1", "log_uuid": "000102030405060708090a0b0c0d0e0f"}\n'


def test_without_a_commit_point_what_was_prepared_means_nothing(tmp_path):
    path = str(tmp_path / "data")
    before = open_datadir(RealDisk(), path, random.Random(1).randbytes)
    os.makedirs(os.path.join(path, "restore", "index"))
    assert finish_restore(RealDisk(), path) == ""
    assert open_datadir(RealDisk(), path, random.Random(2).randbytes) == before


@pytest.mark.parametrize(
    "document", [b"", b"{}", b'{"restore": 2, "aside": "a", "log_uuid": ""}', b'{"restore": 1, "aside": "../a", "log_uuid": ""}']
)
def test_a_commit_point_that_cannot_be_understood_stops_the_start_by_name(tmp_path, document):
    path = str(tmp_path / "data")
    open_datadir(RealDisk(), path, random.Random(1).randbytes)
    (tmp_path / "data" / "restore.json").write_bytes(document)
    with pytest.raises(UnsupportedFormat, match="restore.json"):
        open_datadir(RealDisk(), path, random.Random(1).randbytes)
    assert (tmp_path / "data" / "format.json").exists()


def test_each_piece_takes_its_place_and_what_had_it_is_kept(tmp_path):
    path = tmp_path / "data"
    open_datadir(RealDisk(), str(path), random.Random(1).randbytes)
    old_format = (path / "format.json").read_bytes()
    (path / "snapshots" / "0000000000000001-000000000001-ffffffff.copy").write_bytes(b"of the old log")
    (path / "snapshots" / "0000000000000001-000000000001-00010203.copy").write_bytes(b"of the new log")
    for name in ("index", "journal", "segments"):
        (path / "restore" / name).mkdir(parents=True)
        (path / "restore" / name / "new").touch()
    (path / "restore" / "format.json").write_bytes(b"new")
    (path / "restore.json").write_bytes(commit_document("restore-1", LOG))
    aside = finish_restore(RealDisk(), str(path))
    assert aside == str(path / "quarantine" / "restore-1")
    assert (path / "index" / "new").exists()
    assert (path / "format.json").read_bytes() == b"new"
    assert (path / "quarantine" / "restore-1" / "format.json").read_bytes() == old_format
    assert (path / "quarantine" / "restore-1" / "0000000000000001-000000000001-ffffffff.copy").exists()
    assert (path / "snapshots" / "0000000000000001-000000000001-00010203.copy").exists()
    assert (path / "keys.json").exists(), "what was not prepared stays"
    assert not (path / "restore").exists()
    assert finish_restore(RealDisk(), str(path)) == ""


def test_a_data_dir_without_the_folders_of_copies_is_switched_too(tmp_path):
    path = tmp_path / "data"
    open_datadir(RealDisk(), str(path), random.Random(1).randbytes)
    for name in ("snapshots", "quarantine"):
        (path / name).rmdir()
    (path / "restore").mkdir()
    (path / "restore" / "format.json").write_bytes(b"new")
    (path / "restore.json").write_bytes(commit_document("restore-1", LOG))
    assert finish_restore(RealDisk(), str(path)) == str(path / "quarantine" / "restore-1")
    assert (path / "format.json").read_bytes() == b"new"
    assert not (path / "restore.json").exists()


def test_who_only_looks_at_a_data_dir_refuses_one_that_is_half_switched(tmp_path):
    path = str(tmp_path / "data")
    open_datadir(RealDisk(), path, random.Random(1).randbytes)
    assert read_datadir(RealDisk(), path).path == path
    (tmp_path / "data" / "restore").mkdir()
    (tmp_path / "data" / "restore.json").write_bytes(commit_document("restore-1", LOG))
    with pytest.raises(UnsupportedFormat, match="cut short"):
        read_datadir(RealDisk(), path)
    assert (tmp_path / "data" / "restore.json").exists()
    finish_restore(RealDisk(), path)
    assert read_datadir(RealDisk(), path).path == path
