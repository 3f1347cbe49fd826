"""Every relative link of a page leads to something that is there: a file, a folder, a heading."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
_FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *$", re.MULTILINE)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to a page's headings; the second of the same words gets `-1` behind them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_FENCED.sub("", text)):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = first = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = 0
        while anchor in found:
            number += 1
            anchor = f"{first}-{number}"
        found.add(anchor)
    return found


def broken(page: Path, text: str) -> Iterator[str]:
    """The links of a page with that text that lead nowhere."""
    for link in _LINK.findall(_FENCED.sub("", text)):
        if _ELSEWHERE.match(link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or not target.is_relative_to(ROOT):
            yield f"{link}: no such file"
        elif anchor and anchor not in anchors(text if target == page else target.read_text(encoding="utf-8")):
            yield f"{link}: no such heading"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_relative_link_of_a_page_leads_to_a_file_or_heading(page: Path) -> None:
    assert list(broken(page, page.read_text(encoding="utf-8"))) == []


def test_every_page_is_linked_from_another() -> None:
    linked = {
        target
        for page in PAGES
        for link in _LINK.findall(_FENCED.sub("", page.read_text(encoding="utf-8")))
        if not _ELSEWHERE.match(link) and (target := (page.parent / link.partition("#")[0]).resolve()) != page
    }
    assert {page.name for page in PAGES if page.name != "README.md" and page not in linked} == set()


@pytest.mark.parametrize("link", ["docs/nowhere.md", "docs/tls.md#no-such-heading", "#no-such-heading", "../outside.md", "/etc/passwd"])
def test_the_check_itself_catches_each_kind_of_broken_link(link: str) -> None:
    assert list(broken(ROOT / "README.md", f"# Start\n\nSee [there]({link}).\n")) != []


@pytest.mark.parametrize("link", ["docs/tls.md", "docs", "#two-words-and-code", "#start-1", "https://example.org/x#y"])
def test_the_check_itself_lets_whole_links_pass(link: str) -> None:
    assert list(broken(ROOT / "README.md", f"# Start\n\n## Two words, and `code`\n\n## Start\n\nSee [there]({link}).\n")) == []


def test_what_looks_like_a_link_in_a_code_block_is_none() -> None:
    assert list(broken(ROOT / "README.md", "```sh\necho [a](nowhere.md)\n# no-heading\n```\n")) == []
    assert anchors("```sh\n# no-heading\n```\n") == set()
