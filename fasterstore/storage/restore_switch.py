"""The last step of a restore in place: what was prepared takes the place of what is there, as a whole or not at all.

    restore/         what was prepared: index/ journal/ segments/ format.json and perhaps keys.json, all of it synced
    restore.json     {"restore": 1, "aside": the name of a folder in quarantine/, "log_uuid": 32 hex digits}: the commit point

Without `restore.json` the folder `restore/` means nothing and the old store opens. With it, whoever opens the data dir finishes the switch
first: each piece that is still in `restore/` takes its place, after what had that place was moved to `quarantine/ASIDE/`; then the
kept copies of the index of any other log go there too; then the file is removed. Every step is a rename, durable before the next, and can
be seen to be done or not, so it does not matter how often it is begun. Nothing is deleted.
"""

import json
import os

from fasterstore.errors import UnsupportedFormat
from fasterstore.storage.disk import Disk, read_file
from fasterstore.storage.kept_copies import files_of, list_copies, log_mark

VERSION = 1
STAGING_NAME, COMMIT_NAME = "restore", "restore.json"
PIECES = ("index", "journal", "segments", "keys.json", "format.json")


def commit_document(aside: str, log_uuid: bytes) -> bytes:
    """The bytes of `restore.json`."""
    return (json.dumps({"restore": VERSION, "aside": aside, "log_uuid": log_uuid.hex()}) + "\n").encode("ascii")


def finish_restore(disk: Disk, path: str) -> str:
    """Finish a switch that has been committed; returns the folder with what was replaced, "" if there was nothing to do.

    Raises UnsupportedFormat: the commit point is unreadable or of a newer version; OSError.
    """
    commit = os.path.join(path, COMMIT_NAME)
    if not disk.exists(commit):
        return ""
    aside_name, log_uuid = _read(disk, commit)
    quarantine, staging = os.path.join(path, "quarantine"), os.path.join(path, STAGING_NAME)
    aside, snapshots = os.path.join(quarantine, aside_name), os.path.join(path, "snapshots")
    for folder in (quarantine, snapshots):  # a store can be without these two
        if not disk.exists(folder):
            disk.mkdir(folder)
            disk.fsync_dir(path)
    if not disk.exists(aside):
        disk.mkdir(aside)
        disk.fsync_dir(quarantine)
    for name in PIECES:
        staged, place = os.path.join(staging, name), os.path.join(path, name)
        if not disk.exists(staged):
            continue
        if disk.exists(place):
            disk.rename(place, os.path.join(aside, name))
            disk.fsync_dir(aside)
            disk.fsync_dir(path)
        disk.rename(staged, place)
        disk.fsync_dir(path)
        disk.fsync_dir(staging)
    for copy in list_copies(disk, snapshots):
        if copy.mark != log_mark(log_uuid):
            for file in files_of(disk, os.path.join(snapshots, copy.name)):
                disk.rename(file, os.path.join(aside, os.path.basename(file)))
    disk.fsync_dir(aside)
    disk.fsync_dir(snapshots)
    disk.unlink(commit)
    disk.fsync_dir(path)
    if disk.exists(staging):
        os.rmdir(staging)
    return aside


def _read(disk: Disk, path: str) -> tuple[str, bytes]:
    try:
        document = json.loads(read_file(disk, path))
        version, aside, log_uuid = document["restore"], document["aside"], bytes.fromhex(document["log_uuid"])
    except (ValueError, KeyError, TypeError) as error:
        raise UnsupportedFormat(f"{path}: unreadable; a restore was to be finished by it") from error
    if version != VERSION or os.path.basename(aside) != aside:
        raise UnsupportedFormat(f"{path}: version {version}; this version knows {VERSION}")
    return aside, log_uuid
