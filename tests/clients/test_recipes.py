"""The recipes of docs/clients.md, run as they stand there: only endpoint and keys are put in the place of the built-in ones."""

import os
import re
import sys
from pathlib import Path

import pytest

from tests.clients.program import INSTALLED, installed, on_path
from tests.node import ROOT

pytestmark = pytest.mark.slow

PAGE = (ROOT / "docs" / "clients.md").read_text()
NEEDED = {"rclone": ["rclone"], "restic": ["restic"], "Terraform": ["terraform"], "curl": ["curl"]}
"""Programs beyond those of the tests' own environment, by section."""
SLOW_TO_INSTALL = {"rclone", "mc", "restic", "pandas, pyarrow and duckdb", "Litestream"}
NOT_RUN = {"Docker registry"}


def code_blocks(text):
    """[(language, code)] of a piece of the page."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def sections():
    """{heading: its code blocks}."""
    parts = re.split(r"^## (.+)\n", PAGE, flags=re.MULTILINE)
    return {heading: code_blocks(text) for heading, text in zip(parts[1::2], parts[2::2], strict=True)}


SECTIONS = sections()
((_, PREAMBLE),) = code_blocks(PAGE.partition("\n## ")[0])


def marked(name):
    return pytest.param(name, marks=pytest.mark.clients) if name in SLOW_TO_INSTALL else name


def test_the_table_says_by_which_suite_each_recipe_is_run_and_names_tests_that_are_there():
    rows = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ") and "`test_" in line]
    assert [row[0] for row in rows] == list(SECTIONS)
    for heading, run_by, tests in rows:
        suite = "nothing" if heading in NOT_RUN else "`make test-clients`" if heading in SLOW_TO_INSTALL else "`make test`"
        assert run_by.partition(",")[0] == suite, heading
        for name in re.findall(r"`(test_\S+)`", tests):
            assert list(Path(__file__).parent.glob(name)), name


@pytest.mark.parametrize("section", [marked(name) for name in SECTIONS if name not in NOT_RUN])
def test_a_recipe_works_when_pasted(program, node, tmp_path, section):
    for name in NEEDED.get(section, []):
        on_path(name)
    python = Path(sys.executable)
    folders = [python.parent, INSTALLED / "bin"]
    if section == "mc":
        installed("mc")
    if section == "Litestream":
        folders.append(installed("litestream", "litestream/bin/litestream").parent)
    if section.startswith("pandas"):
        python = installed("the environment of pandas, pyarrow, s3fs and duckdb", "data/bin/python")
    preamble = PREAMBLE.replace("http://127.0.0.1:9000", node.endpoint)
    preamble = preamble.replace("=faster-secret-key", f"={node.credentials.secret_key}").replace(
        "=faster ", f"={node.credentials.access_key} "
    )
    script = ["set -euo pipefail", preamble]
    for number, (language, code) in enumerate(SECTIONS[section]):
        if language == "sh":
            script.append(code)
        else:
            (tmp_path / f"{number}.py").write_text(code)
            script.append(f"{python} {number}.py")
    path = os.pathsep.join((*map(str, folders), os.environ["PATH"]))
    shell = program("bash", "-c", "\n".join(script), PATH=path)
    shell.environ = {name: value for name, value in shell.environ.items() if not name.startswith("AWS_")}
    told = shell()
    assert told.strip()
