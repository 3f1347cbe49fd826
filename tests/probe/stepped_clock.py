"""A wall clock of a node's own that a test can set while the node runs: a small C library, compiled here and preloaded into the node.

The kernel has one time of day for all: a time namespace shifts the monotonic clocks only. So what the node's processes ask libc is
answered with an offset that lies in a file. Needs a C compiler; `SteppedClockUnavailable` says so where there is none.
"""

import os
import shutil
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("stepped_clock.c")
_OFFSET = struct.Struct("=q")


class SteppedClockUnavailable(Exception):
    """No compiler, or it does not compile; the text says which."""


def compile_library(folder: Path) -> Path:
    """Compile the library into `folder`. Raises SteppedClockUnavailable."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise SteppedClockUnavailable("a clock of its own for each node needs a C compiler (cc)")
    library = folder / "stepped_clock.so"
    command = [compiler, "-shared", "-fPIC", "-O2", "-o", str(library), str(SOURCE), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if done.returncode:
        raise SteppedClockUnavailable(f"the clock's library does not compile: {done.stderr.strip()}")
    return library


class SteppedClock:
    """One clock: `environment` is what a program must be started with; `set` takes effect in it at once."""

    def __init__(self, library: Path, path: Path) -> None:
        """`path`: the file that holds the offset, made here."""
        self._library = library
        self._path = path
        self.offset_secs = 0.0
        path.write_bytes(_OFFSET.pack(0))

    @property
    def environment(self) -> dict[str, str]:
        return {"LD_PRELOAD": str(self._library), "STEPPED_CLOCK_FILE": str(self._path)}

    def set(self, offset_secs: float) -> None:
        """So far from the machine's time from now on, in seconds; 0 is right again."""
        self.offset_secs = offset_secs
        fd = os.open(self._path, os.O_WRONLY)
        try:
            os.pwrite(fd, _OFFSET.pack(round(offset_secs * 1e9)), 0)
        finally:
            os.close(fd)
