"""The answers of `replication` verbs as text for people: peers line by line, and what differs. Pure; the JSON is not changed here."""

import time
from typing import Any

from tools.text_table import aligned, printable

Status = dict[str, Any]

BEHIND_SECS = 5.0
"""A peer that has lacked something for so long is behind; less is the way that each change takes."""
_HEADINGS = ("peer", "state", "entries", "bytes", "seconds", "sent", "failed", "last trouble")
_RIGHT_ALIGNED = frozenset(("entries", "bytes", "seconds", "sent", "failed"))


def is_in_step(peer: Status) -> bool:
    """It answers, and lacks nothing but what is on its way."""
    return peer["state"] == "shipping" and peer["lag_secs"] < BEHIND_SECS and not peer["degraded"]


def peers_table(found: Status) -> str:
    """How it stands with every peer: what it lacks, and since when."""
    if not found["peers"]:
        return "the node has no peers"
    lines = [
        (
            peer["peer"],
            _state(peer),
            str(peer["lag_entries"]),
            str(peer["lag_bytes"]),
            f"{peer['lag_secs']:.1f}",
            str(peer["shipped_changes"]),
            str(peer["failures"]),
            printable(peer["reason"]),
        )
        for peer in found["peers"]
    ]
    return aligned(_HEADINGS, lines, _RIGHT_ALIGNED)


def summary_of(peer: Status) -> str:
    """One peer in one line."""
    trouble = f": {printable(peer['reason'])}" if peer["reason"] and peer["state"] != "shipping" else ""
    return f"{peer['peer']} {_state(peer)}, {peer['lag_entries']} entries behind{trouble}"


def differences_table(peer: str, result: Status) -> str:
    """What a comparison found, and what became of it."""
    total = sum(result["counts"].values())
    if not total:
        return f"{peer} has the same: {result['items']} objects and buckets compared"
    lines = [
        (row["kind"], printable(row["bucket"]), printable(row["key"]), _when(row["stamp_here"]), _when(row["stamp_there"]))
        for row in result["differences"]
    ]
    parts = [aligned(("difference", "bucket", "key", "changed here (UTC)", "changed there (UTC)"), lines, frozenset())] if lines else []
    if total > len(lines):
        parts.append(f"... and {total - len(lines)} more")
    counted = ", ".join(f"{count} {kind}" for kind, count in sorted(result["counts"].items()))
    parts.append(f"{peer}: {total} differences ({counted}){', healed' if result['healed'] else ''}")
    return "\n".join(parts)


def _state(peer: Status) -> str:
    state: str = peer["state"]
    if peer["resync"] is not None and peer["resync"]["total"]:
        state += f" {100 * peer['resync']['done'] // peer['resync']['total']}%"
    return f"{state}, not waited for" if peer["degraded"] else state


def _when(stamp: int) -> str:
    """The wall clock's part of a stamp (`fasterstore.clock`)."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime((stamp >> 16) / 1000)) if stamp else "-"
