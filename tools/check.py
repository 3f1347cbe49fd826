"""The verb `check`: is everything there, whole, and does it add up? With the node stopped, or beside a running one.

A stopped node's data dir is locked meanwhile, so that no node starts under the check. A running one is read beside its node, in short
transactions (`fasterstore/check/`). It changes nothing but with `--repair`, which needs the node stopped.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

from fasterstore import settings
from fasterstore.check.finding import Finding
from fasterstore.check.repair import Change, plan, repair
from fasterstore.check.store import Progress, StoreCheck
from fasterstore.errors import StoreError
from fasterstore.metadata.index_writer import SqliteError
from fasterstore.storage.datadir import STORAGE_LOCK_NAME, DataDir, DirInUse, DirLock, read_datadir
from fasterstore.storage.disk import RealDisk
from tools.progress_bar import ProgressBar
from tools.wall_clock import now_ms

CLEAN, FOUND, COULD_NOT_RUN = 0, 1, 2
SHOWN_MAX = 1000
"""Findings printed as text; `--json` has all."""


def main(environ: Mapping[str, str], *, full: bool, mend: bool, as_json: bool, data_dir: str | None) -> int:
    """Check the data dir and print what was found.

    Args:
        environ: FS_DATA_DIR names the data dir.
        full: read every byte of every record, not only headers and chunk tables.
        mend: repair what is derivable, then check again.
        as_json: print one JSON object.
        data_dir: instead of FS_DATA_DIR.

    Returns:
        0: nothing is wrong; 1: something is; 2, after one line on stderr: there was no check.
    """
    try:
        path = data_dir or settings.load(environ).data_dir
        datadir = read_datadir(RealDisk(), path)
        held = _lock(datadir)
        if mend and not held:
            return _refuse("a node is running on this data dir: stop it before --repair")
        try:
            return _check(datadir, running=not held, full=full, mend=mend, as_json=as_json)
        finally:
            for fd in held:
                os.close(fd)
    except settings.SettingsError as error:
        return _refuse(str(error))
    except StoreError as error:
        return _refuse(error.detail)
    except (OSError, SqliteError) as error:
        return _refuse(str(error))


def _refuse(text: str) -> int:
    print(text, file=sys.stderr)
    return COULD_NOT_RUN


def _lock(datadir: DataDir) -> list[int]:
    """Both locks of a stopped node's data dir; none if a node has them."""
    held: list[int] = []
    try:
        held.append(DirLock(datadir.path).acquire(wait=False))
        held.append(DirLock(datadir.path, STORAGE_LOCK_NAME).acquire(wait=False))
    except DirInUse:
        for fd in held:
            os.close(fd)
        return []
    return held


def _check(datadir: DataDir, *, running: bool, full: bool, mend: bool, as_json: bool) -> int:
    findings, unconfirmed = _run(datadir, running=running, full=full)
    changes: list[Change] = []
    report = ""
    left = findings
    if mend and plan(findings):
        changes, report = repair(RealDisk(), datadir, findings, now_ms(), os.urandom)
        left, _ = _run(datadir, running=False, full=False)
    outcome = Outcome(running, findings, unconfirmed, changes, report, left)
    if as_json:
        print(json.dumps(_document(datadir, outcome), indent=2))
    else:
        _print(datadir, outcome)
    return FOUND if outcome.wrong else CLEAN


def _run(datadir: DataDir, *, running: bool, full: bool) -> tuple[list[Finding], list[Finding]]:
    bar = ProgressBar()
    check = StoreCheck(RealDisk(), datadir, running=running, full=full)
    findings = []
    try:
        for found in check.run():
            if isinstance(found, Progress):
                bar.show(*found)
            else:
                findings.append(found)
    finally:
        bar.close()
    return findings, check.unconfirmed


class Outcome(NamedTuple):
    """What a check has found and done. `left`: what is still wrong, after a repair if there was one."""

    running: bool
    findings: list[Finding]
    unconfirmed: list[Finding]
    changes: list[Change]
    report: str
    left: list[Finding]

    @property
    def wrong(self) -> list[Finding]:
        """What is left that says something against the store."""
        return [found for found in self.left if not found.is_note]


def _document(datadir: DataDir, outcome: Outcome) -> dict[str, Any]:
    running, findings, unconfirmed, changes, report, _left = outcome
    return {
        "data_dir": datadir.path,
        "node_running": running,
        "clean": not outcome.wrong,
        "findings": [_plain(found) for found in findings if not found.is_note],
        "notes": [_plain(found) for found in findings if found.is_note],
        "unconfirmed": [_plain(found) for found in unconfirmed],
        "repairs": [{"kind": one.kind, "where": one.where, "was": one.was, "is": one.now} for one in changes],
        "report": report,
        "left": [_plain(found) for found in outcome.wrong] if changes else [],
    }


def _plain(found: Finding) -> dict[str, Any]:
    return {"kind": found.kind, "where": found.where, "detail": found.detail, "repairable": found.repairable}


def _print(datadir: DataDir, outcome: Outcome) -> None:
    running, findings, unconfirmed, changes, report, _left = outcome
    print(f"{datadir.path}: {'beside the running node' if running else 'the node is stopped, the data dir is locked meanwhile'}")
    for found in findings[:SHOWN_MAX]:
        _line("note" if found.is_note else "FOUND", found)
    if len(findings) > SHOWN_MAX:
        kinds = Counter(found.kind for found in findings[SHOWN_MAX:])
        print(f"... and {', '.join(f'{count} of {kind}' for kind, count in kinds.items())}; --json has all")
    for found in unconfirmed[:SHOWN_MAX]:
        _line("open", found)
    if unconfirmed:
        print(f"{len(unconfirmed)} comparisons could not be decided while the node changed what they are about: check again, or stop it")
    for change in changes[:SHOWN_MAX]:
        print(f"repaired  {change.kind}: {change.where}: {change.was} -> {change.now}")
    if report:
        print(f"what was changed, and what was there before: {report}")
    wrong = outcome.wrong
    repairable = sum(found.repairable for found in wrong)
    if not wrong:
        print("clean")
    elif repairable and not changes:
        print(f"{len(wrong)} findings, {repairable} of which --repair can put right")
    else:
        print(f"{len(wrong)} findings{' are left' if changes else ''}")


def _line(label: str, found: Finding) -> None:
    print(f"{label:<6}{found.kind}: {_printable(found.where)}: {_printable(found.detail)}")


def _printable(text: str) -> str:
    """On one line, and nothing that a terminal would obey."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
