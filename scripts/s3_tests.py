"""ceph/s3-tests against a node of its own: `python -m scripts.s3_tests FOLDER [parts of names]`, or `make s3-tests S3_TESTS=FOLDER`.

FOLDER holds a checkout of github.com/ceph/s3-tests; none of it is kept here. What is left out, and why, stands in
tests/s3_tests/excluded.txt, one of REASONS for each name: everything else of FILES is run, and counts. The node runs with FS_ALLOW_SIGV2,
which some of them sign with, and in a region other than us-east-1, whose buckets have no location to tell. The second account and the
tenant that the setup wants are the one owner again: the tests that need another account are left out. Needs
tests/s3_tests/requirements.txt, which `make s3-tests` installs.

Prints the failed tests and the share that passed; ends with 1 below --at-least percent. `--endpoint` with --access-key, --secret-key and
--region takes any other S3 server instead. The figures are kept in docs/s3-tests.md.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from scripts.measure.servers import Node

EXCLUDED = Path(__file__).resolve().parents[1] / "tests" / "s3_tests" / "excluded.txt"
FILES = ("test_s3.py", "test_headers.py")
REASONS = frozenset(
    (
        "ACL grants", "IAM/STS", "a second account", "bucket logging", "events", "lifecycle", "object lock", "server-side encryption",
        "versioning", "website",
    )
)  # fmt: skip
"""Why a test may be left out: it needs this, which no version so far sets out to have."""
ALONE = frozenset(("test_s3.py::test_list_buckets_paginated",))
"""Tests that count all buckets of the account: they run before the others, one at a time."""
REGION = "eu-central-1"
PASSED, NOT_RUN = "PASSED", "NOT RUN"

_TEST = re.compile(r"^def (test_\w+)\(", re.MULTILINE)
_OUTCOME = re.compile(r"^(PASSED|FAILED|ERROR|SKIPPED|XFAIL|XPASS) \S*?(\w+\.py)::(test_\w+)", re.MULTILINE)
_CONFIGURATION = """\
[DEFAULT]
host = {host}
port = {port}
is_secure = False
ssl_verify = False

[fixtures]
bucket prefix = s3tests-{{random}}-
iam name prefix = s3-tests-
iam path prefix = /s3-tests/

[s3 main]
display_name = faster
user_id = 000000000000
email = main@example.com
api_name = {region}
access_key = {access_key}
secret_key = {secret_key}

[s3 alt]
display_name = other
user_id = 111111111111
email = other@example.com
access_key = {access_key}
secret_key = {secret_key}

[s3 tenant]
display_name = tenant
user_id = tenant$tenant
email = tenant@example.com
access_key = {access_key}
secret_key = {secret_key}
tenant = tenant

[iam]
display_name = faster
user_id = 000000000000
email = iam@example.com
access_key = {access_key}
secret_key = {secret_key}

[iam root]
user_id = 000000000000
email = root@example.com
access_key = {access_key}
secret_key = {secret_key}

[iam alt root]
user_id = 111111111111
email = altroot@example.com
access_key = {access_key}
secret_key = {secret_key}
"""


class Place(NamedTuple):
    """An S3 endpoint on this machine, its region, and its owner's keys."""

    host: str
    port: int
    region: str
    access_key: str
    secret_key: str


def configuration(place: Place) -> str:
    """The text of s3tests.conf."""
    return _CONFIGURATION.format(**place._asdict())


def excluded(text: str) -> dict[str, str]:
    """The tests that are left out, as file::name, and why; `text` is that of excluded.txt.

    Raises ValueError for a line that is not a name, a tab and one of REASONS, and for a name that stands there twice.
    """
    found: dict[str, str] = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        name, _, reason = line.partition("\t")
        if reason not in REASONS or name.partition("::")[0] not in FILES or name in found:
            raise ValueError(f"not a test, a tab and one of its reasons, once: {line!r}")
        found[name] = reason
    return found


def wanted(folder: Path, left_out: dict[str, str]) -> list[str]:
    """The tests that are run, as file::name. Raises ValueError if what is left out names one that does not exist."""
    found = [f"{file}::{name}" for file in FILES for name in _TEST.findall((folder / "s3tests" / "functional" / file).read_text())]
    unknown = sorted(left_out.keys() - set(found))
    if unknown:
        raise ValueError(f"{EXCLUDED.name} names tests that are not there: {', '.join(unknown)}")
    return [name for name in dict.fromkeys(found) if name not in left_out]


def outcomes_of(report: str, tests: Sequence[str]) -> dict[str, str]:
    """The outcome of each test by name, from pytest's report. One that passed and failed in its teardown has failed; one that is not in
    the report was not run, which is no success either."""
    told: dict[str, str] = {}
    for outcome, file, name in _OUTCOME.findall(report):
        test = f"{file}::{name}"
        if told.get(test, PASSED) == PASSED:
            told[test] = outcome
    return {name: told.get(name, NOT_RUN) for name in tests}


def run(folder: Path, place: Place, tests: Sequence[str], processes: int) -> dict[str, str]:
    """Run the tests, print how the failed ones failed, and return the outcome of each."""
    alone = [name for name in tests if name in ALONE]
    together = [name for name in tests if name not in ALONE]
    outcomes = {} if not alone else outcomes_of(_pytest(folder, place, alone, 0), alone)
    outcomes |= {} if not together else outcomes_of(_pytest(folder, place, together, processes), together)
    return {name: outcomes[name] for name in tests}


def _pytest(folder: Path, place: Place, tests: Sequence[str], processes: int) -> str:
    """The report of one run; `processes` 0 is this process's one child and no more."""
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(scratch, "s3tests.conf")
        written.write_text(configuration(place))
        options = ["-q", "-rpfEsxX", "--tb=short", "--timeout=300", "-p", "no:cacheprovider", "-n", str(processes)]
        command = [sys.executable, "-m", "pytest", *options, *(f"s3tests/functional/{name}" for name in tests)]
        # A profile of whoever runs this must not lead anywhere else.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        environment |= {"S3TEST_CONF": str(written), "AWS_DEFAULT_REGION": place.region, "AWS_CONFIG_FILE": os.devnull}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    shown = done.stdout[done.stdout.find("= FAILURES") :] if "= FAILURES" in done.stdout else done.stdout[-4000:]
    print("\n".join(line for line in shown.splitlines() if not line.startswith("PASSED ")), done.stderr, sep="\n")
    return done.stdout


def summary(outcomes: dict[str, str], left_out: int) -> str:
    """What did not pass, and the share that did, as text to print."""
    failed = [f"{outcome}\t{name}" for name, outcome in outcomes.items() if outcome != PASSED]
    return "\n".join([*failed, f"{len(outcomes) - len(failed)} of {len(outcomes)} passed ({share(outcomes):.1f} %); {left_out} left out"])


def share(outcomes: dict[str, str]) -> float:
    """Percent that passed; 0 of nothing."""
    return 100 * sum(outcome == PASSED for outcome in outcomes.values()) / len(outcomes) if outcomes else 0.0


def main() -> int:
    """Parse the arguments, run, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help="parts of test names; all if none is given")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--at-least", type=float, default=95.0, help="percent that must pass")
    parser.add_argument("--endpoint", help="host:port of another server")
    parser.add_argument("--region", default=REGION)
    parser.add_argument("--access-key", default="")
    parser.add_argument("--secret-key", default="")
    arguments = parser.parse_args()
    left_out = excluded(EXCLUDED.read_text())
    tests = [test for test in wanted(arguments.folder, left_out) if not arguments.names or any(part in test for part in arguments.names)]
    if arguments.endpoint:
        host, _, port = arguments.endpoint.rpartition(":")
        place = Place(host, int(port), arguments.region, arguments.access_key, arguments.secret_key)
        outcomes = run(arguments.folder, place, tests, arguments.processes)
    else:
        with tempfile.TemporaryDirectory(prefix="s3-tests-") as data:
            node = Node(Path(data), {"FS_ALLOW_SIGV2": "true", "FS_RATE_LIMIT_PER_SEC": "0", "FS_REGION": arguments.region})
            node.start()
            try:
                place = Place("127.0.0.1", node.port, arguments.region, node.access_key, node.secret_key)
                outcomes = run(arguments.folder, place, tests, arguments.processes)
            finally:
                node.stop()
    print(summary(outcomes, len(left_out)))
    return 0 if share(outcomes) >= arguments.at_least else 1


if __name__ == "__main__":
    sys.exit(main())
