"""The verb `snapshot`: pin the store as it is, list pins, let go of one, copy one out to a folder.

Pins are made and dropped by the running node, which owns them; listing and copying only read, so they work without a node too. Exit
codes: `tools/verb.py`.
"""

import os
import shutil
import time
from collections.abc import Mapping

from actors.messages import Refused
from actors.snapshot_messages import CopiesState, DescribeSnapshots, DropSnapshot, SnapshotDropped, SnapshotTaken, TakeSnapshot
from fasterstore.metadata import index_file
from fasterstore.storage import pins
from fasterstore.storage.datadir import read_identity
from fasterstore.storage.disk import RealDisk
from fasterstore.storage.verified_copy import copy_verified
from fasterstore.storage.wal import list_files
from tools import verb
from tools.progress_bar import ProgressBar
from tools.storage_session import StorageSession

_HEADINGS = ("name", "taken (UTC)", "LSN", "index", "segments", "held by it alone", "later LSNs")


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
    return verb.run(lambda: _done(verb.data_dir_of(environ), name, list_pins, drop, copy_to))


def _done(data_dir: str, name: str | None, list_pins: bool, drop: str | None, copy_to: str | None) -> str:
    """See main; returns what there is to say."""
    wrong = _wrong(name, list_pins, drop, copy_to)
    if wrong:
        raise verb.NotBegun(wrong)
    verb.need_data_dir(data_dir)
    if list_pins:
        return table(data_dir)
    if drop:
        return f"dropped {drop}: {_size(_drop(data_dir, drop))} were held by it alone"
    if copy_to:
        return _copy_out(data_dir, name, os.path.abspath(copy_to))
    taken = _take(data_dir, name or _default_name())
    return f"snapshot {taken.name} holds everything up to LSN {taken.lsn}"


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
        raise verb.Failed(f"{target} exists already")
    making = target + ".tmp"
    if os.path.exists(making):
        raise verb.Failed(f"{making} is left over from a copy that was cut short: remove it")
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
    raise verb.Failed(_why(answer))


def _drop(data_dir: str, name: str) -> int:
    with StorageSession(data_dir) as session:
        answer = session.ask("snapshots", DropSnapshot(name))
    if isinstance(answer, SnapshotDropped):
        return answer.freed_bytes
    raise verb.Failed(_why(answer))


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
