"""Tag sets: both forms are read strictly, the limits hold for both, and what is rendered reads back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasterstore.s3.errors import S3Error
from fasterstore.s3.tags import (
    BUCKET_TAGS_MAX,
    OBJECT_TAGS_MAX,
    check_tags,
    parse_tagging,
    parse_tagging_header,
    render_tagging,
)

ALLOWED = st.text(st.sampled_from("abcXYZ019 +-=._:/@äЖ漢٣"), min_size=1, max_size=20).filter(
    lambda key: not key.lower().startswith("aws:")
)


def document(*tags: tuple[str, str]) -> bytes:
    inner = "".join(f"<Tag><Key>{key}</Key><Value>{value}</Value></Tag>" for key, value in tags)
    return f"<Tagging><TagSet>{inner}</TagSet></Tagging>".encode()


def refusal(call, *arguments) -> str:
    with pytest.raises(S3Error) as refused:
        call(*arguments)
    return refused.value.code


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ("", {}),
        ("&", {}),
        ("a=b", {"a": "b"}),
        ("foo=bar&bar", {"foo": "bar", "bar": ""}),
        ("a%20b=c+d", {"a b": "c d"}),
        ("k=a%3Db", {"k": "a=b"}),
        ("gr%C3%BCn=%E6%BC%A2", {"grün": "漢"}),
        ("grün=1".encode().decode("latin-1"), {"grün": "1"}),
    ],
)
def test_the_header_form_is_an_encoded_query(value, tags) -> None:
    assert parse_tagging_header(value) == tags


def test_what_an_escape_stands_for_is_checked_too() -> None:
    assert refusal(parse_tagging_header, "k=a%26b") == "InvalidTag"  # "&" is not among the characters


@pytest.mark.parametrize("value", ["a=1&a=2", "a=%FF", "\xff=1", "a&a"])
def test_a_header_that_is_no_query_is_refused(value) -> None:
    assert refusal(parse_tagging_header, value) == "InvalidArgument"


@pytest.mark.parametrize(
    "pairs",
    [
        [("", "v")],
        [("k" * 129, "v")],
        [("k", "v" * 257)],
        [("aws:k", "v")],
        [("AwS:k", "v")],
        [("a<b", "v")],
        [("k", "a\tb")],
        [("k", "a\nb")],
        [("k", "a;b")],
        [("k", "1"), ("k", "2")],
        [(str(number), "") for number in range(11)],
    ],
)
def test_a_set_that_breaks_a_rule_is_refused_as_a_whole(pairs) -> None:
    assert refusal(check_tags, pairs, OBJECT_TAGS_MAX) == "InvalidTag"


def test_the_limits_themselves_are_allowed() -> None:
    longest = [(f"{number}" + "ä" * 127, "v" * 256) for number in range(10)]
    assert len(check_tags(longest, OBJECT_TAGS_MAX)) == 10
    many = [(str(number), "") for number in range(50)]
    assert len(check_tags(many, BUCKET_TAGS_MAX)) == 50
    assert refusal(check_tags, [*many, ("50", "")], BUCKET_TAGS_MAX) == "InvalidTag"
    assert check_tags([("a +-=._:/@\u3000", "")], 1) == {"a +-=._:/@\u3000": ""}


def test_a_document_is_read_and_may_be_empty() -> None:
    assert parse_tagging(document(("a", "1"), ("b", "")), OBJECT_TAGS_MAX) == {"a": "1", "b": ""}
    assert parse_tagging(document(), OBJECT_TAGS_MAX) == {}
    with_namespace = b'<Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><TagSet><Tag><Key>a</Key><Value/></Tag></TagSet></Tagging>'
    assert parse_tagging(with_namespace, OBJECT_TAGS_MAX) == {"a": ""}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        b"<TagSet/>",
        b"<Tagging/>",
        b"<Tagging><TagSet/><TagSet/></Tagging>",
        b"<Tagging><TagSet/><Other/></Tagging>",
        b"<Tagging><TagSet><Key>a</Key></TagSet></Tagging>",
        b"<Tagging><TagSet><Tag><Key>a</Key></Tag></TagSet></Tagging>",
        b"<Tagging><TagSet><Tag><Key>a</Key><Value>1</Value><Value>2</Value></Tag></TagSet></Tagging>",
        b"<Tagging><TagSet><Tag><Key>a</Key><Key>b</Key></Tag></TagSet></Tagging>",
        b"<Tagging><TagSet><Tag><Key>a<b/></Key><Value>1</Value></Tag></TagSet></Tagging>",
        b'<!DOCTYPE x [<!ENTITY e "a">]><Tagging><TagSet><Tag><Key>&e;</Key><Value/></Tag></TagSet></Tagging>',
    ],
)
def test_any_other_document_is_malformed(body) -> None:
    assert refusal(parse_tagging, body, OBJECT_TAGS_MAX) == "MalformedXML"


@given(st.dictionaries(ALLOWED, ALLOWED, max_size=10))
def test_what_is_rendered_reads_back(tags) -> None:
    assert parse_tagging(render_tagging(tags), OBJECT_TAGS_MAX) == tags


def test_tags_are_told_in_order_of_their_keys() -> None:
    text = render_tagging({"b": "<2>", "a": "1"}).decode()
    assert text.index("<Key>a</Key>") < text.index("<Key>b</Key>")
    assert "&lt;2&gt;" in text
