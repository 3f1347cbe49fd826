"""Which documents are policies: AWS's grammar, limits and words."""

import json

import pytest

from fasterstore.policy.document import MAX_BYTES, parse_document
from fasterstore.policy.validate import read_policy
from fasterstore.s3.errors import S3Error

STATEMENT = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::box/*"}
BUCKET, OBJECTS = "arn:aws:s3:::box", "arn:aws:s3:::box/*"
SYNTAX = "Invalid policy syntax."
NOT_JSON = "Policies must be valid JSON and the first byte must be '{'"
BAD_JSON = "This policy contains invalid Json"
BAD_PRINCIPAL = "Invalid principal in policy"
BAD_ACTION = "Policy has invalid action"
BAD_RESOURCE = "Policy has invalid resource"
MISMATCH = "Action does not apply to any resource(s) in statement"
NO_COMBINATION = "Conditions do not apply to combination of actions and resources in statement"


def policy(**changes):
    """A policy of one statement with these elements changed; None leaves one out."""
    statement = {name: value for name, value in {**STATEMENT, **changes}.items() if value is not None}
    return {"Version": "2012-10-17", "Statement": [statement]}


def conditional(condition, action="s3:GetObject", resource=OBJECTS):
    return policy(Condition=condition, Action=action, Resource=resource)


def message(document):
    """What a document is refused with on the bucket `box`; None if it is accepted."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    try:
        read_policy(body, "box")
    except S3Error as refusal:
        assert (refusal.code, refusal.status) == ("MalformedPolicy", 400)
        return refusal.message
    return None


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", NOT_JSON),
        (b"null", NOT_JSON),
        (b"[]", NOT_JSON),
        (b' {"Statement": []}', NOT_JSON),
        (b"\xef\xbb\xbf{}", NOT_JSON),
        (b"{", BAD_JSON),
        (b"{true}", BAD_JSON),
        (b"{} {}", BAD_JSON),
        (b'{"Statement": [}', BAD_JSON),
        (b'{"Statement": 1, "Statement": 2}', BAD_JSON),
        (b'{"Statement": NaN}', BAD_JSON),
        (b'{"Id": "\\ud800"}', BAD_JSON),
        (b'{"Id": "\xff"}', BAD_JSON),
        (b'{"Id": ' + b"[" * 15_000, BAD_JSON),
        (b"{}", "Missing required field Statement"),
        (b'{"Version": "2012-10-17"}', "Missing required field Statement"),
        (b'{"Statement": []}', "Could not parse the policy: Statement is empty!"),
        (b'{"Version": "2012-10-16", "Statement": []}', "The policy must contain a valid version string"),
        (b'{"Version": 2012, "Statement": []}', "The policy must contain a valid version string"),
        (b'{"Version": {}, "Statement": []}', "The policy must contain a valid version string"),
        (b'{"Statement": [1]}', SYNTAX),
        (b'{"Statement": "x"}', SYNTAX),
        (b'{"Statement": [], "Other": 1}', SYNTAX),
        (b'{"Statement": [{}], "Id": 1}', SYNTAX),
    ],
)
def test_what_is_no_policy_is_refused_in_awss_words(body, expected):
    assert message(body) == expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"Effect": None}, "Missing required field Effect"),
        ({"Effect": "allow"}, "Invalid effect: allow"),
        ({"Effect": ["Allow"]}, SYNTAX),
        ({"Effect": 1}, SYNTAX),
        ({"Principal": None}, "Missing required field Principal"),
        ({"Action": None}, "Missing required field Action"),
        ({"Resource": None}, "Missing required field Resource"),
        ({"Sid": 1}, SYNTAX),
        ({"Extra": "x"}, SYNTAX),
        ({"NotAction": "s3:PutObject"}, SYNTAX),
        ({"NotResource": OBJECTS}, SYNTAX),
        ({"NotPrincipal": "*"}, SYNTAX),
        ({"Principal": None, "NotPrincipal": {"AWS": "111122223333"}}, "Allow with NotPrincipal is not allowed."),
        ({"Principal": ""}, BAD_PRINCIPAL),
        ({"Principal": []}, BAD_PRINCIPAL),
        ({"Principal": "arn:aws:iam::111122223333:root"}, BAD_PRINCIPAL),
        ({"Principal": {}}, BAD_PRINCIPAL),
        ({"Principal": {"AWS": ""}}, BAD_PRINCIPAL),
        ({"Principal": {"AWS": []}}, BAD_PRINCIPAL),
        ({"Principal": {"AWS": ["*", "someone"]}}, BAD_PRINCIPAL),
        ({"Principal": {"AWS": "arn:aws:iam::111122223333:user/*"}}, BAD_PRINCIPAL),
        ({"Principal": {"AWS": "arn:aws:iam::111122223333:group/admins"}}, BAD_PRINCIPAL),
        ({"Principal": {"AWS": True}}, BAD_PRINCIPAL),
        ({"Principal": {"Somebody": "*"}}, BAD_PRINCIPAL),
        ({"Principal": {"Service": "*"}}, BAD_PRINCIPAL),
        ({"Principal": {"CanonicalUser": "*"}}, BAD_PRINCIPAL),
        ({"Action": ""}, BAD_ACTION),
        ({"Action": []}, BAD_ACTION),
        ({"Action": "GetObject"}, BAD_ACTION),
        ({"Action": "s3:GetObjects"}, BAD_ACTION),
        ({"Action": "s3:*Obj??ect*"}, BAD_ACTION),
        ({"Action": ["s3:GetObject", "iam:PassRole"]}, BAD_ACTION),
        ({"Action": [1]}, SYNTAX),
        ({"Action": {"a": 1}}, SYNTAX),
        ({"Resource": ""}, BAD_RESOURCE),
        ({"Resource": []}, BAD_RESOURCE),
        ({"Resource": "*"}, BAD_RESOURCE),
        ({"Resource": "box/*"}, BAD_RESOURCE),
        ({"Resource": "arn:aws:s3:::other/*"}, BAD_RESOURCE),
        ({"Resource": "arn:aws:s3:::boxes/*"}, BAD_RESOURCE),
        ({"Resource": "arn:aws:s3:::/box"}, BAD_RESOURCE),
        ({"Resource": "arn:aws:iam:::box"}, BAD_RESOURCE),
        ({"Resource": [OBJECTS, "arn:aws:s3:::other"]}, BAD_RESOURCE),
        ({"Resource": None, "NotResource": "arn:aws:s3:::other"}, BAD_RESOURCE),
        ({"Resource": BUCKET}, MISMATCH),
        ({"Action": "s3:ListBucket"}, MISMATCH),
        ({"Action": ["s3:GetObject", "s3:ListBucket"]}, MISMATCH),
        ({"Action": "s3:GetBucket*"}, MISMATCH),
        ({"Action": "s3:Abort*", "Resource": BUCKET}, MISMATCH),
        ({"Condition": []}, SYNTAX),
        ({"Condition": {"StringEquals": "x"}}, SYNTAX),
        ({"Condition": {"StringEquals": {"aws:Referer": None}}}, SYNTAX),
        ({"Condition": {"StringEquals": {"aws:Referer": {"a": 1}}}}, SYNTAX),
        ({"Condition": {"stringequals": {"aws:Referer": "x"}}}, "Invalid Condition type : stringequals"),
        ({"Condition": {"NullIfExists": {"aws:Referer": "true"}}}, "Invalid Condition type : NullIfExists"),
        ({"Condition": {"ForSome:StringLike": {"aws:Referer": "x"}}}, "Invalid Condition type : ForSome:StringLike"),
        ({"Condition": {"StringEquals": {"s3:Unheard": "x"}}}, "Policy has an invalid condition key"),
        ({"Condition": {"StringEquals": {"iam:PassedToService": "x"}}}, "Policy has an invalid condition key"),
        ({"Condition": {"StringEquals": {"s3:ExistingObjectTag/": "x"}}}, "Policy has an invalid condition key"),
        ({"Condition": {"StringEquals": {"s3:prefix/x": "x"}}}, "Policy has an invalid condition key"),
        ({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}}}, "Invalid IP address in Conditions"),
        ({"Condition": {"NotIpAddress": {"aws:SourceIp": ["10.0.0.1", "here"]}}}, "Invalid IP address in Conditions"),
        ({"Condition": {"Bool": {"aws:SecureTransport": "yes"}}}, SYNTAX),
        ({"Condition": {"DateLessThan": {"aws:CurrentTime": "tomorrow"}}}, SYNTAX),
        ({"Condition": {"NumericLessThan": {"aws:EpochTime": "ten"}}}, SYNTAX),
        ({"Condition": {"BinaryEquals": {"aws:Referer": "%"}}}, SYNTAX),
    ],
)
def test_a_wrong_element_is_refused_in_awss_words(changes, expected):
    assert message(policy(**changes)) == expected


@pytest.mark.parametrize(
    ("condition", "action", "resource"),
    [
        ({"StringLike": {"s3:prefix": "x"}}, "s3:GetObject", OBJECTS),
        ({"StringLike": {"s3:prefix": "x"}}, ["s3:GetObject", "s3:ListBucket"], [BUCKET, OBJECTS]),
        ({"StringLike": {"s3:prefix": "x"}}, "s3:*", OBJECTS),
        ({"StringEquals": {"s3:ExistingObjectTag/a": "x"}}, "s3:DeleteObject", OBJECTS),
        ({"StringEquals": {"s3:ExistingObjectTag/a": "x"}}, ["s3:GetObject", "s3:PutObject"], OBJECTS),
        ({"StringEquals": {"s3:RequestObjectTag/a": "x"}}, "s3:PutObjectAcl", OBJECTS),
        ({"StringEquals": {"s3:x-amz-acl": "private"}}, "s3:GetObject", OBJECTS),
        ({"StringEquals": {"s3:x-amz-copy-source": "a/b"}}, "s3:GetObject", OBJECTS),
        ({"StringEquals": {"s3:VersionId": "x"}}, "s3:GetObject", OBJECTS),
    ],
)
def test_a_condition_must_apply_to_every_action_it_is_put_on(condition, action, resource):
    assert message(conditional(condition, action, resource)) == NO_COMBINATION


@pytest.mark.parametrize(
    "document",
    [
        policy(),
        {"Statement": STATEMENT},
        {"Version": "2008-10-17", "Id": "an-id", "Statement": [{**STATEMENT, "Sid": "with blanks"}, STATEMENT]},
        policy(Effect="Deny", Principal=None, NotPrincipal={"AWS": ["arn:aws:iam::000000000000:root"]}),
        policy(Principal={"AWS": "*"}),
        policy(Principal={"AWS": ["111122223333", "arn:aws:iam::111122223333:root", "AIDACKCEVSQ6C2EXAMPLE"]}),
        policy(Principal={"AWS": "arn:aws:iam::s3tenant1:root"}),
        policy(Principal={"AWS": "arn:aws:iam:::user/somebody"}),
        policy(Principal={"AWS": "arn:aws:iam::cloudfront:user/CloudFront Origin Access Identity E2QWRUHEXAMPLE"}),
        policy(Principal={"AWS": "arn:aws:sts::111122223333:assumed-role/role/session", "Service": ["logging.s3.amazonaws.com"]}),
        policy(Principal={"CanonicalUser": "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"}),
        policy(Principal={"Federated": "cognito-identity.amazonaws.com"}),
        policy(Action="*", Resource=[BUCKET, OBJECTS]),
        policy(Action="s3:*"),
        policy(Action=["s3:Get*", "S3:LISTBUCKET"], Resource=[BUCKET, OBJECTS]),
        policy(Action="s3:ListBucket", Resource=["arn:aws:s3:::*", "arn:aws:s3:::*/*"]),
        policy(Action="s3:GetObjec?", Resource="arn:aws:s3:::b?x/*/deep"),
        policy(Resource="arn:aws:s3:::box/${aws:username}/*"),
        policy(Resource="arn:aws:s3:::${aws:PrincipalTag/bucket}/*"),
        policy(Action=None, NotAction="s3:DeleteObject"),
        policy(Resource=None, NotResource="arn:aws:s3:::box/private/*"),
        policy(Resource=[OBJECTS, OBJECTS]),
        policy(Condition={}),
        conditional({"StringLikeIfExists": {"aws:Referer": "http://www.example.com/*"}}),
        conditional({"StringEquals": {"AWS:UserAgent": ["a", "b"], "aws:SourceVpce": "vpce-1", "aws:PrincipalTag/team": "x"}}),
        conditional({"Bool": {"aws:SecureTransport": False}, "Null": {"aws:Referer": True}}),
        conditional({"IpAddress": {"aws:SourceIp": ["192.0.2.10/24", "2001:db8::/32", "192.0.2.1"]}, "NotIpAddress": {"aws:SourceIp": []}}),
        conditional({"DateGreaterThan": {"aws:CurrentTime": "2019-07-16T12:00:00Z"}, "NumericLessThan": {"aws:EpochTime": 1700000000}}),
        conditional({"StringEquals": {"s3:ExistingObjectTag/Team": "red"}}),
        conditional({"StringLike": {"s3:prefix": "a/*"}, "NumericLessThanEquals": {"s3:max-keys": "10"}}, "s3:ListBucket", BUCKET),
        conditional({"StringLike": {"s3:prefix": "a/*"}}, "s3:*", [BUCKET, OBJECTS]),
        conditional({"ForAnyValue:StringEquals": {"s3:RequestObjectTagKeys": ["a", "b"]}}, "s3:PutObject"),
        conditional({"Null": {"s3:x-amz-server-side-encryption": "true"}}, "s3:PutObject"),
        conditional({"ArnLike": {"aws:SourceArn": "arn:aws:s3:::*"}, "BinaryEquals": {"aws:Referer": "QUJD"}}),
    ],
)
def test_what_aws_accepts_is_accepted(document):
    assert message(document) is None


def test_the_limit_counts_no_white_space_between_tokens():
    resources = [f"arn:aws:s3:::box/{number:05d}/*" for number in range(680)]
    compact = json.dumps(policy(Resource=resources), separators=(",", ":")).encode()
    assert len(compact) <= MAX_BYTES
    wide = compact.replace(b'","', b'",\r\n \t"')
    assert len(wide) > MAX_BYTES
    assert message(wide) is None
    blanks = json.dumps(policy(Sid=" " * (MAX_BYTES - len(compact))), separators=(",", ":")).encode()
    assert message(blanks.replace(b'"Sid":"', b'"Sid":"' + b' \\" ' * 5000)) is not None
    too_many = json.dumps(policy(Resource=resources * 2), separators=(",", ":")).encode()
    assert message(too_many) == f"Normalized policy document exceeds the maximum allowed size of {MAX_BYTES} bytes"
    assert (
        message(b"{" + b" " * 3 * MAX_BYTES + b"}") == f"Normalized policy document exceeds the maximum allowed size of {MAX_BYTES} bytes"
    )


def test_a_document_is_read_as_it_stands():
    document = parse_document(json.dumps(conditional({"ForAllValues:StringNotLikeIfExists": {"aws:Referer": ["a", 1.50, True]}})).encode())
    (statement,) = document.statements
    (condition,) = statement.conditions
    assert document.has_variables
    assert (statement.allows, statement.actions, statement.resources) == (True, ("s3:GetObject",), (OBJECTS,))
    assert condition.values == ("a", "1.5", "true")
    assert condition.operator == ("like", True, "ForAllValues", True)
    assert not parse_document(json.dumps({"Statement": STATEMENT}).encode()).has_variables


@pytest.mark.parametrize(
    "body",
    [
        json.dumps(policy(Resource=OBJECTS + "${" + " " * 18_000)).encode(),
        json.dumps(policy(Resource="arn:aws:s3:::" + "*" * 18_000)).encode(),
        b'{"' + b'\\"' * 9_000,
    ],
)
def test_no_text_takes_longer_to_read_than_its_length_says(body):
    # Each took minutes.
    try:
        read_policy(body, "box")
    except S3Error as refusal:
        assert refusal.code == "MalformedPolicy"
