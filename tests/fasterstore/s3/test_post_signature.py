"""Signatures of forms against botocore's own signers, and everything that must not pass."""

import pytest
from botocore.auth import HmacV1PostAuth, S3SigV4PostAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from fasterstore.s3.auth_result import RegionRule
from fasterstore.s3.errors import S3Error
from fasterstore.s3.post_signature import is_signed, verify_form

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
LOOKUP = {KEY: SECRET}.get
ANY_REGION = RegionRule()


def signed(version=4, secret=SECRET, region="us-east-1", token=None):
    """The fields of a form that botocore has signed, by lower-case name."""
    request = AWSRequest(method="POST", url="http://h/box")
    request.context["s3-presign-post-fields"] = {"key": "k"}
    request.context["s3-presign-post-policy"] = {"expiration": "2030-01-01T00:00:00Z", "conditions": [{"bucket": "box"}]}
    credentials = Credentials(KEY, secret, token)
    signer = S3SigV4PostAuth(credentials, "s3", region) if version == 4 else HmacV1PostAuth(credentials)
    signer.add_auth(request)
    return {name.lower(): value for name, value in request.context["s3-presign-post-fields"].items()}


def outcome(fields, lookup=LOOKUP, region=ANY_REGION, allow_sigv2=True):
    try:
        result = verify_form(fields, lookup, region, allow_sigv2)
    except S3Error as error:
        return error.code
    assert result.access_key == KEY
    assert result.payload == "UNSIGNED-PAYLOAD"
    return result.scheme


def test_botocores_forms_are_accepted():
    assert outcome(signed(4)) == "sigv4-post"
    assert outcome(signed(2)) == "sigv2-post"
    assert outcome(signed(4, region="eu-west-1")) == "sigv4-post"


@pytest.mark.parametrize("version", [2, 4])
def test_the_policy_cannot_be_changed(version):
    fields = signed(version)
    assert outcome(fields | {"policy": fields["policy"] + "="}) == "SignatureDoesNotMatch"
    assert outcome(fields | {"policy": "ä"}) == "SignatureDoesNotMatch"
    assert outcome(signed(version, secret="another")) == "SignatureDoesNotMatch"
    assert outcome(fields, lookup={}.get) == "InvalidAccessKeyId"
    assert outcome(signed(version, token="session")) == "InvalidToken"


@pytest.mark.parametrize("version", [2, 4])
def test_every_field_of_the_signature_is_needed(version):
    fields = signed(version)
    for name in fields:
        if name != "key":
            assert outcome({other: value for other, value in fields.items() if other != name}) == "InvalidArgument", name
            assert outcome(fields | {name: ""}) == "InvalidArgument", name


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"x-amz-algorithm": "AWS4-HMAC-SHA1"}, "InvalidArgument"),
        ({"x-amz-credential": KEY}, "AuthorizationQueryParametersError"),
        ({"x-amz-credential": f"{KEY}/20200101/us-east-1/s3/aws4_request"}, "AuthorizationQueryParametersError"),
        ({"x-amz-credential": f"{KEY}/日本/日/s3/aws4_request"}, "AuthorizationQueryParametersError"),
        ({"x-amz-date": "20200101T000000Z"}, "AuthorizationQueryParametersError"),
        ({"x-amz-date": "today"}, "AuthorizationQueryParametersError"),
        ({"x-amz-signature": "0" * 64}, "SignatureDoesNotMatch"),
        ({"x-amz-signature": "ä"}, "SignatureDoesNotMatch"),
        ({"awsaccesskeyid": KEY}, "InvalidRequest"),
    ],
)
def test_a_changed_signature_is_refused(change, code):
    assert outcome(signed(4) | change) == code


def test_a_region_in_unicode_is_a_wrong_signature_and_no_defect():
    fields = signed(4)
    date = fields["x-amz-date"][:8]
    assert outcome(fields | {"x-amz-credential": f"{KEY}/{date}/日本/s3/aws4_request"}) == "SignatureDoesNotMatch"


def test_another_region_is_refused_where_one_was_set():
    assert outcome(signed(4, region="eu-west-1"), region=RegionRule("us-east-1", strict=True)) == "AuthorizationQueryParametersError"


def test_version_2_is_refused_by_name_where_it_is_not_allowed():
    with pytest.raises(S3Error) as refused:
        verify_form(signed(2), LOOKUP, ANY_REGION, allow_sigv2=False)
    assert refused.value.code == "InvalidRequest"
    assert "AWS4-HMAC-SHA256" in refused.value.message


def test_a_form_is_nobodys_only_without_any_sign_of_a_signature():
    assert not is_signed({"key": "k", "acl": "private", "x-amz-meta-a": "1"})
    for name in signed(4).keys() | signed(2).keys():
        assert is_signed({"key": "k", name: ""}) is (name != "key")


def test_the_refusal_never_shows_the_right_signature():
    fields = signed(4)
    with pytest.raises(S3Error) as refused:
        verify_form(fields | {"x-amz-signature": "0" * 64}, LOOKUP, ANY_REGION, True)
    assert fields["x-amz-signature"] not in str(refused.value.extra)
    assert refused.value.extra["StringToSign"] == fields["policy"]
