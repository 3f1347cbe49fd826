"""Rows of text under headings, in aligned columns, for a terminal."""

from collections.abc import Collection, Sequence


def aligned(headings: Sequence[str], lines: Sequence[Sequence[str]], right_aligned: Collection[str]) -> str:
    """The lines under their headings; columns named in `right_aligned` are numbers."""
    widths = [max(map(len, column)) for column in zip(headings, *lines, strict=True)]
    return "\n".join(
        "  ".join(
            text.rjust(width) if heading in right_aligned else text.ljust(width)
            for heading, text, width in zip(headings, line, widths, strict=True)
        ).rstrip()
        for line in (headings, *lines)
    )


def printable(value: object) -> str:
    """The value on one line; what a terminal would obey instead of print is left out."""
    return "".join(char for char in " ".join(str(value).split()) if char.isprintable())
