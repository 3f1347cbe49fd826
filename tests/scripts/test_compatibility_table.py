"""The page on S3 compatibility is what the table of actions says."""

from pathlib import Path

from fasterstore.s3.actions import ACTIONS, Support
from scripts import compatibility_table
from web.app import HANDLERS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "s3-compatibility.md"


def test_the_page_is_what_the_script_prints():
    assert PAGE.read_text() == compatibility_table.page(), "run: python -m scripts.compatibility_table > docs/s3-compatibility.md"


def test_the_page_has_a_row_for_every_action_with_its_state():
    rows = [line.removeprefix("| ").split(" | ") for line in PAGE.read_text().splitlines() if line.startswith("| ") and "`" in line]
    assert {row[0]: row[2] for row in rows} == {name: action.support.value for name, action in ACTIONS.items()}


def test_what_the_page_calls_not_built_has_no_handler_and_everything_else_has_one():
    assert set(HANDLERS) == {name for name, action in ACTIONS.items() if action.support is not Support.NOT_BUILT}


def test_notes_are_about_actions_that_exist():
    for names in (compatibility_table.NOTES, compatibility_table.PICKED_BY):
        assert set(names) <= set(ACTIONS)
