"""The document of a pin, pinned; names; what cannot be read is no pin."""

import json
import os
from pathlib import Path

import pytest

from fasterstore.errors import UnsupportedFormat
from fasterstore.storage import pins
from fasterstore.storage.disk import RealDisk
from fasterstore.storage.pins import Pin, PinRefused

GOLDEN = Path(__file__).parents[2] / "golden" / "snapshot_v1.json"
PIN = Pin("weekly", "", 4711, bytes(range(16)), bytes(range(16, 32)), 2, 1_700_000_000_123, 40960, 3, 1610612736)


@pytest.fixture
def snapshots(tmp_path):
    (tmp_path / "pins" / "weekly" / "segments").mkdir(parents=True)
    return str(tmp_path)


def test_the_document_is_the_golden_one_and_means_the_pin(snapshots):
    path = os.path.join(snapshots, "pins", "weekly")
    pin = PIN._replace(path=path)
    pins.write_document(RealDisk(), pin)
    assert Path(path, "snapshot.json").read_bytes() == GOLDEN.read_bytes()
    assert pins.read_pin(RealDisk(), path) == pin
    assert pins.list_pins(RealDisk(), snapshots) == [pin]


@pytest.mark.parametrize("change", [{"snapshot": 2}, {"data_format": 99}, {"lsn": None, "log_uuid": "zz"}, {"log_uuid": 5}])
def test_a_document_of_a_newer_version_or_not_readable_is_refused_by_name(snapshots, change):
    path = os.path.join(snapshots, "pins", "weekly")
    Path(path, "snapshot.json").write_text(json.dumps(json.loads(GOLDEN.read_text()) | change))
    with pytest.raises(UnsupportedFormat, match="snapshot.json"):
        pins.read_pin(RealDisk(), path)
    assert pins.list_pins(RealDisk(), snapshots) == []


def test_a_folder_without_a_document_is_no_pin(snapshots):
    with pytest.raises(UnsupportedFormat, match="not a snapshot"):
        pins.read_pin(RealDisk(), os.path.join(snapshots, "pins", "weekly"))


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a b", "-x", "x.tmp", "x.drop", "n" * 101, "é"])
def test_names_that_are_no_names_are_refused(name):
    with pytest.raises(PinRefused):
        pins.check_name(name)
    assert pins.check_name("2026-11-28_a.B") == "2026-11-28_a.B"


def test_own_bytes_are_those_that_nothing_else_holds(tmp_path, snapshots):
    live = tmp_path / "segments"
    live.mkdir()
    for name in ("kept", "gone"):
        (live / name).write_bytes(os.urandom(8192))
        os.link(live / name, os.path.join(snapshots, "pins", "weekly", "segments", name))
    path = os.path.join(snapshots, "pins", "weekly")
    assert pins.own_bytes(path) == 0
    assert pins.held_bytes(snapshots, str(live)) == 0
    (live / "gone").unlink()
    assert pins.own_bytes(path) == pins.held_bytes(snapshots, str(live)) == 8192
    second = os.path.join(snapshots, "pins", "second")
    os.mkdir(second)
    os.link(os.path.join(path, "segments", "gone"), os.path.join(second, "gone"))
    assert pins.own_bytes(path) == 0
    assert pins.held_bytes(snapshots, str(live)) == 8192, "once, however many pins hold it"


def test_the_cap_is_what_was_set_or_a_quarter_of_the_disk(snapshots):
    assert pins.cap_bytes(snapshots, 5) == 5
    status = os.statvfs(snapshots)
    assert pins.cap_bytes(snapshots, 0) == status.f_blocks * status.f_frsize // 4


def test_unfinished_pins_are_removed_and_whole_ones_stay(snapshots):
    for name in ("a.tmp", "b.drop"):
        Path(snapshots, "pins", name, "segments").mkdir(parents=True)
        Path(snapshots, "pins", name, "segments", "f").touch()
    pins.remove_unfinished(RealDisk(), snapshots)
    assert os.listdir(os.path.join(snapshots, "pins")) == ["weekly"]
