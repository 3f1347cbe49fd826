"""The documents as tests read them: their code blocks, and the commands of `fasterstore` that stand in them."""

import re
import shlex

from tests.node import ROOT

PAGES = (ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md")))
_ASSIGNMENT = re.compile(r"[A-Z_0-9]+=")
_REMARK = re.compile(r" #|   ")
"""Behind a command: what it does."""
_PROGRAM = re.compile(r"(?:\S*python3? -m )?fasterstore ")


def section(text, heading):
    """What stands below `## heading`, up to the next heading of that rank."""
    (_, _, rest) = text.partition(f"\n## {heading}\n")
    assert rest, heading
    return rest.partition("\n## ")[0]


def blocks(text):
    """Indented blocks of commands, each as its lines without comments; a line's settings in front stay."""
    found, lines = [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith("    "):
            lines.append(_REMARK.split(line[4:])[0].rstrip())
        elif lines:
            found.append([line for line in lines if line])
            lines = []
    return found


def spoken(text):
    """Everything in a page that stands as code: the lines of blocks, and what is between backticks in its sentences."""
    fenced = re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in fenced for line in block.splitlines()]
    lines += [line for block in blocks(text) for line in block]
    return lines + re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def commands(text):
    """[arguments] of every command of `fasterstore` in a page, as a shell would split them."""
    found = []
    for line in spoken(text):
        words = line.strip()
        while _ASSIGNMENT.match(words):
            words = words.partition(" ")[2].lstrip()
        if (program := _PROGRAM.match(words)) is not None:
            found.append(shlex.split(_REMARK.split(words[program.end() :])[0]))
    return found
