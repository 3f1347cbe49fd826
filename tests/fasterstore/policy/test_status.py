"""Which policies S3 calls public."""

import json

import pytest

from fasterstore.policy.document import parse_document
from fasterstore.policy.status import is_public


def public(**changes):
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::box/*", **changes}
    return is_public(parse_document(json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, True),
        ({"Principal": {"AWS": ["*"]}}, True),
        ({"Principal": {"AWS": "arn:aws:iam::111122223333:root"}}, False),
        ({"Principal": {"Service": "logging.s3.amazonaws.com"}}, False),
        ({"Effect": "Deny"}, False),
        ({"Resource": "arn:aws:s3:::box/one-object"}, True),
    ],
)
def test_it_is_public_to_let_everybody_in(changes, expected):
    assert public(**changes) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, False),
        ({"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "2001:db8::/32"]}}, False),
        ({"IpAddress": {"aws:SourceIp": "0.0.0.0/1"}}, True),
        ({"IpAddress": {"aws:SourceIp": ["192.0.2.0/24", "2001::/31"]}}, True),
        ({"IpAddressIfExists": {"aws:SourceIp": "192.0.2.0/24"}}, True),
        ({"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}, True),
        ({"StringEquals": {"aws:SourceVpc": "vpc-91237329"}}, False),
        ({"StringLike": {"aws:SourceVpc": "vpc-*"}}, True),
        ({"StringEquals": {"aws:SourceVpc": "${aws:username}"}}, True),
        ({"StringNotEquals": {"aws:SourceVpc": "vpc-91237329"}}, True),
        ({"ForAllValues:StringEquals": {"aws:SourceVpc": "vpc-1"}}, True),
        ({"ForAnyValue:StringEquals": {"aws:SourceVpc": "vpc-1"}}, False),
        ({"ArnEquals": {"aws:SourceArn": "arn:aws:sns:us-east-1:111122223333:topic"}}, False),
        ({"StringEquals": {"aws:userid": "anonymous"}}, True),
        ({"StringEquals": {"aws:Referer": "http://example.com/"}}, True),
        ({"Bool": {"aws:SecureTransport": "true"}}, True),
        ({"StringEquals": {"aws:Referer": "x"}, "IpAddress": {"aws:SourceIp": "192.0.2.7"}}, False),
    ],
)
def test_only_fixed_values_of_where_a_request_comes_from_make_it_less(condition, expected):
    assert public(Condition=condition) is expected


def test_one_public_statement_is_enough():
    statements = [
        {"Effect": "Allow", "Principal": principal, "Action": "s3:*", "Resource": "arn:aws:s3:::box/*"}
        for principal in ({"AWS": "111122223333"}, "*")
    ]
    assert is_public(parse_document(json.dumps({"Statement": statements}).encode()))
