"""The wildcards of policies: `*` stands for any run of characters, also none and also `/` and `:`, `?` for exactly one.

Matching takes time linear in the text for each run between two stars, whatever the pattern: the text is a key that anybody may choose.
"""

import re
from collections.abc import Callable
from functools import lru_cache

Matcher = Callable[[str], object]
"""Called with a text; true if the whole of it matches."""

# A run of stars is one star: it says the same, and many places to stand in would be looked at again for each character.
_WILD = re.compile(r"(\*+|\?)")


class Wild(str):
    """A wildcard in a tokenised pattern: `*` or `?`. Other strings there are literal."""

    __slots__ = ()


ANY, ONE = Wild("*"), Wild("?")


def tokens(pattern: str) -> list[str]:
    """The pattern as wildcards (Wild) and literal strings."""
    return [ANY if part[0] == "*" else ONE if part == "?" else part for part in _WILD.split(pattern) if part]


@lru_cache(maxsize=4096)
def matcher(pattern: str) -> Matcher:
    """What tells whether a text matches `pattern`."""
    if not _WILD.search(pattern):
        return pattern.__eq__
    if pattern == "*":
        return _everything
    if pattern.endswith("*") and not _WILD.search(pattern[:-1]):
        return _Prefix(pattern[:-1]).matches
    return token_matcher(tokens(pattern))


def token_matcher(parts: list[str]) -> Matcher:
    """The same for a tokenised pattern, whose literals may hold `*` and `?` as themselves."""
    return _compiled(_expression(parts)).fullmatch


def _expression(parts: list[str]) -> str:
    """A regular expression that never tries the place of an inner run twice: the leftmost is always as good as any other."""
    runs: list[list[str]] = [[]]
    for part in parts:
        if isinstance(part, Wild) and part == "*":
            runs.append([])
        else:
            runs[-1].append("." if isinstance(part, Wild) else re.escape(part))
    texts = ["".join(run) for run in runs]
    if len(texts) == 1:
        return texts[0]
    inner = "".join(f"(?>.*?{text})" for text in texts[1:-1] if text)
    return f"{texts[0]}{inner}.*{texts[-1]}"


@lru_cache(maxsize=1024)
def _compiled(expression: str) -> re.Pattern[str]:
    return re.compile(expression, re.DOTALL)


def _everything(text: str) -> bool:
    return True


class _Prefix:
    __slots__ = ("_prefix",)

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix

    def matches(self, text: str) -> bool:
        return text.startswith(self._prefix)


def reaches(pattern: str, start: str) -> tuple[bool, bool]:
    """Can `pattern` match exactly `start`, and can it match anything that begins with `start` and `/`?

    Used on resources: the first is the bucket itself, the second something in it.
    """
    parts = [character for part in tokens(pattern) for character in ([part] if isinstance(part, Wild) else part)]
    exact = _advance(parts, start)
    return len(parts) in exact, bool(_step(parts, exact, "/"))


def _advance(parts: list[str], text: str) -> set[int]:
    places = _closed(parts, {0})
    for character in text:
        places = _step(parts, places, character)
    return places


def _step(parts: list[str], places: set[int], character: str) -> set[int]:
    after = set()
    for place in places:
        if place == len(parts):
            continue
        part = parts[place]
        if isinstance(part, Wild):
            after.add(place if part == "*" else place + 1)
        elif part == character:
            after.add(place + 1)
    return _closed(parts, after)


def _closed(parts: list[str], places: set[int]) -> set[int]:
    """With the places that are reached by letting a star stand for nothing."""
    reached = set(places)
    for place in places:
        while place < len(parts) and isinstance(parts[place], Wild) and parts[place] == "*":
            place += 1
            reached.add(place)
    return reached
