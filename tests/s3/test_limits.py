"""What AWS ignores is ignored, and what is too much or malformed gives AWS's error: headers, query, documents, keys, metadata."""

from base64 import b64encode
from hashlib import md5

import pytest
from defusedxml.ElementTree import fromstring

from fasterstore.s3.canonical import encode_query
from tests.raw_connection import RawConnection, request_bytes, signed_request
from tests.refusal import assert_refused

KIB = 1024


@pytest.fixture
def send(node):
    """send(method, target, headers, body) -> the answer to a signed request on a connection of its own."""

    def sending(method, target, headers=None, body=b""):
        with RawConnection(node, timeout_secs=30) as connection:
            connection.send(signed_request(node, method, target, headers, body))
            return connection.answer()

    return sending


UNKNOWN_HEADERS = {
    "x-amz-unknown": "1",
    "x-amz-request-payer": "requester",
    "x-amz-api-version": "2006-03-01",
    "x-amz-user-agent": "sdk",
    "x-amzn-trace-id": "Root=1-2-3",
    "amz-sdk-invocation-id": "an-id",
    "amz-sdk-request": "attempt=1; max=3",
    "x-goog-meta-a": "1",
    "x-requested-with": "XMLHttpRequest",
    "cookie": "a=b; c=d",
    "dnt": "1",
    "sec-fetch-mode": "cors",
    "x-id": "1",
    "upgrade-insecure-requests": "1",
    "x_with_underscore": "1",
}
UNKNOWN_QUERY = "x-id=GetObject&unknown=1&UNKNOWN&a=b=c&%C3%A4=%C3%B6&utm_source=x&Acl=&=x&x-amz-unknown=1&"


def test_unknown_headers_and_query_parameters_are_ignored(send, bucket):
    assert send("PUT", f"/{bucket}/key", UNKNOWN_HEADERS, b"body").status == 200
    found = send("GET", f"/{bucket}/key", UNKNOWN_HEADERS)
    assert found.content == b"body"
    assert not {name for name in found.headers if "unknown" in name or "goog" in name}
    assert send("PUT", f"/{bucket}/key?{UNKNOWN_QUERY}", None, b"new").status == 200
    assert send("GET", f"/{bucket}/key?{UNKNOWN_QUERY}").content == b"new"
    assert send("GET", f"/{bucket}?{UNKNOWN_QUERY}&list-type=2").status == 200
    assert send("DELETE", f"/{bucket}/key?{UNKNOWN_QUERY}", UNKNOWN_HEADERS).status == 204


@pytest.mark.parametrize("size_bytes", [20 * KIB, 60 * KIB])
def test_a_head_up_to_the_limit_is_read(send, bucket, size_bytes):
    assert send("PUT", f"/{bucket}/key", {"x-filler": "f" * size_bytes}, b"body").status == 200
    assert send("GET", f"/{bucket}/key?filler={'f' * size_bytes}").content == b"body"


@pytest.mark.parametrize("headers", [{"x-filler": "f" * 70 * KIB}, {f"x-filler-{number}": "f" * KIB for number in range(70)}])
def test_a_header_section_that_is_too_large_gives_awss_error(node, headers):
    with RawConnection(node, timeout_secs=30) as connection:
        connection.send(request_bytes("GET", "/", {"host": "h", **headers}))
        answer = connection.answer()
        assert (answer.status, fromstring(answer.content).findtext("Code")) == (400, "RequestHeaderSectionTooLarge")
        assert answer.headers["connection"] == "close"


def test_a_query_that_is_too_large_gives_awss_error(node):
    with RawConnection(node, timeout_secs=30) as connection:
        connection.send(request_bytes("GET", f"/?filler={'f' * 70 * KIB}", {"host": "h"}))
        answer = connection.answer()
        assert (answer.status, fromstring(answer.content).findtext("Code")) == (400, "RequestHeaderSectionTooLarge")


def test_more_header_lines_than_anybody_sends_give_awss_error(node, send, bucket):
    some = {f"x-filler-{number}": "f" for number in range(150)}
    assert send("PUT", f"/{bucket}/key", some, b"body").status == 200
    with RawConnection(node, timeout_secs=30) as connection:
        connection.send(request_bytes("GET", "/", {"host": "h", **{f"x-filler-{number}": "f" for number in range(201)}}))
        answer = connection.answer()
        assert (answer.status, fromstring(answer.content).findtext("Code")) == (400, "RequestHeaderSectionTooLarge")


def test_user_metadata_has_two_kibibytes(send, bucket):
    assert send("PUT", f"/{bucket}/key", {"x-amz-meta-a": "v" * (2 * KIB - 1)}, b"body").status == 200
    found = assert_refused(send("PUT", f"/{bucket}/key", {"x-amz-meta-a": "v" * 2 * KIB}, b"body"), 400, "MetadataTooLarge")
    assert found["MaxSizeAllowed"] == str(2 * KIB)


def test_a_key_has_1024_bytes(send, bucket):
    assert send("PUT", f"/{bucket}/{'k' * 1024}", None, b"body").status == 200
    found = assert_refused(send("PUT", f"/{bucket}/{'k' * 1025}", None, b"body"), 400, "KeyTooLongError")
    assert (found["Size"], found["MaxSizeAllowed"]) == ("1025", "1024")


@pytest.mark.parametrize("query", ["prefix=%FF", "%FF=1", "prefix=%C3"])
def test_a_query_that_is_no_utf8_is_refused(send, bucket, query):
    assert_refused(send("GET", f"/{bucket}?{query}"), 400, "InvalidURI")


# ---- documents ----

DOCUMENTS = {
    "tagging": ("PUT", "<Tagging><TagSet>{inner}</TagSet></Tagging>", "<Tag><Key>k</Key><Value>{text}</Value></Tag>"),
    "delete": ("POST", "<Delete>{inner}</Delete>", "<Object><Key>k{text}</Key></Object>"),
}


def document_request(send, bucket, kind, document):
    # DeleteObjects asks for a digest of its document.
    headers = {"content-type": "application/xml", "content-md5": b64encode(md5(document).digest()).decode()}
    return send(DOCUMENTS[kind][0], f"/{bucket}?{encode_query([(kind, '')])}", headers, document)


def document_of(kind, text=""):
    _, frame, inner = DOCUMENTS[kind]
    return frame.format(inner=inner.format(text=text))


@pytest.mark.parametrize("kind", DOCUMENTS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_documents_are_read_in_each_of_their_encodings(send, bucket, kind, encoding):
    document = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?>' + document_of(kind, "v")
    answer = document_request(send, bucket, kind, document.encode(encoding))
    assert answer.status in (200, 204), answer.content


@pytest.mark.parametrize("kind", DOCUMENTS)
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda body: f'<!DOCTYPE a [<!ENTITY x "y">]>{body}', id="a document type"),
        pytest.param(lambda body: f'<!DOCTYPE a SYSTEM "file:///etc/passwd">{body}', id="an external one"),
        pytest.param(lambda body: body.replace("</Key>", "&x;</Key>"), id="an unknown entity"),
        pytest.param(lambda body: body[:-1], id="cut off"),
        pytest.param(lambda body: "<a>" * 20 + "</a>" * 20, id="too deep"),
        pytest.param(lambda body: body.replace("<Key>", "<Key>" + "<a>" * 16).replace("</Key>", "</a>" * 16 + "</Key>"), id="deep inside"),
        pytest.param(lambda body: "<Other/>", id="another document"),
        pytest.param(lambda body: '{"json": true}', id="json"),
        pytest.param(lambda body: body.encode("utf-32"), id="UTF-32"),
        pytest.param(lambda body: body.replace("</Key>", "\x00</Key>"), id="NUL"),
        pytest.param(lambda body: '<?xml version="1.0" encoding="none-such"?>' + body, id="an unknown encoding"),
    ],
)
def test_a_document_that_is_none_is_malformed(send, bucket, kind, make):
    made = make(document_of(kind))
    body = made if isinstance(made, bytes) else made.encode()
    assert_refused(document_request(send, bucket, kind, body), 400, "MalformedXML")


def test_documents_are_bounded(send, bucket):
    padding = " " * (KIB * KIB)
    for kind, most_kib in (("tagging", 1024), ("delete", 2048)):
        document = document_of(kind)
        over = document.replace("><", f">{padding * (most_kib // 1024)}<", 1)
        assert_refused(document_request(send, bucket, kind, over.encode()), 400, "MaxMessageLengthExceeded")
        fits = document.replace("><", f">{' ' * (most_kib * KIB - len(document))}<", 1)
        assert len(fits) == most_kib * KIB
        answer = document_request(send, bucket, kind, fits.encode())
        assert answer.status in (200, 204), answer.content


def test_the_list_of_parts_is_bounded_and_judged_like_every_document(send, bucket):
    created = send("POST", f"/{bucket}/key?uploads", {"content-length": "0"})
    upload = next(element.text for element in fromstring(created.content).iter() if element.tag.endswith("UploadId"))
    target = f"/{bucket}/key?{encode_query([('uploadId', upload)])}"
    part = '<Part><PartNumber>1</PartNumber><ETag>"0"</ETag></Part>'
    for document, code in (
        (f"<CompleteMultipartUpload>{part}{' ' * (2 * KIB * KIB)}</CompleteMultipartUpload>", "MaxMessageLengthExceeded"),
        (f"<!DOCTYPE a []><CompleteMultipartUpload>{part}</CompleteMultipartUpload>", "MalformedXML"),
        (f"<CompleteMultipartUpload>{'<a>' * 16}{'</a>' * 16}{part}</CompleteMultipartUpload>", "MalformedXML"),
        (f"<CompleteMultipartUpload>{part}", "MalformedXML"),
        (f"<CompleteMultipartUpload>{part}{' ' * (2 * KIB * KIB - 200)}</CompleteMultipartUpload>", "InvalidPart"),
    ):
        assert_refused(send("POST", target, None, document.encode()), 400, code)


def test_a_bomb_of_entities_is_refused_and_the_node_goes_on(send, node, bucket):
    names = "abcdefghij"
    entities = '<!ENTITY a "' + "lol" * 100 + '">'
    entities += "".join(f'<!ENTITY {later} "{f"&{earlier};" * 10}">' for earlier, later in zip(names, names[1:], strict=False))
    for encoding in ("utf-8", "utf-16"):
        bomb = f"<!DOCTYPE Delete [{entities}]><Delete><Object><Key>&j;</Key></Object></Delete>".encode(encoding)
        assert_refused(document_request(send, bucket, "delete", bomb), 400, "MalformedXML")
    assert node.is_ready()
