"""CORS rules: read as AWS reads them, kept and given back unchanged, and matched by their first fit."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasterstore.s3 import cors
from fasterstore.s3.cors import Rule
from fasterstore.s3.errors import S3Error


def configuration(*rules: str) -> bytes:
    return f"<CORSConfiguration>{''.join(f'<CORSRule>{rule}</CORSRule>' for rule in rules)}</CORSConfiguration>".encode()


def rule(origin: str = "*", method: str = "GET", more: str = "") -> str:
    return f"<AllowedOrigin>{origin}</AllowedOrigin><AllowedMethod>{method}</AllowedMethod>{more}"


def answer(rules: list[Rule], origin: str, method: str, *wanted: str) -> dict[str, str] | None:
    found = cors.answer_of(cors.compile_rules(cors.pack_rules(rules)), origin, method, wanted)
    return None if found is None else dict(found)


def refusal(body: bytes) -> S3Error:
    with pytest.raises(S3Error) as refused:
        cors.parse_cors(body)
    return refused.value


def test_every_element_of_a_rule_is_read() -> None:
    more = "<AllowedMethod>PUT</AllowedMethod><AllowedHeader>x-amz-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader>"
    body = configuration(rule("https://a.example", "GET", f"<ID>one</ID>{more}<MaxAgeSeconds>3000</MaxAgeSeconds>"), rule())
    assert cors.parse_cors(body) == (
        Rule("one", ("GET", "PUT"), ("https://a.example",), ("x-amz-*",), ("ETag",), 3000),
        Rule("", ("GET",), ("*",)),
    )


RULES = st.builds(
    Rule,
    rule_id=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=20).map(str.strip),
    methods=st.lists(st.sampled_from(cors.METHODS), min_size=1, max_size=5).map(tuple),
    origins=st.lists(st.from_regex(r"[a-z:/.]{1,20}\*?[a-z&<]{0,5}", fullmatch=True), min_size=1, max_size=4).map(tuple),
    headers=st.lists(st.from_regex(r"[a-zA-Z-]{1,10}\*?", fullmatch=True), max_size=3).map(tuple),
    exposed=st.lists(st.from_regex(r"[a-zA-Z-]{1,10}", fullmatch=True), max_size=3).map(tuple),
    max_age_secs=st.none() | st.integers(0, 10**9 - 1),
)


@given(st.lists(RULES, min_size=1, max_size=5, unique_by=lambda made: made.rule_id))
def test_rules_survive_their_document_and_their_stored_form(rules) -> None:
    assert cors.parse_cors(cors.render_cors(rules)) == tuple(rules)
    assert cors.unpack_rules(cors.pack_rules(rules)) == tuple(rules)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<CORSConfiguration/>",
        b"<Other/>",
        b"<CORSConfiguration><CORSRule/></CORSConfiguration>",
        configuration("<AllowedOrigin>*</AllowedOrigin>"),
        configuration("<AllowedMethod>GET</AllowedMethod>"),
        configuration("<AllowedMethod>GET</AllowedMethod><AllowedOrigin/>"),
        configuration(rule(more="<MaxAgeSeconds>soon</MaxAgeSeconds>")),
        configuration(rule(more="<MaxAgeSeconds>-1</MaxAgeSeconds>")),
        configuration(rule(more="<ID>a</ID><ID>b</ID>")),
        b'<!DOCTYPE a [<!ENTITY b "c">]>' + configuration(rule()),
    ],
)
def test_what_is_no_configuration_is_malformed(body: bytes) -> None:
    assert refusal(body).code == "MalformedXML"


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([rule(method="PATCH")], "Found unsupported HTTP method in CORS config. Unsupported method is PATCH"),
        ([rule(method="get")], "Found unsupported HTTP method in CORS config. Unsupported method is get"),
        ([rule("http://*.*.com")], 'AllowedOrigin "http://*.*.com" can not have more than one wildcard.'),
        ([rule(more="<AllowedHeader>*-*</AllowedHeader>")], 'AllowedHeader "*-*" can not have more than one wildcard.'),
        (
            [rule(more="<ExposeHeader>x-*</ExposeHeader>")],
            'ExposeHeader "x-*" contains wildcard. We currently do not support wildcard for ExposeHeader.',
        ),
        ([rule(more="<ExposeHeader>a&#13;&#10;b</ExposeHeader>")], 'ExposeHeader "a\r\nb" contains invalid character.'),
        ([rule(more="<ExposeHeader>a: b</ExposeHeader>")], 'ExposeHeader "a: b" contains invalid character.'),
        ([rule()] * 101, "The number of CORS rules should not exceed allowed limit of 100 rules."),
        ([rule(more="<ID>same</ID>")] * 2, "Rule ID must be unique. Found same ID for more than one rule"),
        ([rule(more=f"<ID>{'i' * 256}</ID>")], "The ID of a CORS rule should not exceed allowed limit of 255 characters."),
    ],
)
def test_what_s3_does_not_take_is_refused_by_name(rules, message) -> None:
    error = refusal(configuration(*rules))
    assert (error.code, error.message) == ("InvalidRequest", message)


def test_a_hundred_rules_and_an_id_of_255_characters_are_taken() -> None:
    assert len(cors.parse_cors(configuration(*[rule()] * 99, rule(more=f"<ID>{'i' * 255}</ID>")))) == 100


@pytest.mark.parametrize(
    ("allowed", "origin", "fits"),
    [
        ("*suffix", "foo.suffix", True),
        ("*suffix", "foo.suffix.get", False),
        ("start*end", "startend", True),
        ("start*end", "start12end", True),
        ("start*end", "0start12end", False),
        ("prefix*", "prefix.suffix", True),
        ("prefix*", "bla.prefix", False),
        ("ab*ba", "aba", False),
        ("https://a.example", "https://a.example", True),
        ("https://a.example", "https://A.example", False),
        ("https://a.example", "https://a.example.evil", False),
        ("https://a.example", "http://a.example", False),
        ("*", "null", True),
    ],
)
def test_an_origin_fits_around_one_wildcard(allowed, origin, fits) -> None:
    assert (answer([Rule("", ("GET",), (allowed,))], origin, "GET") is not None) == fits


def test_an_origin_that_is_named_gets_credentials_and_a_wildcard_does_not() -> None:
    named = answer([Rule("", ("GET",), ("https://a.example", "*"))], "https://a.example", "GET")
    assert named == {
        "Access-Control-Allow-Origin": "https://a.example",
        "Access-Control-Allow-Methods": "GET",
        "Access-Control-Allow-Credentials": "true",
    }
    assert answer([Rule("", ("GET",), ("*",))], "https://a.example", "GET") == {
        "Access-Control-Allow-Origin": "*",
        "Access-Control-Allow-Methods": "GET",
    }


def test_the_first_rule_that_fits_answers() -> None:
    rules = [
        Rule("", ("PUT",), ("*",), ("x-a",), (), 1),
        Rule("", ("GET", "PUT"), ("https://a.example",), ("*",), ("ETag", "x-amz-meta-a"), 2),
        Rule("", ("GET",), ("*",), ("*",), (), 3),
    ]
    ages = [
        None if found is None else found["Access-Control-Max-Age"]
        for found in (
            answer(rules, "https://a.example", "PUT", "x-a"),
            answer(rules, "https://a.example", "PUT", "x-b"),
            answer(rules, "https://a.example", "GET"),
            answer(rules, "https://b.example", "GET", "x-b"),
            answer(rules, "https://b.example", "PUT", "x-b"),
            answer(rules, "https://b.example", "DELETE"),
        )
    ]
    assert ages == ["1", "2", "2", "3", None, None]
    found = answer(rules, "https://a.example", "PUT", "x-b", "x-c")
    assert found is not None
    assert found["Access-Control-Allow-Headers"] == "x-b, x-c"
    assert found["Access-Control-Expose-Headers"] == "ETag, x-amz-meta-a"
    assert found["Access-Control-Allow-Methods"] == "GET, PUT"


def test_a_header_is_allowed_by_name_or_wildcard_in_any_case() -> None:
    rules = [Rule("", ("GET",), ("*",), ("X-Amz-*", "Content-Type"))]
    assert answer(rules, "o", "GET", "x-amz-meta-a", "content-type") is not None
    assert answer(rules, "o", "GET", "x-amz-meta-a", "authorization") is None
    assert answer([Rule("", ("GET",), ("*",))], "o", "GET", "x-amz-meta-a") is None


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, ()),
        ("", ()),
        ("X-A, content-type,x-b", ("x-a", "content-type", "x-b")),
        ("x-a,,x-b", None),
        ("x a", None),
        ("x-a: 1", None),
        ("caf\u00e9", None),
    ],
)
def test_the_headers_that_a_preflight_wants_are_names(value, names) -> None:
    assert cors.wanted_headers(value) == names
