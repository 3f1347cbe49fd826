"""The one parser of clients' XML: what it reads, in every spelling of one document, and what it refuses before it costs anything."""

import tracemalloc

import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fasterstore.s3.errors import S3Error
from fasterstore.s3.xml_reader import (
    DOCUMENT_MAX_BYTES,
    LARGE_DOCUMENT_MAX_BYTES,
    MAX_DEPTH,
    MAX_ELEMENTS,
    NAMESPACE_MAX_CHARS,
    children,
    local_name,
    need_text,
    parse_document,
    text_of,
)
from fasterstore.s3.xml_text import document, element

STEADY = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
"""The same cases each time, however busy the machine is."""

BOMB = """<?xml version="1.0"?><!DOCTYPE Tagging [<!ENTITY a "aaaaaaaaaa">{more}]><Tagging>&j;</Tagging>"""
BILLION_LAUGHS = BOMB.format(more="".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9)))


def code_of(body, root="Tagging", **options):
    with pytest.raises(S3Error) as refused:
        parse_document(body, root, **options)
    assert refused.value.status == 400
    return refused.value.code


@pytest.mark.parametrize(
    "body",
    [
        b"<Tagging><Key>k</Key></Tagging>",
        b"  \n<Tagging>\n <Key>k</Key>\r\n</Tagging>\n",
        b'<?xml version="1.0" encoding="UTF-8"?><Tagging><Key>k</Key></Tagging>',
        b'<Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Key>k</Key></Tagging>',
        b'<Tagging xmlns="http://doc.s3.amazonaws.com/2006-03-01"><Key>k</Key></Tagging>',
        b'<s3:Tagging xmlns:s3="http://s3.amazonaws.com/doc/2006-03-01/"><s3:Key>k</s3:Key></s3:Tagging>',
        b'<Tagging xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Key xmlns="">k</Key></Tagging>',
        b"<Tagging><!-- a comment --><Key><![CDATA[k]]></Key><?target data?></Tagging>",
        b"<Tagging><Key>&#107;</Key></Tagging>",
        b'<Tagging a="1"><Key b="2">k</Key></Tagging>',
    ],
)
def test_one_document_has_many_spellings(body):
    root = parse_document(body, "Tagging")
    assert local_name(root) == "Tagging"
    assert need_text(root, "Key") == "k"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "iso-8859-1"])
def test_encodings_that_xml_knows_are_read(encoding):
    name = {"utf-8-sig": "utf-8", "utf-16-le": "utf-16", "utf-16-be": "utf-16"}.get(encoding, encoding)
    mark = "\ufeff" if encoding in ("utf-16-le", "utf-16-be") else ""
    body = f'{mark}<?xml version="1.0" encoding="{name}"?><Tagging><Key>kä&amp;</Key></Tagging>'.encode(encoding)
    assert need_text(parse_document(body, "Tagging"), "Key") == "kä&"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"text",
        b"{}",
        b"<Tagging>",
        b"<Tagging></Tagging",
        b"<Tagging/><Tagging/>",
        b"<Tagging><Key></Tagging></Key>",
        b"<Other/>",
        b"<tagging/>",
        b"<Tagging/>trailing",
        b"\x00<Tagging/>",
        b"<Tagging>\x00</Tagging>",
        b"<Tagging>&#0;</Tagging>",
        b"<Tagging>&#xD800;</Tagging>",
        b"<Tagging>\xff</Tagging>",
        b"<Tagging>&unknown;</Tagging>",
        b"<s3:Tagging/>",
        b'<Tagging a="1" a="2"/>',
        b'<?xml version="1.0" encoding="none-such"?><Tagging/>',
        b'<?xml version="1.0" encoding="utf-7"?><Tagging/>',
        b'<?xml version="1.0" encoding="utf-16"?><Tagging/>',
        b'<?xml version="1.0" encoding="big5"?><Tagging/>',
        b'<?xml version="1.0" encoding="rot13"?><Tagging/>',
        b'<?xml version="1.0" encoding="zlib"?><Tagging/>',
        "<Tagging><Key>ä</Key></Tagging>".encode("utf-32"),
        "<Tagging/>".encode("utf-16-le")[:-1],
        b"\xef\xbb\xbf",
    ],
)
def test_what_is_no_such_document_is_malformed(body):
    assert code_of(body) == "MalformedXML"


@pytest.mark.parametrize(
    "body",
    [
        b"<!DOCTYPE Tagging><Tagging/>",
        b'<!DOCTYPE Tagging SYSTEM "file:///etc/passwd"><Tagging/>',
        b'<!DOCTYPE Tagging PUBLIC "x" "http://127.0.0.1/x.dtd"><Tagging/>',
        b'<!DOCTYPE Tagging [<!ENTITY x "y">]><Tagging>&x;</Tagging>',
        b'<!DOCTYPE Tagging [<!ENTITY x SYSTEM "file:///etc/passwd">]><Tagging>&x;</Tagging>',
        b'<!DOCTYPE Tagging [<!ENTITY % x SYSTEM "file:///etc/passwd"> %x;]><Tagging/>',
        b'<!DOCTYPE Tagging [<!ATTLIST Tagging a CDATA "v">]><Tagging/>',
        BILLION_LAUGHS.encode(),
        BILLION_LAUGHS.encode("utf-16"),
        b"\xef\xbb\xbf" + BILLION_LAUGHS.encode(),
    ],
)
def test_no_document_type_is_read_in_any_encoding(body):
    assert code_of(body) == "MalformedXML"


def test_a_quadratic_blow_up_costs_nothing():
    body = f'<!DOCTYPE Tagging [<!ENTITY x "{"y" * 50_000}">]><Tagging>{"&x;" * 50_000}</Tagging>'.encode()
    tracemalloc.start()
    try:
        assert code_of(body) == "MalformedXML"
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


def nested(levels):
    return b"<Tagging>" + b"<a>" * (levels - 1) + b"</a>" * (levels - 1) + b"</Tagging>"


def test_sixteen_levels_are_read_and_not_one_more():
    assert local_name(parse_document(nested(MAX_DEPTH), "Tagging")) == "Tagging"
    assert code_of(nested(MAX_DEPTH + 1)) == "MalformedXML"
    for _ in range(3):
        # Breadth is no depth, and levels are counted down again.
        parse_document(b"<Tagging>" + nested(MAX_DEPTH - 1) * 50 + b"</Tagging>", "Tagging")


def test_a_document_that_is_all_depth_or_all_breadth_is_refused_before_it_is_built():
    deep = b"<Tagging>" + b"<a>" * 300_000
    wide = b"<Tagging>" + b"<a/>" * 500_000 + b"</Tagging>"
    tracemalloc.start()
    try:
        assert code_of(deep) == "MalformedXML"
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
    assert code_of(wide, max_bytes=LARGE_DOCUMENT_MAX_BYTES) == "MalformedXML"
    most = b"<Tagging>" + b"<a/>" * (MAX_ELEMENTS - 1) + b"</Tagging>"
    assert len(parse_document(most, "Tagging")) == MAX_ELEMENTS - 1


def padded(length):
    frame = b"<Tagging></Tagging>"
    return frame[:9] + b" " * (length - len(frame)) + frame[9:]


def test_a_document_may_have_a_mebibyte_and_some_may_have_two():
    parse_document(padded(DOCUMENT_MAX_BYTES), "Tagging")
    assert code_of(padded(DOCUMENT_MAX_BYTES + 1)) == "MaxMessageLengthExceeded"
    parse_document(padded(LARGE_DOCUMENT_MAX_BYTES), "Tagging", LARGE_DOCUMENT_MAX_BYTES)
    assert code_of(padded(LARGE_DOCUMENT_MAX_BYTES + 1), max_bytes=LARGE_DOCUMENT_MAX_BYTES) == "MaxMessageLengthExceeded"


def test_the_lists_that_need_two_mebibytes_fit():
    part = "<Part><PartNumber>10000</PartNumber><ETag>&quot;0123456789abcdef0123456789abcdef&quot;</ETag></Part>"
    parts = f"<CompleteMultipartUpload>{part * 10_000}</CompleteMultipartUpload>".encode()
    assert len(list(children(parse_document(parts, "CompleteMultipartUpload", LARGE_DOCUMENT_MAX_BYTES), "Part"))) == 10_000
    keys = b"<Delete>" + (b"<Object><Key>" + b"k" * 1024 + b"</Key></Object>") * 1000 + b"</Delete>"
    found = parse_document(keys, "Delete", LARGE_DOCUMENT_MAX_BYTES)
    assert {len(need_text(one, "Key")) for one in children(found, "Object")} == {1024}


def test_attributes_keep_their_namespace():
    root = parse_document(b'<a xmlns:x="http://www.w3.org/2001/XMLSchema-instance" x:type="Group" plain="1"/>', "a")
    assert root.attrib == {"{http://www.w3.org/2001/XMLSchema-instance}type": "Group", "plain": "1"}


def test_texts_are_those_of_direct_children_that_stand_there_once():
    root = parse_document(b"<a><b>1</b><c/><d>x<!-- y -->z</d><e><f>2</f></e><g>1</g><g>2</g></a>", "a")
    assert (text_of(root, "b"), text_of(root, "c"), text_of(root, "d"), text_of(root, "f")) == ("1", "", "xz", None)
    for name in ("e", "g"):
        with pytest.raises(S3Error):
            text_of(root, name)
    with pytest.raises(S3Error):
        need_text(root, "f")


@STEADY
@given(st.binary(max_size=200))
def test_no_bytes_make_it_fail_in_another_way(noise):
    for body in (noise, b"<Tagging>" + noise + b"</Tagging>", b'<?xml version="1.0" encoding="' + noise + b'"?><Tagging/>'):
        try:
            parse_document(body, "Tagging")
        except S3Error as error:
            assert error.code == "MalformedXML"


_TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)


@STEADY
@given(st.lists(_TEXTS, max_size=5))
def test_what_we_write_is_read_back_as_the_standard_library_reads_it(texts):
    body = document("Tagging", [element("Key", text) for text in texts])
    root = parse_document(body, "Tagging")
    reference = fromstring(body)
    assert [(child.tag, child.text) for child in root] == [(child.tag, child.text) for child in reference]
    assert root.tag == reference.tag


def test_a_long_namespace_is_refused_before_it_stands_before_every_name():
    body = b'<Tagging xmlns="%s">%s</Tagging>'
    assert local_name(parse_document(body % (b"u" * NAMESPACE_MAX_CHARS, b"<a/>"), "Tagging")) == "Tagging"
    # Expanded, this one would be a hundred gigabytes.
    assert code_of(body % (b"u" * 500_000, b"<a/>" * 100_000)) == "MalformedXML"
    assert code_of(b'<Tagging><a xmlns:p="%s"/></Tagging>' % (b"u" * (NAMESPACE_MAX_CHARS + 1))) == "MalformedXML"
