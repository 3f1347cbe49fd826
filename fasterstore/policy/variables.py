"""Policy variables: `${aws:username}` in a resource or in a value of a string or ARN condition stands for what the request says.

Only documents of version 2012-10-17 have them; in older ones `${` is text. `${*}`, `${?}` and `${$}` are the characters themselves.
`${key, 'default'}` gives a text for an absent key; without one an absent key (or one of several values) makes the whole text null,
which is equal to and like nothing. What a variable brings in is never a wildcard. Source: IAM user guide, "IAM policy elements:
Variables and tags".
"""

import re
from collections.abc import Callable
from typing import NamedTuple

from fasterstore.policy.condition_keys import Reader, reader_of
from fasterstore.policy.question import Question
from fasterstore.policy.wildcards import Matcher, matcher, token_matcher, tokens

# Possessive: a policy is up to 20 KB that somebody else wrote, and must be looked through in time linear in its length.
_VARIABLE = re.compile(r"\$\{([^{},]++)(?:,\s*+'([^']*+)'\s*+)?\}")
_SPECIAL = ("*", "?", "$")


class Variable(NamedTuple):
    """A variable in a text: how its value is read, and what stands for an absent one (None: the text is null)."""

    read: Reader
    default: str | None

    def value(self, question: Question) -> str | None:
        """What the variable stands for in this request; None for null."""
        values = self.read(question)
        return values[0] if values is not None and len(values) == 1 else self.default


class Text:
    """A text of a policy, read once: static, or with variables that each question fills in."""

    __slots__ = ("_parts", "_static")

    def __init__(self, text: str, has_variables: bool) -> None:
        """`has_variables`: the document's version has them."""
        self._parts: list[str | Variable] = []
        self._static: str | None = None
        if not has_variables or _VARIABLE.search(text) is None:
            self._static = text
            return
        end = 0
        for found in _VARIABLE.finditer(text):
            if found.start() > end:
                self._parts.append(text[end : found.start()])
            name, default = found[1].strip(), found[2]
            # The special characters are literal, as a value is.
            self._parts.append(Variable(_constant(name) if name in _SPECIAL else reader_of(name), default))
            end = found.end()
        if end < len(text):
            self._parts.append(text[end:])

    def expand(self, question: Question) -> str | None:
        """The text in this request, in which wildcards mean themselves; None for null."""
        if self._static is not None:
            return self._static
        pieces = [part if isinstance(part, str) else part.value(question) for part in self._parts]
        known = [piece for piece in pieces if piece is not None]
        return "".join(known) if len(known) == len(pieces) else None

    def tokens(self, question: Question) -> list[str] | None:
        """The text in this request as a pattern's tokens, in which what a variable brings in is literal; None for null."""
        if self._static is not None:
            return tokens(self._static)
        filled_in: list[str] = []
        for part in self._parts:
            if isinstance(part, str):
                filled_in += tokens(part)
                continue
            value = part.value(question)
            if value is None:
                return None
            filled_in.append(value)
        return filled_in

    def pattern(self) -> "Pattern":
        """What tells whether a value is like this text."""
        if self._static is not None:
            static = matcher(self._static)
            return lambda _question: static
        return self._filled_in

    @property
    def constant(self) -> str | None:
        """The text if no request changes it, else None."""
        return self._static

    def _filled_in(self, question: Question) -> Matcher | None:
        parts = self.tokens(question)
        return None if parts is None else token_matcher(parts)


Pattern = Callable[[Question], Matcher | None]
"""Gives the matcher for one question; None if the pattern is null there and so matches nothing."""


def without_variables(text: str, has_variables: bool) -> str:
    """The text with each variable as a star: what it may come to at most."""
    return _VARIABLE.sub("*", text) if has_variables else text


def has_variable(text: str) -> bool:
    """Is there a variable in it?"""
    return _VARIABLE.search(text) is not None


def _constant(text: str) -> Reader:
    return lambda _question: (text,)
