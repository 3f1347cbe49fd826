"""Every package that the node or its checks install is pinned to one version, and so is everything that those need."""

import re
from importlib.metadata import distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
FILES = ["requirements.txt", "tests/requirements.txt"]
PINNED = re.compile(r"[A-Za-z0-9._-]+(\[[a-z,]+\])?==[0-9][0-9A-Za-z.]*(; .*)?")
OF_PYTHON = {"pip", "setuptools"}
"""Every virtual environment has them."""


def lines_of(path: Path) -> list[str]:
    """The requirements in a file, those of the files that it names included."""
    found = []
    for line in path.read_text().splitlines():
        text = line.partition(" #")[0].strip()
        if text.startswith("-r "):
            found += lines_of(path.parent / text.removeprefix("-r "))
        elif text and not text.startswith("#"):
            found.append(text)
    return found


def applies(requirement: Requirement, extra: str = "") -> bool:
    """Is it needed on this machine?"""
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def needed_by(names: list[str]) -> set[str]:
    """Those packages and all that they need, by canonical name, as the installed ones say."""
    found: set[str] = set()
    left = [(name, "") for name in names]
    while left:
        name, extra = left.pop()
        if (canonicalize_name(name), extra) in found:
            continue
        found.add((canonicalize_name(name), extra))
        for text in distribution(name).requires or []:
            requirement = Requirement(text)
            if applies(requirement, extra):
                left += [(requirement.name, one) for one in ("", *requirement.extras)]
    return {name for name, _ in found}


@pytest.mark.parametrize("name", FILES)
def test_every_requirement_is_pinned_to_one_version(name: str) -> None:
    assert not [line for line in lines_of(ROOT / name) if PINNED.fullmatch(line) is None]


@pytest.mark.parametrize("name", FILES)
def test_no_package_stands_there_twice(name: str) -> None:
    names = [canonicalize_name(Requirement(line).name) for line in lines_of(ROOT / name)]
    assert sorted(names) == sorted(set(names))


@pytest.mark.parametrize("name", FILES)
def test_what_the_packages_need_is_pinned_too(name: str) -> None:
    requirements = [Requirement(line) for line in lines_of(ROOT / name)]
    pinned = {canonicalize_name(requirement.name) for requirement in requirements}
    missing = needed_by([requirement.name for requirement in requirements if applies(requirement)]) - pinned - OF_PYTHON
    assert not missing


def test_what_is_installed_is_what_is_pinned() -> None:
    wrong = {
        requirement.name: distribution(requirement.name).version
        for requirement in map(Requirement, lines_of(ROOT / "tests/requirements.txt"))
        if applies(requirement) and not requirement.specifier.contains(distribution(requirement.name).version)
    }
    assert not wrong
