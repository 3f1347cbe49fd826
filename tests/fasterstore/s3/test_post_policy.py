"""The policy of a form: what it lets pass, what it refuses with which words, and what is no policy."""

import json
from base64 import b64encode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fasterstore.s3.errors import S3Error
from fasterstore.s3.post_policy import parse_policy

STEADY = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
"""The same cases each time, however busy the machine is."""

NOW = 1_700_000_000
FUTURE = "2030-01-01T00:00:00Z"
BUCKET = {"bucket": "box"}
KEY = ["starts-with", "$key", "user/"]


def encoded(document):
    return b64encode(json.dumps(document).encode()).decode()


def policy_of(*conditions, expiration=FUTURE):
    return parse_policy(encoded({"expiration": expiration, "conditions": list(conditions)}))


def outcome(fields, *conditions, bucket="box", now=NOW):
    """ "ok", or the message after "Invalid according to Policy: "."""
    try:
        policy_of(*conditions).check(fields, bucket, now)
    except S3Error as error:
        assert (error.code, error.status) == ("AccessDenied", 403)
        return error.message.removeprefix("Invalid according to Policy: ")
    return "ok"


def test_a_form_that_keeps_to_its_policy_passes():
    fields = {"key": "user/a", "acl": "private", "content-type": "image/png", "x-amz-meta-a": "1"}
    conditions = [BUCKET, KEY, {"acl": "private"}, ["starts-with", "$Content-Type", "image/"], ["eq", "$x-amz-meta-a", "1"]]
    assert outcome(fields, *conditions, ["content-length-range", 0, 10]) == "ok"


@pytest.mark.parametrize(
    ("fields", "condition", "shown"),
    [
        ({"key": "a"}, KEY, '["starts-with", "$key", "user/"]'),
        ({"key": "user/a", "acl": "public-read"}, {"acl": "private"}, '["eq", "$acl", "private"]'),
        ({"key": "user/a", "acl": "public-read"}, ["eq", "$acl", "private"], '["eq", "$acl", "private"]'),
        ({"key": "user/a"}, {"acl": "private"}, '["eq", "$acl", "private"]'),
        ({"key": "user/a"}, ["starts-with", "$Content-Type", ""], '["starts-with", "$content-type", ""]'),
        ({"key": "user/a", "acl": "Private"}, {"acl": "private"}, '["eq", "$acl", "private"]'),
        ({"key": "user/a", "acl": "private "}, {"acl": "private"}, '["eq", "$acl", "private"]'),
    ],
)
def test_a_condition_that_does_not_hold_is_named(fields, condition, shown):
    assert outcome(fields, BUCKET, KEY, condition) == f"Policy Condition failed: {shown}"


def test_the_bucket_is_the_one_that_the_form_was_sent_to():
    assert outcome({"key": "user/a"}, BUCKET, KEY, bucket="other") == 'Policy Condition failed: ["eq", "$bucket", "box"]'
    assert outcome({"key": "user/a", "bucket": "box"}, BUCKET, KEY, bucket="other") == 'Policy Condition failed: ["eq", "$bucket", "box"]'
    assert "another bucket" in outcome({"key": "user/a", "bucket": "other"}, BUCKET, KEY)
    assert outcome({"key": "user/a"}, KEY) == "Extra input fields: bucket"
    assert outcome({"key": "user/a"}, ["starts-with", "$bucket", "b"], KEY) == "ok"


@pytest.mark.parametrize(
    "name", ["acl", "content-type", "x-amz-meta-a", "x-amz-date", "x-amz-credential", "x-amz-algorithm", "tagging", "any"]
)
def test_a_field_that_no_condition_names_is_refused(name):
    assert outcome({"key": "user/a", name: ""}, BUCKET, KEY) == f"Extra input fields: {name}"
    assert outcome({"key": "user/a", name: "v"}, BUCKET, KEY, ["starts-with", f"${name}", ""]) == "ok"


@pytest.mark.parametrize("name", ["policy", "signature", "awsaccesskeyid", "x-amz-signature", "x-ignore-a", "x-amz-checksum-crc32"])
def test_a_few_fields_need_no_condition(name):
    assert outcome({"key": "user/a", name: "v"}, BUCKET, KEY) == "ok"


def test_names_and_operators_are_compared_without_case_and_values_with():
    fields = {"key": "user/a", "acl": "private", "content-type": "text/plain"}
    conditions = [{"bUcKeT": "box"}, ["StArTs-WiTh", "$KeY", "user/"], {"AcL": "private"}, ["EQ", "$Content-TYPE", "text/plain"]]
    assert outcome(fields, *conditions) == "ok"
    assert outcome({"key": "USER/a"}, BUCKET, KEY).startswith("Policy Condition failed")


@pytest.mark.parametrize(
    ("types", "expected"),
    [("image/png", True), ("image/png,image/gif", True), ("image/png, text/html", False), ("text/html,image/png", False)],
)
def test_each_type_of_a_list_must_begin_as_said(types, expected):
    found = outcome({"key": "user/a", "content-type": types}, BUCKET, KEY, ["starts-with", "$Content-Type", "image/"])
    assert (found == "ok") is expected


@pytest.mark.parametrize(
    ("expiration", "expires_at"),
    [
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-14T22:13:20.000Z", NOW),
        ("2023-11-14T22:13:20.999999Z", NOW),
        ("2007-12-01T12:00:00.000Z", 1_196_510_400),
    ],
)
def test_the_expiration_is_read_as_utc(expiration, expires_at):
    policy = policy_of(BUCKET, KEY, expiration=expiration)
    assert policy.expires_at == expires_at
    policy.check({"key": "user/a"}, "box", expires_at - 1)
    for late in (0, 1, 1e6):
        with pytest.raises(S3Error) as refused:
            policy.check({"key": "user/a"}, "box", expires_at + late)
        assert (refused.value.code, refused.value.message) == ("AccessDenied", "Invalid according to Policy: Policy expired.")


def test_the_length_is_bounded_both_ways():
    policy = policy_of(BUCKET, ["content-length-range", 5, 10])
    for size_bytes, code in ((4, "EntityTooSmall"), (5, ""), (10, ""), (11, "EntityTooLarge")):
        try:
            policy.check_size(size_bytes)
            found = ""
        except S3Error as error:
            found = error.code
            assert error.extra["ProposedSize"] == str(size_bytes)
        assert found == code
    policy_of(BUCKET).check_size(1 << 50)


def test_of_two_ranges_both_hold():
    policy = policy_of(BUCKET, ["content-length-range", 5, 100], ["Content-Length-Range", "1", "10"])
    assert (policy.min_bytes, policy.max_bytes) == (5, 10)


@pytest.mark.parametrize("text", [r'["starts-with", "$key", "\$foo"]', r'["starts-with", "$key", "\u0024foo"]'])
def test_a_dollar_sign_may_be_escaped(text):
    document = f'{{"expiration": "{FUTURE}", "conditions": [{{"bucket": "box"}}, {text}]}}'
    policy = parse_policy(b64encode(document.encode()).decode())
    policy.check({"key": "$foo.txt"}, "box", NOW)
    with pytest.raises(S3Error):
        policy.check({"key": "foo.txt"}, "box", NOW)


def test_a_backslash_before_a_dollar_sign_may_be_meant():
    assert outcome({"key": r"\$foo.txt"}, BUCKET, ["starts-with", "$key", r"\$foo"]) == "ok"


def test_base64_may_be_broken_into_lines():
    text = encoded({"expiration": FUTURE, "conditions": [BUCKET, KEY]})
    assert parse_policy(text[:20] + "\r\n" + text[20:] + "\n").conditions[0].value == "box"


@pytest.mark.parametrize(
    "document",
    [
        [],
        "text",
        1,
        None,
        {},
        {"expiration": FUTURE},
        {"conditions": [BUCKET]},
        {"expiration": FUTURE, "conditions": []},
        {"expiration": FUTURE, "conditions": {}},
        {"expiration": FUTURE, "conditions": "x"},
        {"EXPIRATION": FUTURE, "conditions": [BUCKET]},
        {"expiration": FUTURE, "CONDITIONS": [BUCKET]},
        {"expiration": "2030-01-01 00:00:00+00:00", "conditions": [BUCKET]},
        {"expiration": "2030-01-01T00:00:00", "conditions": [BUCKET]},
        {"expiration": "2030-13-01T00:00:00Z", "conditions": [BUCKET]},
        {"expiration": "0000-01-01T00:00:00Z", "conditions": [BUCKET]},
        {"expiration": 1893456000, "conditions": [BUCKET]},
        {"expiration": None, "conditions": [BUCKET]},
    ]
    + [
        {"expiration": FUTURE, "conditions": [condition]}
        for condition in (
            None,
            1,
            "bucket",
            [],
            {},
            {"bucket": "box", "acl": "private"},
            {"success_action_status": 201},
            {"bucket": None},
            ["eq", "$key"],
            ["eq", "$key", "a", "b"],
            ["eq", "key", "a"],
            ["eq", "$key", 1],
            ["ends-with", "$key", "a"],
            [["eq"], "$key", "a"],
            ["content-length-range", 0],
            ["content-length-range", 0, 1, 2],
            ["content-length-range", -1, 0],
            ["content-length-range", "x", 0],
            ["content-length-range", 0, 1.5],
            ["content-length-range", True, 5],
            ["content-length-range", None, 5],
            ["content-length-range", 0, "9" * 5000],
        )
    ],
)
def test_what_is_no_policy_is_refused(document):
    with pytest.raises(S3Error) as refused:
        parse_policy(encoded(document))
    assert (refused.value.code, refused.value.status) == ("InvalidPolicyDocument", 400)
    assert refused.value.message.startswith("Invalid Policy: ")


@pytest.mark.parametrize(
    "text", ["", "!!!", "e30", "e30==", b64encode(b"\xff{}").decode(), b64encode(b"{").decode(), b64encode(b"[" * 9000).decode(), "ä"]
)
def test_what_is_no_base64_of_json_is_refused(text):
    with pytest.raises(S3Error) as refused:
        parse_policy(text)
    assert refused.value.code == "InvalidPolicyDocument"


def test_a_huge_number_is_no_length():
    text = f'{{"expiration": "{FUTURE}", "conditions": [["content-length-range", 0, {"9" * 5000}]]}}'
    with pytest.raises(S3Error) as refused:
        parse_policy(b64encode(text.encode()).decode())
    assert refused.value.code == "InvalidPolicyDocument"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)


@STEADY
@given(st.lists(_JSON, max_size=4))
def test_no_condition_makes_it_fail_in_another_way(conditions):
    try:
        policy_of(*conditions).check({"key": "a"}, "box", NOW)
    except S3Error as error:
        assert error.code in ("InvalidPolicyDocument", "AccessDenied")
