"""What happens to keys.json before a node with a master key starts: encryption is turned on if it is not yet, and every key is opened once.

Runs in a short-lived process of its own, under the node's lock.
"""

import logging
from collections.abc import Callable

from fasterstore.keyring import turn_on, unlock
from fasterstore.storage.datadir import DataDir
from fasterstore.storage.disk import Disk
from fasterstore.storage.key_file import write_key_file

logger = logging.getLogger("fasterstore.node")


def prepare(disk: Disk, datadir: DataDir, master_key: bytes, random_bytes: Callable[[int], bytes]) -> None:
    """Wrap the keys of a plain data dir; check that `master_key` opens those of any other.

    Raises WrongMasterKey, UnsupportedFormat (a wrapped key was changed), OSError.
    """
    keys = datadir.keys
    if not keys.wrapped:
        keys = turn_on(keys, master_key, random_bytes, nothing_stored=not disk.listdir(datadir.segments_dir))
        write_key_file(disk, datadir.keys_path, keys, keep_previous=False)
        logger.info("encryption at rest is on from here: new records are sealed under epoch key %d", keys.epochs[-1])
    unlock(keys, master_key)
