"""Verifies the signature of a browser form: HMAC over its policy, in the fields of Signature Version 4 or, where allowed, 2.

What is signed is the text of the policy field alone; what the policy then says of the other fields is `post_policy`'s. Source: S3 API
Reference, "Browser-based uploads using POST (AWS Signature Version 4)"; S3 user guide, the same for version 2.
"""

from collections.abc import Mapping
from hmac import compare_digest

from fasterstore.s3 import canonical, sigv2
from fasterstore.s3.auth_result import AuthResult, RegionRule, SecretLookup
from fasterstore.s3.authentication import UNSUPPORTED
from fasterstore.s3.errors import ERRORS, S3Error
from fasterstore.s3.sigv4 import Verifier

SCHEME = "sigv4-post"
SCHEME_V2 = "sigv2-post"

_V4_FIELDS = ("x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-signature")
_V2_FIELDS = ("awsaccesskeyid", "signature")
_PREFIX = "Error parsing the X-Amz-Credential parameter; "


def is_signed(fields: Mapping[str, str]) -> bool:
    """Does the form carry a policy, or a field that only signed forms have?"""
    return "policy" in fields or any(name in fields for name in (*_V4_FIELDS, *_V2_FIELDS))


def verify_form(fields: Mapping[str, str], lookup: SecretLookup, region: RegionRule, allow_sigv2: bool) -> AuthResult:
    """Who signed the policy of a form, whose `fields` are given by lower-case name.

    Raises: S3Error InvalidArgument for a field that is missing, InvalidRequest for both versions at once or version 2 where it is not
    allowed, AuthorizationQueryParametersError for a malformed credential, InvalidAccessKeyId, InvalidToken, SignatureDoesNotMatch.
    """
    by_v4 = any(name in fields for name in _V4_FIELDS)
    by_v2 = any(name in fields for name in _V2_FIELDS)
    if by_v4 and by_v2:
        raise S3Error("InvalidRequest", "Only one auth mechanism allowed; a form has the fields of one signature version.")
    if by_v2:
        if not allow_sigv2:
            raise S3Error("InvalidRequest", UNSUPPORTED)
        return _verify_v2(fields, lookup)
    _require(fields, ("policy", *_V4_FIELDS))
    return _verify_v4(fields, lookup, region)


def _verify_v4(fields: Mapping[str, str], lookup: SecretLookup, region: RegionRule) -> AuthResult:
    if fields["x-amz-algorithm"] != canonical.ALGORITHM:
        raise S3Error("InvalidArgument", 'X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"', ArgumentName="x-amz-algorithm")
    verifier = Verifier(lookup, region)
    credential = verifier.credential(_wire(fields["x-amz-credential"]), "AuthorizationQueryParametersError", _PREFIX)
    timestamp = fields["x-amz-date"]
    if canonical.timestamp_secs(timestamp) is None or timestamp[:8] != credential.date:
        raise S3Error(
            "AuthorizationQueryParametersError", f'Invalid credential date "{credential.date}". This date is not that of X-Amz-Date.'
        )
    secret = verifier.secret(credential, fields.get("x-amz-security-token"))
    key = canonical.signing_key(secret, credential.date, credential.region, credential.service)
    # The bytes of the field: latin-1 text of them is what the signing functions take.
    policy, provided = _wire(fields["policy"]), fields["x-amz-signature"]
    if not compare_digest(canonical.hmac_hex(key, policy).encode(), provided.lower().encode()):
        raise _mismatch(credential.access_key, policy, provided)
    return AuthResult(SCHEME, credential.access_key, canonical.UNSIGNED_PAYLOAD)


def _verify_v2(fields: Mapping[str, str], lookup: SecretLookup) -> AuthResult:
    _require(fields, ("policy", *_V2_FIELDS))
    access_key = fields["awsaccesskeyid"]
    secret = lookup(access_key)
    if secret is None:
        raise S3Error("InvalidAccessKeyId", AWSAccessKeyId=access_key)
    if fields.get("x-amz-security-token"):
        raise S3Error("InvalidToken")
    policy, provided = _wire(fields["policy"]), fields["signature"]
    if not compare_digest(sigv2.sign(secret, policy).encode(), provided.encode()):
        raise _mismatch(access_key, policy, provided)
    return AuthResult(SCHEME_V2, access_key, canonical.UNSIGNED_PAYLOAD)


def _require(fields: Mapping[str, str], names: tuple[str, ...]) -> None:
    for name in names:
        if not fields.get(name):
            raise S3Error(
                "InvalidArgument",
                f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the fields.",
                ArgumentName=name,
            )


def _wire(text: str) -> str:
    return text.encode("utf-8").decode("latin-1")


def _mismatch(access_key: str, policy: str, provided: str) -> S3Error:
    return S3Error(
        "SignatureDoesNotMatch",
        ERRORS["SignatureDoesNotMatch"].message,
        AWSAccessKeyId=access_key,
        StringToSign=policy,
        SignatureProvided=provided,
        StringToSignBytes=policy.encode("latin-1").hex(" "),
    )
