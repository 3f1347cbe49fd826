"""A file system in a file, mounted through a loop device, whose power can be cut: root only.

The cut is the file system's own shutdown call with "no log flush": from that moment every write fails, and what was not on stable
storage is gone at the next mount. ext4 and XFS have it under one number.
"""

import contextlib
import fcntl
import os
import struct
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from actors.runtime import close_now

SHUTDOWN = 0x8004587D
NO_LOG_FLUSH = 2
IMAGE_BYTES = 4 << 30
"""Sparse: it takes what is written."""
MAKE = {"ext4": ["mkfs.ext4", "-q", "-F"], "xfs": ["mkfs.xfs", "-q", "-f"]}
MOUNT = {"ext4": "loop", "xfs": "loop,nouuid"}
"""XFS mounts none of which it has another with the same UUID: a copy of an image that somebody still has mounted."""
UNMOUNT_SECS = 10.0
RELEASE_SECS = 1.0


class LoopVolume:
    """A mounted image. `cut` and then `remount`, as often as wanted; `close` unmounts it."""

    def __init__(self, folder: Path, kind: str, size_bytes: int = IMAGE_BYTES, options: Sequence[str] = ()) -> None:
        """Make and mount it. `options`: more of the program that makes it. Raises OSError with what the failing program said."""
        self.path = folder / "mnt"
        self._options = MOUNT[kind]
        self._image = folder / f"{kind}.img"
        self.path.mkdir()
        with open(self._image, "wb") as image:
            image.truncate(size_bytes)
        _run(*MAKE[kind], *options, str(self._image))
        self._mount()

    def _mount(self) -> None:
        _run("mount", "-o", self._options, str(self._image), str(self.path))

    def cut(self) -> None:
        """The power goes. Raises OSError if the file system refuses."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            close_now(fd)  # gevent's close asks fstat first, which fails on XFS after the cut

    def remount(self) -> None:
        """The power is back: what is there now is what had reached the disk. Every process must have closed its files."""
        self.close()
        if self._is_held():
            # Whatever has a mount namespace of its own, made meanwhile, has this mount in it, too: the file system that was shut down lives
            # on there, and every mount of the same image would be given that one. A cut loses nothing that is in the image's file.
            copy = self._image.with_name(f"again-{self._image.name}")
            _run("cp", "--sparse=always", str(self._image), str(copy))
            self._image.unlink()
            self._image = copy
        self._mount()

    def _is_held(self) -> bool:
        """Whether the image still has its loop device, which goes with the last mount of it."""
        deadline = time.monotonic() + RELEASE_SECS
        while _run("losetup", "--associated", str(self._image)):
            if time.monotonic() > deadline:
                return True
            time.sleep(0.02)
        return False

    def close(self) -> None:
        """Unmount. A process that was just killed may need a moment to let go."""
        _unmount(self.path)


@contextlib.contextmanager
def small_volume(folder: Path, kind: str, size_bytes: int, options: Sequence[str] = ()) -> Iterator[Path]:
    """A mounted file system of that size, "tmpfs" too; skips the test with the reason where this machine does not allow one."""
    if os.geteuid() != 0:
        pytest.skip("a mount needs root")
    if kind == "tmpfs":
        path = folder / "mnt"
        path.mkdir()
        try:
            _run("mount", "-t", "tmpfs", "-o", ",".join([f"size={size_bytes}", *options]), "tmpfs", str(path))
        except OSError as error:
            pytest.skip(f"no tmpfs here: {error}")
        try:
            yield path
        finally:
            _unmount(path)
        return
    try:
        made = LoopVolume(folder, kind, size_bytes, options)
    except OSError as error:
        pytest.skip(f"no loop-mounted {kind} here: {error}")
    try:
        yield made.path
    finally:
        made.close()


@contextlib.contextmanager
def volume(folder: Path, kind: str) -> Iterator[LoopVolume]:
    """A volume that can be cut; skips the test with the reason where this machine does not allow one."""
    if os.geteuid() != 0:
        pytest.skip("a loop mount needs root")
    try:
        made = LoopVolume(folder, kind)
    except OSError as error:
        pytest.skip(f"no loop-mounted {kind} here: {error}")
    try:
        try:
            made.cut()
        except OSError as error:
            pytest.skip(f"{kind} here has no shutdown call: {error}")
        made.remount()
        yield made
    finally:
        made.close()


def _unmount(path: Path) -> None:
    deadline = time.monotonic() + UNMOUNT_SECS
    while True:
        try:
            _run("umount", str(path))
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.05)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError as error:
        raise OSError(f"{command[0]} is not installed") from error
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
