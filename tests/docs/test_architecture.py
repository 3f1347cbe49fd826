"""What docs/architecture.md names is there: files, actors, messages. And every actor is named."""

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest

from actors.runtime import GeventActor

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FOLDERS = "fasterstore|actors|web|tools|tests|scripts|examples|docs"
MESSAGE_MODULES = ("messages", "space_messages", "snapshot_messages", "replication_messages", "replicator_messages")
_PATH = re.compile(rf"(?<![\w/.])(?:{FOLDERS})/[\w./-]*")
_PYTHON_FILE = re.compile(r"[\w/.-]+\.py\b")


def missing(text: str) -> set[str]:
    """The paths in a text that lead to nothing, and names of source files that say no folder."""
    paths = {path.rstrip(".") for path in _PATH.findall(text)} | set(_PYTHON_FILE.findall(text))
    return {path for path in paths if not (ROOT / path).exists()}


def section(heading: str) -> str:
    """The text under a heading of the page."""
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def rows(heading: str) -> list[list[str]]:
    """The rows of the table under a heading, without its head."""
    lines = [line for line in section(heading).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[1:]]


def actors_in_the_code() -> dict[str, str]:
    """The file of each actor, by the actor's name."""
    found = {}
    for path in sorted((ROOT / "actors").glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "GeventActor" for base in node.bases):
                actor = getattr(import_module(f"actors.{path.stem}"), node.name)
                assert issubclass(actor, GeventActor)
                found[actor.name] = f"actors/{path.name}"
    return found


def messages_in_the_code() -> set[str]:
    """The names of all messages and replies."""
    modules = [import_module(f"actors.{name}") for name in MESSAGE_MODULES]
    return {name for module in modules for name, value in vars(module).items() if isinstance(value, type) and hasattr(value, "_fields")}


def test_every_path_that_the_page_names_is_there() -> None:
    assert missing(PAGE) == set()
    assert len(_PYTHON_FILE.findall(PAGE)) > 60


@pytest.mark.parametrize("text", ["`web/nowhere.py`", "see nowhere.py.", "in docs/nowhere/", "[x](../web/nowhere.py)"])
def test_the_check_itself_catches_a_path_that_is_not_there(text: str) -> None:
    assert missing(text)


def test_the_check_itself_lets_files_folders_and_the_ends_of_sentences_pass() -> None:
    assert missing("`web/app.py`, `actors/`, docs/tls.md. And tests/golden.") == set()


def test_the_table_of_actors_is_what_the_code_has() -> None:
    assert {name: path.strip("`") for name, path, _, _ in rows("The actors")} == actors_in_the_code()


def test_every_message_that_the_page_names_exists() -> None:
    named = {name for row in rows("Who sends what") for name in re.findall(r"`(\w+)`", row[2])}
    assert len(named) > 40
    assert named - messages_in_the_code() == set()


def test_senders_and_receivers_of_messages_are_actors_or_layers() -> None:
    ends = {name for row in rows("Who sends what") for cell in row[:2] for name in cell.split(", ")}
    assert ends - set(actors_in_the_code()) == {"web", "tools"}
