"""The verb `snapshot`: pin the store as it is, list pins, let go of one, copy one out to a folder.

Pins are made and dropped by the running node, which owns them; listing and copying only read, so they work without a node too. Exit
codes: 0 done, 1 refused or failed (one line on stderr), 2 a wrong setting or wrong arguments.
"""

import os
import shutil
import sys
import time
from collections.abc import Mapping

from actors.messages import Refused
from actors.snapshot_messages import CopiesState, DescribeSnapshots, DropSnapshot, SnapshotDropped, SnapshotTaken, TakeSnapshot
from fasterstore import settings
from fasterstore.errors import StoreError
from fasterstore.metadata import index_file
from fasterstore.storage import pins
from fasterstore.storage.datadir import read_identity
from fasterstore.storage.disk import RealDisk
from fasterstore.storage.verified_copy import copy_verified
from fasterstore.storage.wal import list_files
from tools.progress_bar import ProgressBar
from tools.storage_session import NoNode, StorageSession

EXIT_FAILED, EXIT_WRONG_SETTING = 1, 2
_HEADINGS = ("name", "taken (UTC)", "LSN", "index", "segments", "held by it alone", "later LSNs")


class SnapshotFailed(Exception):
    """The node refused; the text is for people."""


def main(environ: Mapping[str, str], *, name: str | None, list_pins: bool, drop: str | None, copy_to: str | None) -> int:
    """Do what the arguments say.

    Args:
        environ: FS_DATA_DIR names the data dir.
        name: what the new snapshot is called, by default after the time; with `copy_to`, an existing one is copied.
        list_pins: print what snapshots there are.
        drop: the name of one to let go of.
        copy_to: a folder that does not exist; without `name` a snapshot is made for it and dropped afterwards.

    Returns:
        The exit code.
    """
    try:
        data_dir = os.path.abspath(settings.load(environ).data_dir)
    except settings.SettingsError as error:
        print(error, file=sys.stderr)
        return EXIT_WRONG_SETTING
    wrong = _wrong(name, list_pins, drop, copy_to)
    if wrong:
        print(wrong, file=sys.stderr)
        return EXIT_WRONG_SETTING
    try:
        if list_pins:
            print(table(data_dir))
        elif drop:
            print(f"dropped {drop}: {_size(_drop(data_dir, drop))} were held by it alone")
        elif copy_to:
            print(_copy_out(data_dir, name, os.path.abspath(copy_to)))
        else:
            taken = _take(data_dir, name or _default_name())
            print(f"snapshot {taken.name} holds everything up to LSN {taken.lsn}")
    except (NoNode, SnapshotFailed) as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    except StoreError as error:
        print(f"{error.name}: {error.detail}", file=sys.stderr)
        return EXIT_FAILED
    except OSError as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    return 0


def _wrong(name: str | None, list_pins: bool, drop: str | None, copy_to: str | None) -> str:
    """What is wrong with the arguments, "" for nothing. An empty one is a variable of a script that was not set: it means nothing else."""
    if "" in (name, drop, copy_to):
        return "a name or a folder is empty"
    if list_pins + (drop is not None) + (copy_to is not None) > 1:
        return "only one of --list, --drop and --copy-to at a time"
    if name is not None and (list_pins or drop is not None):
        return f"{name!r} goes with neither --list nor --drop"
    return ""


def table(data_dir: str) -> str:
    """Every snapshot, the oldest first, and which later LSNs it can be restored to."""
    disk = RealDisk()
    snapshots = os.path.join(data_dir, "snapshots")
    if not os.path.exists(os.path.join(data_dir, "format.json")):
        raise SnapshotFailed(f"{data_dir}: not a data dir")
    _node_id, log_uuid = read_identity(disk, data_dir)
    firsts = list_files(disk, os.path.join(data_dir, "journal"))
    lines = [_HEADINGS]
    for pin in pins.list_pins(disk, snapshots):
        follows = pin.log_uuid == log_uuid and bool(firsts) and firsts[0] <= pin.lsn + 1
        lines.append((
            pin.name,
            time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(pin.made_ms / 1000)),
            str(pin.lsn),
            _size(pin.index_bytes),
            f"{pin.segments} files, {_size(pin.segment_bytes)}",
            _size(pins.own_bytes(pin.path)),
            "yes" if follows else "no",
        ))  # fmt: skip
    if len(lines) == 1:
        return "no snapshots"
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    held = pins.held_bytes(snapshots, os.path.join(data_dir, "segments"))
    return "\n".join([*text, f"all of them hold {_size(held)} that the store itself does not"])


def copy_folder(pin: pins.Pin, target: str, bar: ProgressBar) -> None:
    """Copy a snapshot to the new folder `target`, every byte read back. On return it is on stable storage. Raises StoreError, OSError."""
    disk = RealDisk()
    if os.path.exists(target):
        raise SnapshotFailed(f"{target} exists already")
    making = target + ".tmp"
    if os.path.exists(making):
        raise SnapshotFailed(f"{making} is left over from a copy that was cut short: remove it")
    segments = os.path.join(making, pins.SEGMENTS_NAME)
    os.makedirs(os.path.dirname(making), exist_ok=True)
    for folder in (making, segments):
        os.mkdir(folder, 0o700)  # names of files and their sizes are nobody else's business, as in a data dir
    try:
        names = [pins.INDEX_NAME, pins.KEYS_NAME]
        names += [os.path.join(pins.SEGMENTS_NAME, name) for name in disk.listdir(os.path.join(pin.path, pins.SEGMENTS_NAME))]
        total = 2 * sum(os.path.getsize(os.path.join(pin.path, name)) for name in names)
        done = 0
        for name in names:
            for step in copy_verified(disk, os.path.join(pin.path, name), os.path.join(making, name)):
                done += step
                bar.show("copying", done, total)
        for rows in index_file.check_file(os.path.join(making, pins.INDEX_NAME)):
            bar.show("checking the index", rows, 0)
        for folder in (segments, making):
            disk.fsync_dir(folder)
        pins.write_document(disk, pin._replace(path=making))
        disk.rename(making, target)
        disk.fsync_dir(os.path.dirname(target))
    except BaseException:
        shutil.rmtree(making, ignore_errors=True)
        raise


def _copy_out(data_dir: str, name: str | None, target: str) -> str:
    made = "" if name else _take(data_dir, _default_name()).name
    bar = ProgressBar()
    try:
        path = os.path.join(pins.pins_dir(os.path.join(data_dir, "snapshots")), pins.check_name(name or made))
        pin = pins.read_pin(RealDisk(), path)
        copy_folder(pin, target, bar)
    finally:
        bar.close()
        if made:
            _drop(data_dir, made)
    return f"{target} holds everything up to LSN {pin.lsn}: {pin.segments} segments, {_size(pin.segment_bytes + pin.index_bytes)}"


def _take(data_dir: str, name: str) -> SnapshotTaken:
    bar = ProgressBar()
    with StorageSession(data_dir) as session:

        def show() -> None:
            state = session.ask("snapshots", DescribeSnapshots())
            if isinstance(state, CopiesState) and state.doing:
                bar.show(state.doing, state.done, state.total)

        try:
            answer = session.ask("snapshots", TakeSnapshot(name), show)
        finally:
            bar.close()
    if isinstance(answer, SnapshotTaken):
        return answer
    raise SnapshotFailed(_why(answer))


def _drop(data_dir: str, name: str) -> int:
    with StorageSession(data_dir) as session:
        answer = session.ask("snapshots", DropSnapshot(name))
    if isinstance(answer, SnapshotDropped):
        return answer.freed_bytes
    raise SnapshotFailed(_why(answer))


def _why(answer: object) -> str:
    return f"{answer.error}: {answer.detail}" if isinstance(answer, Refused) else f"the node answered {answer!r}"


def _default_name() -> str:
    return time.strftime("%Y%m%d-%H%M%S", time.gmtime())


def _size(size_bytes: int) -> str:
    value, unit = float(size_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
