"""Known faults in the pinned packages: `python -m scripts.audit [FILE ...]`, by pip-audit. Ends with 1 if one is known.

Asks PyPI's advisory service unless AUDIT_OSV_URL names one that speaks OSV's `/v1/query`. A package that the service does not answer
about is said to be unchecked, and a service that cannot be reached is said to be that; neither is a fault of the packages, so neither
fails. A short list of faults that were known when it was written (FIXED_IN) is held against the versions in any case, so that no old
version comes back where nobody can be asked. Must never say that all is well of a package it was not told about.
"""

import json
import os
import subprocess
import sys
from typing import NamedTuple

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

DEFAULT_FILES = ("requirements.txt",)
TIMEOUT_SECS = 120
FIXED_IN = {
    "apsw": ("3.51.3", "SQLite can lose committed pages when a checkpoint races a commit"),
    "bottle": ("0.12.19", "CVE-2020-28473"),
    "certifi": ("2023.7.22", "CVE-2023-37920"),
    "gevent": ("25.4.1", "CVE-2023-41419; smuggling behind 100-continue, gevent issue 2075"),
    "idna": ("3.7", "CVE-2024-3651"),
    "pycryptodome": ("3.19.1", "CVE-2023-52323"),
    "pygments": ("2.15.1", "CVE-2022-40896"),
    "requests": ("2.32.4", "CVE-2024-47081"),
    "urllib3": ("2.5.0", "CVE-2025-50181"),
}
"""The first version of each without the fault named beside it."""
_SHOWN_CHARS = 300


class Report(NamedTuple):
    """What an audit found: `faults` are lines, `unchecked` packages with the reason; `failure` says why there was no audit at all."""

    checked: int
    faults: list[str]
    unchecked: list[str]
    failure: str = ""


def read_report(text: str) -> Report:
    """A report in pip-audit's JSON. Raises: ValueError if it is none."""
    document = json.loads(text)
    if not isinstance(document, dict) or not isinstance(document.get("dependencies"), list):
        raise ValueError("not a report of pip-audit")
    checked, faults, unchecked = 0, [], []
    for package in document["dependencies"]:
        if "skip_reason" in package:
            unchecked.append(f"{package['name']}: {package['skip_reason']}")
            continue
        checked += 1
        for fault in package["vulns"]:
            fixed = ", ".join(fault.get("fix_versions") or []) or "no version yet"
            faults.append(f"{package['name']} {package['version']}: {fault['id']}, fixed in {fixed}")
    return Report(checked, faults, unchecked)


def audit(file: str, service_url: str = "") -> Report:
    """Audit one requirements file; `service_url` as AUDIT_OSV_URL."""
    command = [sys.executable, "-m", "pip_audit", "-r", file, "--no-deps", "--disable-pip", "--format", "json", "--progress-spinner", "off"]
    if service_url:
        command += ["--vulnerability-service", "osv", "--osv-url", service_url]
    try:
        run = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECS, stdin=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired:
        return Report(0, [], [], f"no answer within {TIMEOUT_SECS} s")
    try:
        return read_report(run.stdout)
    except ValueError:
        lines = [line for line in run.stderr.splitlines() if line.strip()]
        return Report(0, [], [], lines[-1][:_SHOWN_CHARS] if lines else f"pip-audit ended with {run.returncode}")


def pinned(file: str) -> dict[str, Version]:
    """The version of each package that a file pins, by canonical name."""
    with open(file) as lines:
        texts = [line.strip() for line in lines]
    requirements = [Requirement(text) for text in texts if text and not text.startswith(("#", "-"))]
    return {canonicalize_name(one.name): Version(next(iter(one.specifier)).version) for one in requirements}


def long_known(versions: dict[str, Version]) -> list[str]:
    """Those with a fault out of FIXED_IN, one line each."""
    return [
        f"{name} {versions[name]}: {fault}, fixed in {fixed}"
        for name, (fixed, fault) in FIXED_IN.items()
        if name in versions and versions[name] < Version(fixed)
    ]


def main() -> int:
    """Audit each file, say what came of it."""
    failed = False
    for file in sys.argv[1:] or DEFAULT_FILES:
        versions = pinned(file)
        report = audit(file, os.environ.get("AUDIT_OSV_URL", ""))
        faults = [*report.faults, *long_known(versions)]
        if report.checked:
            print(f"{file}: {report.checked} of {len(versions)} packages checked, {len(faults)} known faults")
        else:
            reason = report.failure or (report.unchecked[0] if report.unchecked else "it answered nothing")
            print(f"{file}: NOT AUDITED ({len(versions)} packages), the advisory service cannot be asked: {reason}")
            print(f"  held against {len(FIXED_IN)} faults known before: {len(faults)} found")
        for fault in faults:
            print(f"  FAULT {fault}")
        if report.checked and report.unchecked:
            print(f"  NOT AUDITED, the service does not know them ({len(report.unchecked)}): {report.unchecked[0]}")
        failed = failed or bool(faults)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
