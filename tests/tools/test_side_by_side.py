"""The demo's two columns: drawn over where somebody watches, told once where nobody does."""

import io

import pytest

from tools import side_by_side
from tools.side_by_side import SideBySide


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_columns_take_the_place_of_those_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    screen = SideBySide(stream)
    screen.show(["left", "only left"], ["right"])
    drawn = stream.getvalue().splitlines()
    assert [line.split("|")[0].strip() for line in drawn] == ["left", "only left"] and drawn[0].endswith("right")
    assert len({line.index("|") for line in drawn}) == 1 and all(len(line) <= 80 for line in drawn)
    screen.show(["after"], ["after"])
    assert "\x1b[2A\x1b[J" in stream.getvalue(), "two lines up, and what was there is gone"
    screen.say("a line that stays")
    assert stream.getvalue().endswith("\x1b[1A\x1b[Ja line that stays\n")


def test_a_line_that_is_too_long_is_cut_and_keeps_its_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    SideBySide(stream).show(["x" * 200], ["y" * 200])
    (line,) = stream.getvalue().splitlines()
    assert len(line) <= 80 and "x" in line and "y" in line


def test_without_a_terminal_a_change_is_told_once_and_without_control_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(side_by_side, "PLAIN_INTERVAL_SECS", 0.0)
    stream = io.StringIO()
    screen = SideBySide(stream)
    for right in ("2 objects", "2 objects", "3 objects"):
        screen.show(["node one", "lacks nothing", "a key", "another"], [right])
    assert stream.getvalue().splitlines() == ["    node one, lacks nothing  |  2 objects", "    node one, lacks nothing  |  3 objects"]
