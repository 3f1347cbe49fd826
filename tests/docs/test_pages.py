"""What the documents name is there: commands and their options, settings, metrics, pages that are linked."""

import re

import click
import pytest

from fasterstore.settings import CLIENT_NAMES, SETTINGS
from tests.docs.pages import PAGES, commands
from tests.node import ROOT
from tools.cli import cli

SETTING = re.compile(r"\bFS_[A-Z0-9_]*[A-Z0-9]\b")
METRIC = re.compile(r"\bfasterstore_[a-z0-9_]*[a-z0-9]\b")
SUFFIXES = ("_total", "_bucket", "_count", "_sum")
PLACEHOLDER_NUMBERS = {"SECS": "1", "LSN": "1", "OFFSET": "1", "SEGMENT": "1", "NUMBER": "1"}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def parsed(arguments):
    """Have click read the arguments as the command line would, and run nothing. Raises click's own errors."""
    command, context = cli, None
    while True:
        context = command.make_context(command.name or "fasterstore", list(arguments), parent=context)
        if not isinstance(command, click.Group):
            return
        # Its public name is deprecated, and has no successor in this version.
        _name, command, arguments = command.resolve_command(context, [*context._protected_args, *context.args])


def as_typed(words):
    """The command with optional parts given, and numbers in the place of the names that stand for them."""
    kept = [word.strip("[]") for word in words]
    return [PLACEHOLDER_NUMBERS.get(word, word) for word in kept if word]


def metrics_of_the_code():
    """Names of all metrics that the code can answer, without the suffixes that Prometheus adds."""
    names = set()
    for folder in ("actors", "web", "tools", "fasterstore"):
        for path in (ROOT / folder).rglob("*.py"):
            text = path.read_text()
            names.update(METRIC.findall(text))
            for prefix in re.findall(r'f"(fasterstore_[a-z_]+_)\{name\}"', text):
                names.update(prefix + name for name in re.findall(r'gauge\("([a-z_]+)"', text))
    return names


def test_the_check_of_commands_notices_a_verb_and_an_option_that_are_not_there():
    parsed(["check", "--full", "--data-dir", "x"])
    for wrong in (["chekc"], ["check", "--fully"], ["rekey", "--new-key-file"], ["dump", "record", "one", "2"]):
        with pytest.raises(click.UsageError):
            parsed(wrong)


@pages
def test_every_command_of_a_page_is_one_that_the_command_line_takes(page):
    for words in commands(page.read_text()):
        if "|" not in words:
            parsed(as_typed(words))


def test_the_pages_hold_commands_to_be_checked():
    found = {words[0] for page in PAGES for words in commands(page.read_text())}
    assert {"snapshot", "restore", "check", "rekey", "replication", "health"} <= found


def unknown_settings(text):
    """Names of settings in a text that no table has."""
    known = CLIENT_NAMES | {setting.name for setting in SETTINGS} | {f"{setting.name}_FILE" for setting in SETTINGS if setting.secret}
    return set(SETTING.findall(text)) - known


def unknown_metrics(text):
    """Names of metrics in a text that no code answers; `fasterstore_x_*` names all that begin so."""
    known = metrics_of_the_code()
    named = {name for name in METRIC.findall(text) if f"{name}_*" not in text}
    return {name for name in named if not {name, *(name.removesuffix(suffix) for suffix in SUFFIXES)} & known}


def test_the_check_of_names_notices_those_that_are_not_there():
    assert unknown_settings("FS_DATA_DIR, FS_SECRET_KEY_FILE, FS_REGION_FILE, FS_DATADIR") == {"FS_REGION_FILE", "FS_DATADIR"}
    there = "fasterstore_s3_requests_total, fasterstore_compaction_short_of_space, fasterstore_replication_lag_seconds, fasterstore_scrub_*"
    assert unknown_metrics(f"{there}, fasterstore_s3_errors_total, fasterstore_compaction_short") == {
        "fasterstore_s3_errors_total", "fasterstore_compaction_short",
    }  # fmt: skip


@pages
def test_every_setting_of_a_page_is_one(page):
    assert not unknown_settings(page.read_text())


@pages
def test_every_metric_of_a_page_is_one(page):
    assert not unknown_metrics(page.read_text())


@pages
def test_every_link_of_a_page_leads_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        linked = page.parent / path if path else page
        assert linked.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", linked.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in headings}, target
