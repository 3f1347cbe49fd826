"""What scrubbing knows about itself: the round's progress, what was found, and how it is told to operators. Owned by the scrubber.

Pure bookkeeping: it reads no clock and no file. Blobs are named by number and segments by file; only the reason for a damaged index row
may hold a key, so findings are for the administrator alone.
"""

from collections import deque
from typing import Any

from fasterstore.scrub.damage import Damage, Step, What
from fasterstore.scrub.progress import Counts, Progress, pause_secs
from fasterstore.storage.segment import segment_name

FINDINGS_SHOWN = 20
_SMOOTHING = 0.1
"""Weight of the newest step in the pace that is shown."""


class ScrubReport:
    """See the module. `interval_secs` 0: rounds only when asked for; `share` of the disk's time, above 0 and at most 1."""

    def __init__(self, interval_secs: float, share: float) -> None:
        self.interval_secs = interval_secs
        self.share = share
        self.progress = Progress()
        self.total_bytes = 0
        """About what a whole round reads."""
        self.running = False
        self.full_speed = False
        self.paused = False
        self.counts = Counts()
        """Over all rounds of this process."""
        self.copies_refused = 0
        """Bad records that were not copied aside, for want of room."""
        self.index_damage = self.copy_damage = ""
        self.findings: deque[str] = deque(maxlen=FINDINGS_SHOWN)
        self.late = False
        """The last rest was cut short, or the round would end too late."""
        self._secs_per_byte = 0.0

    @property
    def state(self) -> str:
        """paused, running, idle (until the next round is due) or off (until one is asked for)."""
        if self.paused:
            return "paused"
        if self.running:
            return "running"
        return "idle" if self.interval_secs else "off"

    def add(self, step: Step, elapsed_secs: float) -> None:
        """Count a step, which took `elapsed_secs` with the rest before it."""
        self.counts = self.counts.plus(step.counts)
        progress = self.progress
        self.progress = progress._replace(
            elapsed_ms=progress.elapsed_ms + round(elapsed_secs * 1000), position=step.position, counts=progress.counts.plus(step.counts)
        )
        if step.counts.bytes:
            newest = elapsed_secs / step.counts.bytes
            self._secs_per_byte += _SMOOTHING * (newest - self._secs_per_byte) if self._secs_per_byte else newest
        for damage in step.damage:
            self._note(damage)

    def enter(self, phase: str) -> None:
        """A phase begins: what was found in it before is looked for anew."""
        if phase == "log":
            self.progress = self.progress._replace(log_damage="")
        elif phase == "copies":
            self.copy_damage = ""

    def _note(self, damage: Damage) -> None:
        blob = damage.blob
        if blob is not None:
            place = f"blob {blob.number} in {segment_name(blob.location.segment_id)} at {blob.location.offset}"
            self.findings.append(f"{damage.what}: {place}: {damage.reason}")
            self.copies_refused += bool(damage.kept)
            return
        self.findings.append(f"{damage.what}: {damage.reason}")
        if damage.what is What.INDEX:
            self.index_damage = self.index_damage or damage.reason
        elif damage.what is What.COPY:
            self.copy_damage = damage.reason
        else:
            self.progress = self.progress._replace(log_damage=damage.reason)

    def rest_secs(self, busy_secs: float, step: Step) -> float:
        """How long to rest after a step that took `busy_secs`."""
        if self.full_speed:
            return 0.0
        left = max(self.total_bytes - self.progress.counts.bytes, 0)
        whole = pause_secs(self.share, busy_secs, step.counts.bytes, 0, 0)
        if not self.interval_secs:
            return whole
        rest = pause_secs(self.share, busy_secs, step.counts.bytes, left, self.interval_secs - self.progress.elapsed_ms / 1000)
        self.late = rest < whole
        return rest

    def degraded(self) -> list[str]:
        """What is damaged, a line each; records apart, which the index counts. No reasons: /readyz is open, and they may name a key."""
        lines = []
        if self.index_damage:
            lines.append("the index is damaged; the next start makes it anew")
        if self.copy_damage:
            lines.append("a kept copy of the index is damaged")
        if self.progress.log_damage:
            lines.append("a finished journal file is damaged")
        return lines

    def status(self) -> dict[str, Any]:
        """All of it as plain values; times in seconds, sizes in bytes."""
        progress = self.progress
        last = progress.last
        return {
            "state": self.state,
            "full_speed": self.full_speed,
            "round": progress.round,
            "phase": progress.position.phase if self.running else "",
            "position": progress.position.at or str(progress.position.after) if self.running else "",
            "elapsed_secs": progress.elapsed_ms / 1000,
            "total_bytes": self.total_bytes,
            **{f"{name}_read" if name != "damaged" else name: value for name, value in progress.counts._asdict().items()},
            "bytes_per_sec": round(1 / self._secs_per_byte) if self._secs_per_byte and self.running else 0,
            "interval_secs": self.interval_secs,
            "disk_share": self.share,
            "copies_refused": self.copies_refused,
            "findings": list(self.findings),
            "degraded": self.degraded(),
            "last_round": None
            if last is None
            else {**last.counts._asdict(), "ended_ms": last.ended_ms, "elapsed_secs": last.elapsed_ms / 1000},
        }
