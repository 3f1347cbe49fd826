"""The x-fs scheme: the five lines, the clock, and refusals that say which part differs."""

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasterstore.s3.authentication import Authenticator
from fasterstore.s3.errors import S3Error
from fasterstore.s3.signer import Credentials, sign_xfs

KEY, SECRET = "faster", "faster-secret-key"
NOW = 1_700_000_000
AUTH = Authenticator({KEY: SECRET}.get)
CREDENTIALS = Credentials(KEY, SECRET)


def headers(method="PUT", path="/b/k", query="", timestamp=str(NOW), payload="UNSIGNED-PAYLOAD", secret=SECRET) -> dict[str, str]:
    """Signed from the issue's own words, not by the code under test."""
    text = f"{method}\n{path}\n{query}\n{timestamp}\n{payload}"
    return {
        "x-fs-access-key": KEY,
        "x-fs-timestamp": timestamp,
        "x-fs-content-sha256": payload,
        "x-fs-signature": hmac.new(secret.encode(), text.encode("latin-1"), hashlib.sha256).hexdigest(),
    }


def refused(sent, method="PUT", path="/b/k", query="", now=NOW) -> S3Error:
    with pytest.raises(S3Error) as error:
        AUTH.authenticate(method, path, query, sent, now)
    return error.value


def test_a_signed_request_is_accepted_with_and_without_a_payload_hash() -> None:
    body_hash = hashlib.sha256(b"x").hexdigest()
    assert AUTH.authenticate("PUT", "/b/k", "", headers(), NOW) == ("x-fs", KEY, "UNSIGNED-PAYLOAD", None)
    assert AUTH.authenticate("PUT", "/b/k", "", headers(payload=body_hash), NOW) == ("x-fs", KEY, body_hash, None)
    upper = AUTH.authenticate("PUT", "/b/k", "", headers(payload=body_hash.upper()), NOW)
    assert upper is not None and upper.payload == body_hash


@given(st.text(st.characters(max_codepoint=255), max_size=20), st.text(st.characters(max_codepoint=255), max_size=20))
def test_path_and_query_are_signed_exactly_as_sent(path: str, query: str) -> None:
    signed = sign_xfs("GET", "/" + path, query, "UNSIGNED-PAYLOAD", CREDENTIALS, NOW)
    assert signed == headers("GET", "/" + path, query)
    if "X-Amz-" not in query:
        assert AUTH.authenticate("GET", "/" + path, query, signed, NOW) is not None
        assert refused(signed, "GET", "/" + path + "x", query).code == "SignatureDoesNotMatch"
        assert refused(signed, "GET", "/" + path, query + "x").code == "SignatureDoesNotMatch"


@pytest.mark.parametrize("name", ["x-fs-access-key", "x-fs-timestamp", "x-fs-content-sha256", "x-fs-signature"])
def test_each_header_is_required(name: str) -> None:
    sent = headers()
    del sent[name]
    error = refused(sent)
    assert (error.code, error.extra["MissingHeaderName"]) == ("MissingSecurityHeader", name)


def test_the_clock_may_be_off_by_fifteen_minutes() -> None:
    for skew in (-900, 900):
        assert AUTH.authenticate("PUT", "/b/k", "", headers(), NOW + skew) is not None
        assert refused(headers(), now=NOW + skew + (1 if skew > 0 else -1)).code == "RequestTimeTooSkewed"


@pytest.mark.parametrize("timestamp", ["-1", "1e9", "2023-11-14", "١٢٣", "9" * 12, str(NOW * 1000), "1.5"])
def test_a_timestamp_is_unix_seconds(timestamp: str) -> None:
    assert refused(headers() | {"x-fs-timestamp": timestamp}).code == "InvalidArgument"


@pytest.mark.parametrize("payload", ["abc", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "unsigned-payload", "0" * 63])
def test_a_payload_is_a_hash_or_unsigned(payload: str) -> None:
    assert refused(headers(payload=payload)).code == "InvalidArgument"


def test_an_unknown_key_is_refused_by_name() -> None:
    error = refused(headers() | {"x-fs-access-key": "who"})
    assert (error.code, error.extra["AWSAccessKeyId"]) == ("InvalidAccessKeyId", "who")


@pytest.mark.parametrize(
    ("signed", "sent", "part"),
    [
        ({"method": "GET"}, {"method": "HEAD"}, "the method: GET was signed"),
        ({"path": "/b/a b"}, {"path": "/b/a%20b"}, "the path: it was signed decoded"),
        ({"query": "?acl"}, {"query": "acl"}, "the query: it was signed with its question mark"),
        ({"path": "/b/k?acl"}, {"query": "acl"}, "the path: it was signed together with the query"),
        ({}, {"query": "acl"}, "the query: it was not signed"),
        ({"secret": "wrong"}, {}, "the secret key"),
    ],
)
def test_a_mismatch_says_which_part_differs_and_nothing_secret(signed: dict, sent: dict, part: str) -> None:
    error = refused(headers(**signed), **sent)
    assert (error.code, error.status) == ("SignatureDoesNotMatch", 403)
    assert part in error.message
    shown = error.message + "".join(error.extra.values())
    expected = headers(**{k: v for k, v in sent.items()})["x-fs-signature"]
    assert SECRET not in shown and expected not in shown
