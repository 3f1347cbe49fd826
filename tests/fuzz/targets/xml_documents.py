"""Every XML document that clients send: read, or refused as S3 does; what is written back reads the same."""

import re
from collections.abc import Callable
from typing import Any

from fasterstore.s3 import cors
from fasterstore.s3.acl import parse_acl, render_acl
from fasterstore.s3.cors import pack_rules, parse_cors, render_cors, unpack_rules
from fasterstore.s3.delete_xml import parse_delete
from fasterstore.s3.errors import S3Error
from fasterstore.s3.multipart_xml import parse_complete
from fasterstore.s3.tags import parse_tagging, render_tagging
from fasterstore.s3.xml import parse_create_bucket

DICTIONARY = [
    b"<Delete>", b"<Object>", b"<Key>", b"<Quiet>", b"<VersionId>", b"<Size>", b"<LastModifiedTime>", b"<CompleteMultipartUpload>",
    b"<Part>", b"<PartNumber>", b"<ETag>", b"<Tagging>", b"<TagSet>", b"<Tag>", b"<Value>", b"<CORSConfiguration>", b"<CORSRule>",
    b"<AllowedOrigin>", b"<AllowedMethod>GET", b"<AllowedHeader>", b"<ExposeHeader>", b"<MaxAgeSeconds>", b"<AccessControlPolicy>",
    b"<Grant>", b"<Permission>", b"<CreateBucketConfiguration>", b"<LocationConstraint>", b"<!DOCTYPE", b"<!ENTITY", b"&amp;", b"&#x0;",
    b"<![CDATA[", b"]]>", b"xmlns='http://s3.amazonaws.com/doc/2006-03-01/'", b"encoding='utf-16'", b"<?xml version='1.0'", b"</", b"/>",
]  # fmt: skip
_PREFIX = b'<?xml version="1.0" encoding="UTF-8"?>'


def _complete(body: bytes) -> None:
    for part in parse_complete(body):
        assert part.number >= 0


def _tagging(body: bytes) -> None:
    tags = parse_tagging(body, 10)
    assert parse_tagging(render_tagging(tags), 10) == tags


def _cors(body: bytes) -> None:
    rules = parse_cors(body)
    assert parse_cors(render_cors(rules)) == rules
    assert unpack_rules(pack_rules(rules)) == rules


def _acl(body: bytes) -> None:
    name = parse_acl(body)
    assert parse_acl(render_acl(name)) == name


_READERS: tuple[Callable[[bytes], Any], ...] = (parse_delete, _complete, _tagging, _cors, _acl, parse_create_bucket)


def seeds() -> list[bytes]:
    """A document of each kind; the first byte picks the reader."""
    bodies = [
        b"<Delete><Quiet>true</Quiet><Object><Key>a</Key><VersionId>null</VersionId><ETag>e</ETag><Size>5</Size>"
        b"<LastModifiedTime>Thu, 01 Jan 2026 00:00:00 GMT</LastModifiedTime></Object></Delete>",
        b"<CompleteMultipartUpload xmlns='http://s3.amazonaws.com/doc/2006-03-01/'><Part><ETag>\"e\"</ETag><PartNumber>1</PartNumber>"
        b"<ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part></CompleteMultipartUpload>",
        b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>",
        b"<CORSConfiguration><CORSRule><ID>i</ID><AllowedOrigin>http://*.x</AllowedOrigin><AllowedMethod>GET</AllowedMethod>"
        b"<AllowedHeader>*</AllowedHeader><ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>5</MaxAgeSeconds></CORSRule></CORSConfiguration>",
        render_acl("private"),
        b"<CreateBucketConfiguration><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>",
    ]
    found = [bytes([number]) + (body if body.startswith(b"<?") else _PREFIX + body) for number, body in enumerate(bodies)]
    return [*found, b"\x00<!DOCTYPE d [<!ENTITY a 'aaaa'>]><Delete>&a;</Delete>", b"\x02" + b"<a>" * 40]


def one_input(data: bytes) -> None:
    """Read one document. Raises: anything, on a finding."""
    if not data:
        return
    try:
        _READERS[data[0] % len(_READERS)](data[1:])
    except S3Error:
        pass


def plant() -> None:
    """The seconds of a CORS rule may be any text."""
    cors._MAX_AGE = re.compile(r"[\s\S]*")
