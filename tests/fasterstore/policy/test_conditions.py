"""Conditions one by one: each key's value in a request, each operator's meaning, absent keys, sets and variables."""

import json

import pytest

from fasterstore.policy.compiled import CompiledPolicy, Verdict
from fasterstore.policy.condition_keys import is_known, reader_of
from fasterstore.policy.dates import parse_date_ms
from fasterstore.policy.document import parse_document
from fasterstore.policy.question import Question
from fasterstore.s3.signer import Credentials, presign_v4

NOW_MS = 1_700_000_000_500
KEY = "arn:aws:s3:::box/docs/a"


def question(action="getobject", owner=False, resource=KEY, **facts):
    facts = {"now_ms": NOW_MS, "source_ip": "192.0.2.7", "region": "eu-west-1", "access_key": "owner-key" if owner else "", **facts}
    if owner:
        facts.setdefault("scheme", "sigv4")
    return Question(action, resource, owner, facts.pop("operation", "GetObject"), **facts)


def holds(block, asked, version="2012-10-17", resource="arn:aws:s3:::box/*"):
    """Does a statement with this condition block allow the question?"""
    statement = {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": resource, "Condition": block}
    policy = CompiledPolicy(parse_document(json.dumps({"Version": version, "Statement": statement}).encode()), "owner-key")
    return policy.decide(asked) is Verdict.ALLOWED


@pytest.mark.parametrize(
    ("key", "asked", "expected"),
    [
        ("aws:SourceIp", question(), ("192.0.2.7",)),
        ("aws:SourceIp", question(source_ip=""), None),
        ("AWS:SECURETRANSPORT", question(), ("false",)),
        ("aws:SecureTransport", question(is_secure=True), ("true",)),
        ("aws:CurrentTime", question(), ("2023-11-14T22:13:20Z",)),
        ("aws:EpochTime", question(), ("1700000000",)),
        ("aws:UserAgent", question(headers={"user-agent": "boto3"}), ("boto3",)),
        ("aws:Referer", question(headers={"referer": "http://\xc3\xbc"}), ("http://\u00fc",)),
        ("aws:Referer", question(headers={"referer": "\xff"}), ("\xff",)),
        ("aws:Referer", question(), None),
        ("aws:PrincipalType", question(), ("Anonymous",)),
        ("aws:PrincipalType", question(owner=True), ("User",)),
        ("aws:userid", question(), ("anonymous",)),
        ("aws:username", question(), None),
        ("aws:username", question(owner=True), ("owner-key",)),
        ("aws:PrincipalArn", question(owner=True), ("arn:aws:iam::000000000000:user/owner-key",)),
        ("aws:PrincipalAccount", question(), None),
        ("aws:RequestedRegion", question(), ("eu-west-1",)),
        ("aws:SourceVpc", question(), None),
        ("aws:MultiFactorAuthAge", question(owner=True), None),
        ("s3:prefix", question("listbucket", query={"prefix": "a/"}), ("a/",)),
        ("s3:prefix", question("listbucket"), None),
        ("s3:max-keys", question("listbucket", query={"max-keys": "7"}), ("7",)),
        ("s3:delimiter", question("listbucket", query={"delimiter": "/"}), ("/",)),
        ("s3:VersionId", question(query={"versionId": "null"}), ("null",)),
        ("s3:ExistingObjectTag/Team", question(existing_tags=lambda: {"Team": "red"}), ("red",)),
        ("s3:ExistingObjectTag/team", question(existing_tags=lambda: {"Team": "red"}), None),
        ("s3:ExistingObjectTag/Team", question("getobjectattributes", existing_tags=lambda: {"Team": "red"}), None),
        ("s3:RequestObjectTag/a b", question("putobject", headers={"x-amz-tagging": "a+b=c%20d&e=f"}), ("c d",)),
        ("s3:RequestObjectTagKeys", question("putobject", headers={"x-amz-tagging": "a=1&b=2"}), ("a", "b")),
        ("s3:RequestObjectTagKeys", question("putobject"), None),
        ("s3:RequestObjectTagKeys", question("putobject", headers={"x-amz-tagging": "a=1&a=2"}), None),
        ("s3:RequestObjectTag/a", question("putobjecttagging", request_tags={"a": "1"}), ("1",)),
        ("s3:x-amz-acl", question("putobject", headers={"x-amz-acl": "public-read"}), ("public-read",)),
        ("s3:x-amz-copy-source", question("putobject", headers={"x-amz-copy-source": "/b/k%20%2B?versionId=x"}), ("b/k +",)),
        ("s3:x-amz-copy-source", question("putobject", headers={"x-amz-copy-source": "nonsense"}), ("nonsense",)),
        ("s3:x-amz-grant-read", question("putobject", headers={"x-amz-grant-read": "id=1"}), ("id=1",)),
        ("s3:x-amz-storage-class", question("putobject", headers={"x-amz-storage-class": "STANDARD_IA"}), ("STANDARD_IA",)),
        ("s3:if-none-match", question("putobject", headers={"if-none-match": "*"}), ("*",)),
        ("s3:ObjectCreationOperation", question("putobject", operation="PutObject"), ("true",)),
        ("s3:ObjectCreationOperation", question("putobject", operation="UploadPart"), ("false",)),
        ("s3:object-lock-mode", question("putobject", headers={"x-amz-object-lock-mode": "GOVERNANCE"}), ("GOVERNANCE",)),
        (
            "s3:object-lock-remaining-retention-days",
            question("putobject", headers={"x-amz-object-lock-retain-until-date": "2023-11-24T23:00:00Z"}),
            ("10",),
        ),
        ("s3:authType", question(), None),
        ("s3:authType", question(owner=True), ("REST-HEADER",)),
        ("s3:authType", question(owner=True, scheme="sigv2-query"), ("REST-QUERY-STRING",)),
        ("s3:authType", question("putobject", owner=True, scheme="sigv4-post"), ("POST",)),
        ("s3:signatureversion", question(owner=True), ("AWS4-HMAC-SHA256",)),
        ("s3:signatureversion", question(owner=True, scheme="sigv2"), ("AWS",)),
        ("s3:signatureversion", question(owner=True, scheme="x-fs"), ("x-fs",)),
        ("s3:signatureversion", question(), None),
        ("s3:signatureAge", question(owner=True, headers={"x-amz-date": "20231114T221310Z"}), ("10500",)),
        ("s3:signatureAge", question(owner=True, scheme="x-fs", headers={"x-fs-timestamp": "1700000000"}), ("500",)),
        ("s3:signatureAge", question(owner=True, scheme="sigv2", headers={"date": "Tue, 14 Nov 2023 22:13:00 GMT"}), ("20500",)),
        ("s3:signatureAge", question(owner=True, scheme="sigv2-query"), None),
        ("s3:signatureAge", question(headers={"x-amz-date": "20231114T221310Z"}), None),
        ("s3:x-amz-content-sha256", question(owner=True, headers={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}), ("UNSIGNED-PAYLOAD",)),
        ("s3:Unheard", question(), None),
    ],
)
def test_a_request_gives_each_key_its_value(key, asked, expected):
    assert reader_of(key)(asked) == expected


def test_the_age_of_a_presigned_url_is_read_from_its_query():
    signed = presign_v4("GET", "/box/docs/a", "", {"host": "h"}, Credentials("owner-key", "secret-of-owner"), NOW_MS // 1000 - 30, 60)
    assert reader_of("s3:signatureAge")(question(owner=True, scheme="sigv4-query", raw_query=signed)) == ("30500",)


def test_keys_are_known_by_any_case_and_tags_only_with_a_name():
    known = ["s3:prefix", "S3:PREFIX", "aws:SourceIp", "aws:PrincipalTag/x", "s3:ExistingObjectTag/x", "s3:x-amz-grant-full-control"]
    assert all(is_known(key) for key in known)
    assert not any(is_known(key) for key in ["", "prefix", "aws:", "s3:", "s3:ExistingObjectTag", "s3:ExistingObjectTag/", "ec2:Region"])


REFERER = question(headers={"referer": "http://example.com/a*"})


@pytest.mark.parametrize(
    ("block", "asked", "expected"),
    [
        ({"StringEquals": {"aws:Referer": "http://example.com/a*"}}, REFERER, True),
        ({"StringEquals": {"aws:Referer": "http://example.com/*"}}, REFERER, False),
        ({"StringEquals": {"aws:Referer": ["x", "http://example.com/a*"]}}, REFERER, True),
        ({"StringNotEquals": {"aws:Referer": ["x", "http://example.com/a*"]}}, REFERER, False),
        ({"StringNotEquals": {"aws:Referer": ["x", "y"]}}, REFERER, True),
        ({"StringEqualsIgnoreCase": {"aws:Referer": "HTTP://EXAMPLE.COM/A*"}}, REFERER, True),
        ({"StringLike": {"aws:Referer": "http://*.com/?*"}}, REFERER, True),
        ({"StringNotLike": {"aws:Referer": "http://*.com/?*"}}, REFERER, False),
        ({"StringEquals": {"aws:Referer": []}}, REFERER, False),
        # Absent keys.
        ({"StringEquals": {"aws:Referer": "x"}}, question(), False),
        ({"StringEqualsIfExists": {"aws:Referer": "x"}}, question(), True),
        ({"StringNotEquals": {"aws:Referer": "x"}}, question(), True),
        ({"ForAllValues:StringEquals": {"aws:Referer": "x"}}, question(), True),
        ({"ForAnyValue:StringNotEquals": {"aws:Referer": "x"}}, question(), False),
        ({"ForAnyValue:StringEqualsIfExists": {"aws:Referer": "x"}}, question(), True),
        ({"Bool": {"aws:MultiFactorAuthPresent": "false"}}, question(), False),
        ({"Null": {"aws:Referer": "true"}}, question(), True),
        ({"Null": {"aws:Referer": "true"}}, REFERER, False),
        ({"Null": {"aws:Referer": ["false"]}}, REFERER, True),
        # Numbers, dates, truth, bytes.
        ({"NumericLessThanEquals": {"s3:max-keys": "10"}}, question("listbucket", query={"max-keys": "10"}), True),
        ({"NumericLessThanEquals": {"s3:max-keys": "10"}}, question("listbucket", query={"max-keys": "9.99"}), True),
        ({"NumericLessThanEquals": {"s3:max-keys": "10"}}, question("listbucket", query={"max-keys": "11"}), False),
        ({"NumericLessThanEquals": {"s3:max-keys": "10"}}, question("listbucket", query={"max-keys": "x"}), False),
        ({"NumericNotEquals": {"s3:max-keys": "10"}}, question("listbucket", query={"max-keys": "x"}), True),
        ({"NumericEquals": {"s3:max-keys": "10"}}, question("listbucket", query={"max-keys": "010"}), True),
        ({"DateLessThan": {"aws:CurrentTime": "2023-11-15"}}, question(), True),
        ({"DateGreaterThan": {"aws:CurrentTime": "2023-11-14T23:13:19+01:00"}}, question(), True),
        ({"DateEquals": {"aws:EpochTime": "2023-11-14T22:13:20Z"}}, question(), True),
        ({"DateEquals": {"aws:CurrentTime": 1700000000}}, question(), True),
        ({"Bool": {"aws:SecureTransport": "FALSE"}}, question(), True),
        ({"BinaryEquals": {"aws:username": "b3duZXIta2V5"}}, question(owner=True), True),
        # Addresses.
        ({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, question(), True),
        ({"IpAddress": {"aws:SourceIp": "192.0.2.9/24"}}, question(), True),
        ({"IpAddress": {"aws:SourceIp": "192.0.2.6"}}, question(), False),
        ({"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "192.0.2.7"]}}, question(), True),
        ({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, question(source_ip="::ffff:192.0.2.1"), True),
        ({"IpAddress": {"aws:SourceIp": "2001:db8::/32"}}, question(source_ip="2001:db8::7"), True),
        ({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}, question(source_ip="2001:db8::7"), False),
        ({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}, question(source_ip="no address"), False),
        ({"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, question(), False),
        ({"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, question(source_ip=""), True),
        # ARNs, part by part.
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"}}, question(owner=True), True),
        ({"ArnEquals": {"aws:PrincipalArn": "arn:aws:iam::000000000000:user/own?r-key"}}, question(owner=True), True),
        ({"ArnLike": {"aws:PrincipalArn": "arn:*:user/owner-key"}}, question(owner=True), False),
        ({"ArnNotLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/*"}}, question(), True),
        ({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::${aws:PrincipalAccount}:user/${aws:username}"}}, question(owner=True), True),
        # Keys with several values.
        ({"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["a", "b"]}}, question(request_tags={"a": "", "b": ""}), True),
        ({"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["a"]}}, question(request_tags={"a": "", "b": ""}), False),
        ({"ForAnyValue:StringEquals": {"s3:RequestObjectTagKeys": ["a"]}}, question(request_tags={"a": "", "b": ""}), True),
        ({"ForAllValues:StringNotEquals": {"s3:RequestObjectTagKeys": ["a"]}}, question(request_tags={"a": "", "b": ""}), False),
        ({"ForAnyValue:StringNotEquals": {"s3:RequestObjectTagKeys": ["a"]}}, question(request_tags={"a": "", "b": ""}), True),
        ({"StringNotEquals": {"s3:RequestObjectTagKeys": ["a"]}}, question(request_tags={"a": "", "b": ""}), False),
        # Several keys and operators: all of them.
        ({"StringLike": {"aws:Referer": "http*"}, "Bool": {"aws:SecureTransport": "true"}}, REFERER, False),
        ({"StringLike": {"aws:Referer": "http*", "aws:userid": "anonymous"}}, REFERER, True),
    ],
)
def test_operators_mean_what_the_iam_user_guide_says(block, asked, expected):
    resource = ["arn:aws:s3:::box", "arn:aws:s3:::box/*"]
    assert holds(block, asked, resource=resource) is expected


@pytest.mark.parametrize(
    ("resource", "key", "owner", "expected"),
    [
        ("${aws:username}/*", "owner-key/a", True, True),
        ("${aws:username}/*", "other/a", True, False),
        ("${aws:username}/*", "${aws:username}/a", False, False),
        ("${aws:username, 'public'}/*", "public/a", False, True),
        ("${aws:username, 'public'}/*", "public/a", True, False),
        ("${ aws:username }/a", "owner-key/a", True, True),
        ("a${*}b", "a*b", False, True),
        ("a${*}b", "axb", False, False),
        ("a${?}${$}", "a?$", False, True),
        ("${unclosed/*", "${unclosed/a", False, True),
        ("${s3:RequestObjectTagKeys}", "a", False, False),
    ],
)
def test_a_variable_in_a_resource_is_the_requests_own_value(resource, key, owner, expected):
    asked = question(owner=owner, resource=f"arn:aws:s3:::box/{key}", request_tags={"a": "1", "b": "2"})
    assert holds({}, asked, resource=f"arn:aws:s3:::box/{resource}") is expected


def test_what_a_variable_brings_in_is_no_wildcard():
    asked = question("listbucket", resource="arn:aws:s3:::box", query={"prefix": "*"}, headers={"referer": "anything"})
    assert not holds({"StringLike": {"aws:Referer": "${s3:prefix}"}}, asked, resource="arn:aws:s3:::box")
    starred = question("listbucket", resource="arn:aws:s3:::box", query={"prefix": "*"}, headers={"referer": "*"})
    assert holds({"StringLike": {"aws:Referer": "${s3:prefix}"}}, starred, resource="arn:aws:s3:::box")


def test_a_null_variable_equals_nothing():
    asked = question(headers={"referer": "x"})
    assert not holds({"StringEquals": {"aws:Referer": "${aws:username}"}}, asked)
    assert holds({"StringNotEquals": {"aws:Referer": "${aws:username}"}}, asked)


def test_documents_of_the_old_version_have_no_variables():
    asked = question(owner=True, resource="arn:aws:s3:::box/${aws:username}/a")
    assert holds({}, asked, version="2008-10-17", resource="arn:aws:s3:::box/${aws:username}/*")
    assert not holds({}, asked, resource="arn:aws:s3:::box/${aws:username}/*")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1970-01-02", 86_400_000),
        ("1970-01-01T00:00Z", 0),
        ("1970-01-01T01:00:00.250+01:00", 250),
        ("1969-12-31T23:59:59Z", -1000),
        ("12", 12_000),
        ("", None),
        ("1970-13-01", None),
        ("1970-01-01 00:00:00", None),
        ("0001-01-01T00:00:00+14:00", -62_135_647_200_000),
        ("now", None),
    ],
)
def test_dates_are_iso_8601_or_seconds(text, expected):
    assert parse_date_ms(text) == expected
