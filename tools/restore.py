"""The verb `restore`: bring back a snapshot, or a later moment that the log still holds, into a new data dir or in place.

It holds the data dir's locks, so no node runs meanwhile. In place, what is replaced goes to `quarantine/restore-TIME/` and is deleted by
nobody but the operator; its bytes stay on the disk until then. Killed at any moment it leaves the old store or the new one. Exit
codes: 0 done, 1 refused or failed (one line on stderr), 2 a wrong setting or wrong arguments.
"""

import os
import shutil
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack

from fasterstore import settings
from fasterstore.errors import StoreError
from fasterstore.metadata.restoring import RestoreRefused, Target, prepare
from fasterstore.storage import pins
from fasterstore.storage.atomic_file import write_atomically
from fasterstore.storage.datadir import NODE_LOCK_NAME, STORAGE_LOCK_NAME, DirInUse, DirLock, read_identity
from fasterstore.storage.disk import Disk, RealDisk
from fasterstore.storage.restore_switch import COMMIT_NAME, PIECES, STAGING_NAME, commit_document, finish_restore
from tools.progress_bar import ProgressBar

EXIT_FAILED, EXIT_WRONG_SETTING = 1, 2
UUID_BYTES = 16


def main(environ: Mapping[str, str], *, source: str, lsn: int | None, to: str | None, in_place: bool) -> int:
    """Restore.

    Args:
        environ: FS_DATA_DIR names the data dir.
        source: the name of a pin in it, or the path of a folder that `snapshot --copy-to` made.
        lsn: the entry to go on to, at or above the snapshot's.
        to: a folder that does not exist (or is empty): the new data dir.
        in_place: replace what is in FS_DATA_DIR.

    Returns:
        The exit code.
    """
    try:
        data_dir = os.path.abspath(settings.load(environ).data_dir)
    except settings.SettingsError as error:
        print(error, file=sys.stderr)
        return EXIT_WRONG_SETTING
    if bool(to) == in_place:
        print("say where: --to FOLDER for a new data dir, or --in-place (what is there is moved to quarantine)", file=sys.stderr)
        return EXIT_WRONG_SETTING
    bar = ProgressBar()
    try:
        with ExitStack() as stack:
            is_store = os.path.exists(os.path.join(data_dir, "format.json"))
            if in_place and not is_store:
                raise RestoreRefused(f"{data_dir} holds no store: use --to {data_dir}")
            if is_store and (in_place or lsn is not None or not os.path.isdir(source)):
                _lock(stack, data_dir)
            pin = _find(data_dir, source)
            report = restore(RealDisk(), data_dir if is_store else None, pin, pin.lsn if lsn is None else lsn, to, bar)
    except DirInUse:
        print(f"{data_dir}: a node is running on it; stop it first", file=sys.stderr)
        return EXIT_FAILED
    except StoreError as error:
        print(f"{error.name}: {error.detail}", file=sys.stderr)
        return EXIT_FAILED
    except OSError as error:
        print(error, file=sys.stderr)
        return EXIT_FAILED
    finally:
        bar.close()
    print(report)
    return 0


def restore(disk: Disk, data_dir: str | None, pin: pins.Pin, lsn: int, to: str | None, bar: ProgressBar) -> str:
    """Restore `pin` as of `lsn`; the locks are held. Returns a line for people. Raises StoreError, OSError."""
    if to is not None:
        path = os.path.abspath(to)
        if os.path.exists(path) and (not os.path.isdir(path) or os.listdir(path)):
            raise RestoreRefused(f"{path} exists and is not an empty folder")
        making = path + ".tmp"
        _require_ours(making)
        _make_empty(making)
        target = Target(making, os.urandom(UUID_BYTES), True)
        try:
            _prepare(disk, pin, target, lsn, data_dir, bar)
            disk.fsync_dir(making)
            disk.rename(making, path)
            disk.fsync_dir(os.path.dirname(path))
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise
        return f"{path} holds everything up to LSN {lsn}"
    assert data_dir is not None
    finish_restore(disk, data_dir)  # one that was cut short behind its commit point
    staging = os.path.join(data_dir, STAGING_NAME)
    _make_empty(staging)
    node_id, _log_uuid = read_identity(disk, data_dir)
    # The running keys hold all that older ones held, under today's master key; another node's snapshot brings its own, and with them
    # the data dir becomes another node's: its older snapshots then bring back theirs.
    with_keys = pin.node_id != node_id or not disk.exists(os.path.join(data_dir, pins.KEYS_NAME))
    if pin.node_id != node_id:
        node_id = os.urandom(UUID_BYTES)
    log_uuid = _prepare(disk, pin, Target(staging, node_id, with_keys), lsn, data_dir, bar)
    disk.fsync_dir(staging)
    disk.fsync_dir(data_dir)
    aside = time.strftime("restore-%Y%m%d-%H%M%S", time.gmtime()) + f"-{log_uuid[:2].hex()}"
    write_atomically(disk, os.path.join(data_dir, COMMIT_NAME), commit_document(aside, log_uuid))
    moved = finish_restore(disk, data_dir)
    return f"{data_dir} holds everything up to LSN {lsn}; what was there is in {moved}"


def _prepare(disk: Disk, pin: pins.Pin, target: Target, lsn: int, data_dir: str | None, bar: ProgressBar) -> bytes:
    """Prepare the target; return the new log's uuid."""
    what = ""
    same_log = data_dir is not None and read_identity(disk, data_dir)[1] == pin.log_uuid
    if lsn != pin.lsn and not same_log:
        raise RestoreRefused(f"snapshot {pin.name} is of another log than the one in {data_dir}: only LSN {pin.lsn} can be restored")
    for what, done, total in prepare(disk, pin, target, lsn, data_dir if same_log else None, os.urandom, now_ms=int(time.time() * 1000)):
        bar.show(what, done, total)
    return bytes.fromhex(what)


def _find(data_dir: str, source: str) -> pins.Pin:
    disk = RealDisk()
    if os.sep in source or not disk.exists(os.path.join(pins.pins_dir(os.path.join(data_dir, "snapshots")), source)):
        return pins.read_pin(disk, os.path.abspath(source))
    return pins.read_pin(disk, os.path.join(pins.pins_dir(os.path.join(data_dir, "snapshots")), pins.check_name(source)))


def _lock(stack: ExitStack, data_dir: str) -> None:
    for name in (NODE_LOCK_NAME, STORAGE_LOCK_NAME):
        stack.callback(os.close, DirLock(data_dir, name).acquire(wait=False))


def _require_ours(path: str) -> None:
    """Raises RestoreRefused if what an earlier attempt may have left at `path` holds anything that a restore does not make."""
    known = {*PIECES, *(name + ".tmp" for name in PIECES)}
    if os.path.lexists(path) and (os.path.islink(path) or not os.path.isdir(path) or not known.issuperset(os.listdir(path))):
        raise RestoreRefused(f"{path} exists, and not from a restore that was cut short: move it away")


def _make_empty(path: str) -> None:
    """A new empty folder; one that an earlier attempt left is removed: it was never part of a store."""
    if os.path.exists(path):
        pins.remove_folder(RealDisk(), path)
    os.mkdir(path, 0o700)
