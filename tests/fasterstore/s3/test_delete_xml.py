"""The documents of DeleteObjects."""

import pytest
from defusedxml.ElementTree import fromstring

from fasterstore.s3.delete_xml import DeleteList, ListedKey, Outcome, parse_delete, render_delete_result
from fasterstore.s3.errors import S3Error

NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def plain(key: str) -> ListedKey:
    return ListedKey(key, None, None, None, None)


def test_a_list_is_read_with_every_condition() -> None:
    body = b"""<?xml version="1.0"?><Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Quiet>true</Quiet>
    <Object><Key>a &amp; b&#13; </Key></Object>
    <Object><Key>c</Key><VersionId>null</VersionId><ETag>"x"</ETag><LastModifiedTime>Sun, 06 Nov 1994 08:49:37 GMT</LastModifiedTime>
    <Size>7</Size></Object></Delete>"""
    assert parse_delete(body) == DeleteList(True, [plain("a & b\r "), ListedKey("c", "null", '"x"', 784111777, 7)])


@pytest.mark.parametrize(
    ("text", "quiet"), [("", False), ("<Quiet>false</Quiet>", False), ("<Quiet>TRUE</Quiet>", True), ("<Quiet/>", False)]
)
def test_quiet_is_off_unless_asked_for(text, quiet) -> None:
    assert parse_delete(f"<Delete><Object><Key>k</Key></Object>{text}</Delete>".encode()).quiet is quiet


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        b"<Other/>",
        b"<Delete/>",
        b"<Delete><Quiet>true</Quiet></Delete>",
        b"<Delete><Object/></Delete>",
        b"<Delete><Object><Key/></Object></Delete>",
        b"<Delete><Object><Key>a</Key><Key>b</Key></Object></Delete>",
        b"<Delete><Object><Key>a<x/></Key></Object></Delete>",
        b"<Delete><Object><Key>a</Key><Etag>x</Etag></Object></Delete>",
        b"<Delete><Object><Key>a</Key><Size>one</Size></Object></Delete>",
        b"<Delete><Object><Key>a</Key><LastModifiedTime>today</LastModifiedTime></Object></Delete>",
        b"<Delete><Object><Key>a</Key></Object><Quiet>maybe</Quiet></Delete>",
        b"<Delete><Object><Key>a</Key></Object><Other/></Delete>",
        b'<!DOCTYPE d [<!ENTITY e "a">]><Delete><Object><Key>&e;</Key></Object></Delete>',
        b"<Delete>" + b"<Object><Key>k</Key></Object>" * 1001 + b"</Delete>",
    ],
)
def test_any_other_list_is_malformed(body) -> None:
    with pytest.raises(S3Error) as refused:
        parse_delete(body)
    assert refused.value.code == "MalformedXML"


def test_a_thousand_keys_are_allowed() -> None:
    body = b"<Delete>" + b"".join(b"<Object><Key>%d</Key></Object>" % number for number in range(1000)) + b"</Delete>"
    assert parse_delete(body).keys == [plain(str(number)) for number in range(1000)]


def test_a_result_tells_each_key_and_quietly_only_errors() -> None:
    outcomes = [Outcome("<a>", None), Outcome("b", "null"), Outcome("c", "1", "NoSuchVersion", "There is none.")]
    root = fromstring(render_delete_result(outcomes, False))
    found = [(child.tag, {field.tag.removeprefix(NAMESPACE): field.text for field in child}) for child in root]
    assert found == [
        (f"{NAMESPACE}Deleted", {"Key": "<a>"}),
        (f"{NAMESPACE}Deleted", {"Key": "b", "VersionId": "null"}),
        (f"{NAMESPACE}Error", {"Key": "c", "VersionId": "1", "Code": "NoSuchVersion", "Message": "There is none."}),
    ]
    assert [child.tag for child in fromstring(render_delete_result(outcomes, True))] == [f"{NAMESPACE}Error"]
