"""One input under watch: what a target raises, how long it takes, and how much memory it needs, as findings.

Time is the process's own, so that a busy machine makes no finding; memory is the growth of the peak of resident memory.
"""

import mmap
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

SLOW_SECS = 1.0
MEMORY_MAX_BYTES = 64 << 20
FINDINGS_MAX = 20
LAST_INPUT_BYTES = 1 << 20
_LENGTH_BYTES = 8
_KIBIBYTE = 1024


class Finding(NamedTuple):
    """`kind` is "exception", "slow", "memory", "crash" or "hang"; `text` says where; `data` is the input."""

    kind: str
    text: str
    data: bytes


class Watched:
    """`one_input` under watch: it never raises; distinct findings are kept."""

    def __init__(self, one_input: Callable[[bytes], None], last_input: Path) -> None:
        """`last_input`: a file that always holds the input in progress, for whoever finds this process dead."""
        self._one_input = one_input
        self.executions = 0
        self.findings: dict[str, Finding] = {}
        with open(last_input, "wb+") as file:
            file.truncate(LAST_INPUT_BYTES)
            self._last = mmap.mmap(file.fileno(), LAST_INPUT_BYTES)

    def __call__(self, data: bytes) -> None:
        """Run one input."""
        kept = data[: LAST_INPUT_BYTES - _LENGTH_BYTES]
        self._last[: _LENGTH_BYTES + len(kept)] = len(kept).to_bytes(_LENGTH_BYTES, "little") + kept
        self.executions += 1
        peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.process_time()
        try:
            self._one_input(data)
        except Exception as error:
            where = _place_of(error)
            self._found("exception", where, f"{where}: {str(error)[:300]}", data)
        elapsed = time.process_time() - started
        if elapsed > SLOW_SECS:
            self._found("slow", "slow", f"{elapsed:.1f} s for {len(data)} bytes", data)
        grown_bytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak_kib) * _KIBIBYTE
        if grown_bytes > MEMORY_MAX_BYTES:
            self._found("memory", "memory", f"{grown_bytes >> 20} MiB for {len(data)} bytes", data)

    def raises(self, data: bytes) -> bool:
        """Does that input raise? Not counted, and no finding."""
        try:
            self._one_input(data)
        except Exception:
            return True
        return False

    @property
    def is_full(self) -> bool:
        """Are there as many findings as anybody would read?"""
        return len(self.findings) >= FINDINGS_MAX

    def _found(self, kind: str, key: str, text: str, data: bytes) -> None:
        if key not in self.findings and not self.is_full:
            self.findings[key] = Finding(kind, text, data)


def _place_of(error: Exception) -> str:
    """Its type, and the innermost line of ours; without the traceback module, which reads every source file on its way."""
    trace, name, line = error.__traceback__, "", 0
    while trace is not None:
        name, line = trace.tb_frame.f_code.co_filename, trace.tb_lineno
        trace = trace.tb_next
    return f"{type(error).__name__} at {name.rpartition('/')[2]}:{line}"


def last_input(path: Path) -> bytes:
    """The input that the process that wrote the file was busy with; b"" if none."""
    held = path.read_bytes() if path.exists() else b""
    return held[_LENGTH_BYTES : _LENGTH_BYTES + int.from_bytes(held[:_LENGTH_BYTES], "little")]
