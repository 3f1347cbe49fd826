"""Every signing scheme, fed with made-up credentials: nothing but S3's refusals, nobody gets in, and no refusal shows the secret."""

from typing import Any
from xml.etree.ElementTree import fromstring

from fasterstore.s3 import signer, sigv4
from fasterstore.s3.auth_result import RegionRule
from fasterstore.s3.authentication import Authenticator
from fasterstore.s3.errors import S3Error, render_error
from fasterstore.s3.post_signature import verify_form
from fasterstore.s3.sigv4 import is_query_signed

NOW = 1_767_225_600
SECRET = "a-secret-that-must-not-be-seen"
NAMES = (
    "authorization", "x-amz-date", "date", "x-amz-content-sha256", "x-amz-security-token", "x-fs-access-key", "x-fs-timestamp",
    "x-fs-content-sha256", "x-fs-signature", "content-length", "x-amz-meta-a", "content-type",
)  # fmt: skip
DICTIONARY = [
    b"AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request, SignedHeaders=host;x-amz-date, Signature=", b"0" * 64,
    b"AWS key:", b"X-Amz-Signature=", b"X-Amz-Expires=60", b"X-Amz-Date=20260101T000000Z", b"X-Amz-Algorithm=AWS4-HMAC-SHA256",
    b"X-Amz-SignedHeaders=host", b"X-Amz-Credential=key%2F20260101%2Fus-east-1%2Fs3%2Faws4_request", b"AWSAccessKeyId=key",
    b"Expires=9999999999", b"Signature=", b"1767225600", b"UNSIGNED-PAYLOAD", b"20260101T000000Z", b"Thu, 01 Jan 2026 00:00:00 GMT",
    b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
]  # fmt: skip
_AUTHENTICATORS = [Authenticator({"key": SECRET}.get, RegionRule(), allow) for allow in (False, True)]
_CREDENTIALS = signer.Credentials("key", "another-secret")


def seeds() -> list[bytes]:
    """Requests with the wrong secret in every scheme: {flags} path NUL query NUL {letter of a header} value NUL ..."""
    host = {"host": "x"}
    v4, _ = signer.sign_v4_headers("GET", "/box/k", "", host, "UNSIGNED-PAYLOAD", _CREDENTIALS, NOW)
    xfs = signer.sign_xfs("GET", "/box/k", "", "UNSIGNED-PAYLOAD", _CREDENTIALS, NOW)
    presigned = signer.presign_v4("GET", "/box/k", "", host, _CREDENTIALS, NOW, 60)
    return [
        _packed("", v4),
        _packed("", xfs),
        _packed(presigned, {}),
        _packed("AWSAccessKeyId=key&Expires=1767225700&Signature=AAAA", {}),
        _packed("", {"authorization": "AWS key:AAAA", "date": "Thu, 01 Jan 2026 00:00:00 GMT"}),
    ]


def _packed(query: str, headers: dict[str, str]) -> bytes:
    parts = [b"/box/k", query.encode(), *(bytes([NAMES.index(name) + ord("a")]) + value.encode() for name, value in headers.items())]
    return b"\x01" + b"\x00".join(parts)


def one_input(data: bytes) -> None:
    """Ask who signed. Raises: anything, on a finding."""
    if not data:
        return
    path, query, *rest = [*(part.decode("latin-1") for part in data[1:].split(b"\x00")), "", ""]
    headers = {"host": "x"}
    for part in rest:
        if part:
            headers[NAMES[(ord(part[0]) - ord("a")) % len(NAMES)]] = part[1:]
    try:
        result = _AUTHENTICATORS[data[0] & 1].authenticate("GET", f"/{path[1:]}", query, headers, NOW, "box" if data[0] & 2 else "")
    except S3Error as error:
        _check(error)
    else:
        assert result is None, result
        assert "authorization" not in headers and not is_query_signed(query)
    _check_form(path, query, headers, data[0])


def _check_form(policy: str, query: str, headers: dict[str, str], flags: int) -> None:
    if flags & 4:
        fields = {"policy": policy, "awsaccesskeyid": "key", "signature": query}
    else:
        fields = {
            "policy": policy,
            "x-amz-algorithm": query if flags & 8 else "AWS4-HMAC-SHA256",
            "x-amz-credential": headers.get("x-fs-access-key", "key/20260101/us-east-1/s3/aws4_request"),
            "x-amz-date": headers.get("x-amz-date", "20260101T000000Z"),
            "x-amz-signature": headers.get("x-fs-signature", "0" * 64),
        }
    try:
        verify_form(fields, {"key": SECRET}.get, RegionRule(), bool(flags & 1))
    except S3Error as error:
        _check(error)
    else:
        raise AssertionError("a form was accepted")


def _check(error: S3Error) -> None:
    document = render_error(error, "/box/k", "ID", "HOST")
    assert SECRET.encode() not in document
    fromstring(document)


def plant() -> None:
    """Signatures are compared by their first digit."""

    def lax(expected: Any, given: Any) -> bool:
        return expected[:1] == given[:1]

    sigv4.compare_digest = lax
