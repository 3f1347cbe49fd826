"""Bucket policies: refused as S3 does, or compiled and asked; a decision never fails, and a Deny of everything always denies."""

import ipaddress
import json
from typing import Any

from fasterstore.policy import validate
from fasterstore.policy.compiled import CompiledPolicy, Verdict
from fasterstore.policy.question import Question
from fasterstore.policy.validate import read_policy
from fasterstore.s3.errors import S3Error

DICTIONARY = [
    b'"Version":"2012-10-17"', b'"Statement":[', b'"Effect":"Allow"', b'"Effect":"Deny"', b'"Principal":"*"', b'"NotPrincipal"',
    b'"Action":"s3:', b'"NotAction"', b'"Resource":"arn:aws:s3:::box/*"', b'"NotResource"', b'"Condition":{', b'"StringLike":{',
    b'"IpAddress":{', b'"Null":{', b'"ForAllValues:StringEquals"', b'"ForAnyValue:', b'"NumericLessThan"', b'"DateGreaterThan"',
    b'"BinaryEquals"', b'"aws:SourceIp"', b'"Bool"', b'"s3:prefix"', b'"s3:max-keys"', b'"aws:CurrentTime"', b'"s3:ExistingObjectTag/a"',
    b'"IfExists"', b"${aws:username}", b"${*}", b"*", b"?", b"s3:GetObject", b"s3:*", b"{", b"}", b"[", b"]", b"1e999999999", b"\\ud800",
    b"\\u0000", b"-0", b"true", b"null", b"192.0.2.0/24", b"::1/0",
]  # fmt: skip
_OBJECT = "arn:aws:s3:::box/docs/a"
_BUCKET = "arn:aws:s3:::box"
_DENY_ALL = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ["arn:aws:s3:::box", "arn:aws:s3:::box/*"]}
_MANY_STARS = "*a" * 30


def _questions() -> list[Question]:
    more: dict[str, Any] = {"source_ip": "192.0.2.7", "now_ms": 1_700_000_000_000, "region": "us-east-1"}
    tags = {"a": "1", "b": "*"}
    return [
        Question("getobject", _OBJECT, False, "GetObject", headers={"user-agent": "x" * 200, "referer": "a" * 300}, **more),
        Question("putobject", _OBJECT, True, "PutObject", headers={"x-amz-acl": "public-read"}, scheme="sigv4", access_key="key", **more),
        Question("listbucket", _BUCKET, False, "ListObjectsV2", query={"prefix": "docs/", "max-keys": "1e5", "delimiter": "/"}, **more),
        Question("getobject", "arn:aws:s3:::box/" + "a" * 500, False, existing_tags=lambda: tags, request_tags=tags, **more),
    ]


def seeds() -> list[bytes]:
    """Policies that use most of the language."""
    allow = {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": ["s3:Get*", "s3:PutObject"], "Resource": "arn:aws:s3:::box/*"}
    conditions = {
        "StringLike": {"aws:Referer": ["http://*.x/?", _MANY_STARS]},
        "IpAddress": {"aws:SourceIp": ["192.0.2.0/24", "2001:db8::/32"]},
        "DateLessThan": {"aws:CurrentTime": "2030-01-01T00:00:00Z"},
        "Null": {"s3:x-amz-acl": "true"},
        "ForAllValues:StringEqualsIfExists": {"s3:RequestObjectTagKeys": ["a", "b"]},
    }
    listing = {
        "Sid": "l", "Effect": "Allow", "NotPrincipal": {"AWS": "111122223333"}, "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::box",
        "Condition": {"NumericLessThanEquals": {"s3:max-keys": 10}, "StringNotEquals": {"s3:prefix": "${aws:username, 'x'}/${*}"}},
    }  # fmt: skip
    tagged = {
        **allow,
        "Action": "s3:GetObject",
        "Condition": {"StringEquals": {"s3:ExistingObjectTag/a": "1"}, "Bool": {"aws:SecureTransport": False}},
    }
    many = {**allow, "Resource": f"arn:aws:s3:::box/{_MANY_STARS}"}
    statements: list[Any] = [allow, {**allow, "Condition": conditions}, listing, tagged, many, _DENY_ALL]
    return [json.dumps({"Version": "2012-10-17", "Id": "p", "Statement": one}).encode() for one in [*statements, statements]]


def one_input(data: bytes) -> None:
    """Read a policy, and ask it. Raises: anything, on a finding."""
    try:
        read = read_policy(data, "box")
    except S3Error as error:
        assert error.code == "MalformedPolicy", error
        return
    compiled = CompiledPolicy(read, "key")
    verdicts = [compiled.decide(question) for question in _questions()]
    assert compiled.is_public in (True, False)
    root = json.loads(data)
    statements = root["Statement"]
    denied = {
        "Version": root.get("Version", "2008-10-17"),
        "Statement": [*(statements if type(statements) is list else [statements]), _DENY_ALL],
    }
    try:
        stricter = read_policy(json.dumps(denied).encode(), "box")
    except S3Error:
        return  # too large now
    assert all(CompiledPolicy(stricter, "key").decide(question) is Verdict.DENIED for question in _questions()), verdicts


def plant() -> None:
    """A network that is none is not refused but raised."""
    validate.parse_network = ipaddress.ip_network
