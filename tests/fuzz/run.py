"""Runs fuzz targets, some at a time, and prints what each did: `python -m tests.fuzz.run [--secs 45] [--jobs 2] [TARGET ...]`.

Ends with 1 if there was a finding; its input is left in the folder that is printed, to become a test of its own.
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.catalog import TARGETS
from tests.fuzz.watched import Finding, last_input
from tests.fuzz.worker import ENGINES, has_atheris

ROOT = Path(__file__).resolve().parents[2]
GRACE_SECS = 60.0
"""How much longer than asked a worker may take: importing, seeds, one slow input; then it hangs."""
_COVERAGE = re.compile(r"cov: (\d+) ft: (\d+)")
NO_ATHERIS = "atheris is not installed (no wheel for this Python or machine?): Hypothesis is used, which is not guided by coverage"


class Result(NamedTuple):
    """What a run of one target came to. `coverage` is libFuzzer's count of edges, None without it; `secs` is wall time."""

    target: str
    executions: int
    coverage: int | None
    secs: float
    findings: list[Finding]


def fuzz(target: str, secs: float, folder: Path, *, planted: bool = False, engine: str | None = None) -> Result:
    """Fuzz one target for `secs` in a process of its own, with its files in `folder`. `planted`: its planted bug, to the first finding."""
    command = [sys.executable, "-m", "tests.fuzz.worker", target, str(secs), str(folder)]
    command += ["--planted"] * planted + (["--engine", engine] if engine else [])
    started = time.monotonic()
    hung = False
    with open(folder / "log", "w+") as log:
        worker = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            worker.wait(secs + GRACE_SECS)
        except subprocess.TimeoutExpired:
            hung = True
            worker.kill()
            worker.wait()
    return _result(target, time.monotonic() - started, folder, hung, worker.returncode)


def _result(target: str, secs: float, folder: Path, hung: bool, code: int) -> Result:
    text = (folder / "log").read_text(errors="replace")
    coverage = [int(found[1]) for found in _COVERAGE.finditer(text)]
    result = folder / "result.json"
    left = json.loads(result.read_text()) if result.exists() else {"executions": 0, "findings": []}
    findings = [Finding(found["kind"], found["text"], bytes.fromhex(found["data"])) for found in left["findings"]]
    if hung:
        findings.append(Finding("hang", "the input did not end", last_input(folder / "last-input")))
    elif code or not result.exists():
        findings.append(Finding("crash", f"the process ended with {code}: {text[-2000:]}", last_input(folder / "last-input")))
    return Result(target, left["executions"], max(coverage, default=None), secs, findings)


def fuzz_all(targets: Iterable[str], secs: float, jobs: int, folder: Path, engine: str | None = None) -> Iterator[Result]:
    """Fuzz each target for `secs`, `jobs` at a time; results in the order of `targets`."""

    def one(target: str) -> Result:
        (folder / target).mkdir()
        return fuzz(target, secs, folder / target, engine=engine)

    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(one, targets)


def line_of(result: Result) -> str:
    """One line for people."""
    coverage = "-" if result.coverage is None else str(result.coverage)
    rate = result.executions / result.secs
    return f"{result.target:<18}{result.executions:>10} execs {rate:>8.0f}/s {coverage:>7} edges {len(result.findings):>3} findings"


def main() -> int:
    """Run, print, and say whether there was a finding."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--secs", type=float, default=45.0, help="for each target")
    parser.add_argument("--jobs", type=int, default=2, help="at a time")
    parser.add_argument("--engine", choices=ENGINES)
    asked = parser.parse_args()
    if unknown := set(asked.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if not asked.engine and not has_atheris():
        print(NO_ATHERIS, file=sys.stderr)
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    found = 0
    for result in fuzz_all(asked.targets or TARGETS, asked.secs, asked.jobs, folder, asked.engine):
        print(line_of(result), flush=True)
        for number, finding in enumerate(result.findings):
            path = folder / f"{result.target}-{number}"
            path.write_bytes(finding.data)
            print(f"  {finding.kind}: {finding.text}\n    input: {path}", flush=True)
        found += len(result.findings)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
