"""Folders of files, as programs that sync them see them."""

import os
import time
from pathlib import Path


def write_tree(folder: Path, contents: dict[str, bytes]) -> None:
    """Write each content to its path below `folder`, an hour old as most files are that are synced; what else is there stays."""
    an_hour_ago = time.time() - 3600
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
        os.utime(folder / name, (an_hour_ago, an_hour_ago))


def read_tree(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`: {path below it: content}."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
