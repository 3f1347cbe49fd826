"""`check --repair`: writes what is derivable, with the node stopped, and keeps what was there in a report.

Repaired: counters that are sums of rows (references, usage, live bytes, the count of damaged blobs), and secondary indexes. A damaged index
is not mended but marked, so that the next start builds it anew from a kept copy and the log. Everything else stays as it is: records,
journal files, rows that name something missing are evidence.

The report lies in quarantine/, durable, before anything is changed: `check-TIME.json`, a JSON object {"time_ms", "changes": [{"kind",
"where", "was", "is"}]}. The changes are one transaction.
"""

import json
import os
from collections.abc import Callable, Sequence
from typing import NamedTuple

from fasterstore.check.finding import COUNTED, REBUILT, REINDEXED, Finding, Kind
from fasterstore.errors import DamagedRow
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.storage.atomic_file import write_atomically
from fasterstore.storage.datadir import DataDir
from fasterstore.storage.disk import Disk
from fasterstore.storage.index_mark import mark_index_damaged


class Change(NamedTuple):
    """One change: what was there and what is there now, in words or figures."""

    kind: Kind
    where: str
    was: str
    now: str


def plan(findings: Sequence[Finding]) -> list[Change]:
    """What repairing those findings changes. A damaged index is built anew as a whole: then nothing in it is changed besides."""
    rebuilt = [found for found in findings if found.kind in REBUILT]
    if rebuilt:
        reasons = "; ".join(f"{found.where}: {found.detail}" for found in rebuilt[:3])
        return [Change(rebuilt[0].kind, "index.db", reasons, "marked: the next start builds it anew from a kept copy and the log")]
    changes = [
        Change(found.kind, found.where, " ".join(map(str, found.stored)), " ".join(map(str, found.counted)))
        for found in findings
        if found.kind in COUNTED
    ]
    structure = [found for found in findings if found.kind in REINDEXED]
    if structure:
        was = "; ".join(found.detail for found in structure[:3])
        changes.append(Change(structure[0].kind, "index.db", was, "secondary indexes made anew"))
    return changes


def repair(
    disk: Disk, datadir: DataDir, findings: Sequence[Finding], now_ms: int, random_bytes: Callable[[int], bytes]
) -> tuple[list[Change], str]:
    """Repair what is derivable of `findings`; return the changes and the path of the report ("" if there was nothing to do).

    The caller holds the node's lock. Raises OSError, DamagedRow, the index's errors; then nothing in the index has been changed.
    """
    changes = plan(findings)
    if not changes:
        return [], ""
    path = os.path.join(datadir.quarantine_dir, f"check-{now_ms}.json")
    document = {"time_ms": now_ms, "changes": [{"kind": one.kind, "where": one.where, "was": one.was, "is": one.now} for one in changes]}
    write_atomically(disk, path, (json.dumps(document, indent=2) + "\n").encode())
    if any(found.kind in REBUILT for found in findings):
        mark_index_damaged(disk, datadir, changes[0].was)
        return changes, path
    index = IndexWriter(datadir.index_path, datadir.log_uuid, random_bytes, node_id=datadir.node_id)
    try:
        if any(found.kind in REINDEXED for found in findings):
            index.rebuild_indexes()
        index.begin()
        try:
            for found in findings:
                if found.kind in COUNTED:
                    _write(index, found, now_ms)
            index.flush()
            index.commit()
        except BaseException:
            index.rollback()
            raise
        index.checkpoint()
    finally:
        index.close()
    return changes, path


def _write(index: IndexWriter, found: Finding, now_ms: int) -> None:
    number, counted = found.subject[1], found.counted
    if found.kind is Kind.REFS:
        blob = index.blob(number)
        if blob is None:
            raise DamagedRow(f"blob {number} has gone since it was checked")
        since_ms = 0 if counted[0] else blob.zero_since_ms or now_ms
        index.change_blob(blob._replace(refs=counted[0], zero_since_ms=since_ms))
    elif found.kind is Kind.MANIFEST_REFS:
        index.uploads.put_manifest(index.uploads.manifest(number)._replace(refs=counted[0]))
    elif found.kind is Kind.LIVE_BYTES:
        index.put_segment(index.segment(number)._replace(live_bytes=counted[0]))
    elif found.kind is Kind.USAGE:
        index.add_usage(number, counted[0] - found.stored[0], counted[1] - found.stored[1])
    elif found.kind is Kind.DAMAGED_COUNT:
        index.count_damaged(counted[0] - found.stored[0])
    elif found.kind is Kind.TOMBSTONE_COUNT:
        index.replication.state = index.replication.state._replace(tombstones=counted[0])
