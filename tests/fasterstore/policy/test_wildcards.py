"""`*` and `?` in policies: what matches, in which time, and which resources a pattern can reach."""

import pytest

from fasterstore.policy.wildcards import matcher, reaches

LONG = "a" * 1024


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("docs/a", ["docs/a"], ["docs/b", "docs/a/", "xdocs/a", ""]),
        ("*", ["", "a", "a/b:c\nd"], []),
        ("docs/*", ["docs/", "docs/a/b", "docs/a\nb"], ["docs", "doc/a"]),
        ("*.txt", ["a.txt", ".txt", "a/b.txt"], ["a.txt.gz", "atxt"]),
        ("d?cs", ["docs", "dücs", "d\ncs"], ["dcs", "doocs"]),
        ("??", ["ab"], ["a", "abc"]),
        ("a*b*c", ["abc", "axbxc", "abcbc", "a/b/c/c"], ["ab", "acb", "abcd"]),
        ("*a*a*", ["aa", "xaxax"], ["a", "xax"]),
        ("a**b", ["ab", "axb"], ["a", "b"]),
        ("a.c", ["a.c"], ["abc"]),
        ("[ab]$", ["[ab]$"], ["a", "b"]),
        ("*?", ["a", "ab"], [""]),
        ("*ab?", ["xab1", "aab2", "abab3"], ["ab", "abab"]),
    ],
)
def test_the_whole_text_must_match(pattern, matching, others):
    matches = matcher(pattern)
    assert [text for text in [*matching, *others] if matches(text)] == matching


def test_a_pattern_of_many_stars_on_a_long_key_is_decided():
    """By backtracking this would take longer than the universe lasts."""
    assert not matcher("*a" * 200 + "*b")(LONG)
    assert matcher("*a" * 200 + "*")(LONG)
    assert not matcher("*a?" * 200 + "*b")(LONG)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("box", (True, False)),
        ("box/*", (False, True)),
        ("box*", (True, True)),
        ("*", (True, True)),
        ("b?x", (True, False)),
        ("*/*", (False, True)),
        ("box/docs/*", (False, True)),
        ("box/", (False, True)),
        ("boxes", (False, False)),
        ("other/*", (False, False)),
        ("bo", (False, False)),
        ("*x", (True, True)),
        ("?ox/??", (False, True)),
    ],
)
def test_a_pattern_reaches_the_bucket_what_is_in_it_or_neither(pattern, expected):
    assert reaches(pattern, "box") == expected
