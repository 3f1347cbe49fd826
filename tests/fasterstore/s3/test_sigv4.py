"""SigV4 verification: AWS's published examples, agreement with botocore, and every refusal with S3's own code."""

import datetime
import hashlib
import time
from unittest.mock import patch
from urllib.parse import urlsplit

import botocore.auth
import pytest
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials
from hypothesis import given
from hypothesis import strategies as st

from fasterstore.s3 import canonical, sigv4
from fasterstore.s3.auth_result import RegionRule
from fasterstore.s3.authentication import Authenticator
from fasterstore.s3.errors import S3Error
from fasterstore.s3.signer import Credentials, presign_v4, sign_v4_headers

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
NOW = 1369353600  # 2013-05-24T00:00:00Z
SCOPE = "20130524/us-east-1/s3/aws4_request"
HOST = "examplebucket.s3.amazonaws.com"
CREDENTIALS = Credentials(KEY, SECRET)
AUTH = Authenticator({KEY: SECRET}.get)
STRICT = Authenticator({KEY: SECRET}.get, RegionRule("eu-central-1", True))


def signed(signed_headers: str, signature: str, **headers: str) -> dict[str, str]:
    """Headers of one of AWS's examples; underscores in names stand for dashes."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    authorization = f"AWS4-HMAC-SHA256 Credential={KEY}/{SCOPE},SignedHeaders={signed_headers},Signature={signature}"
    return {"host": HOST, "x-amz-date": "20130524T000000Z", "authorization": authorization} | named


def refusal(call, *arguments) -> S3Error:
    with pytest.raises(S3Error) as refused:
        call(*arguments)
    return refused.value


# ---- published examples: S3 API Reference, "Authenticating Requests" -------------------------------------------------------------


def test_the_published_get_object_example() -> None:
    headers = signed(
        "host;range;x-amz-content-sha256;x-amz-date",
        "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41",
        range="bytes=0-9",
        x_amz_content_sha256=canonical.EMPTY_SHA256,
    )
    result = AUTH.authenticate("GET", "/test.txt", "", headers, NOW)
    assert result == ("sigv4", KEY, canonical.EMPTY_SHA256, None)


def test_the_published_put_object_example_whose_path_is_sent_unencoded() -> None:
    body_hash = hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()
    headers = signed(
        "date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
        "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd",
        date="Fri, 24 May 2013 00:00:00 GMT",
        x_amz_content_sha256=body_hash,
        x_amz_storage_class="REDUCED_REDUNDANCY",
    )
    for path in ("/test$file.text", "/test%24file.text"):
        result = AUTH.authenticate("PUT", path, "", headers, NOW)
        assert result is not None and result.payload == body_hash


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        ("lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
        ("prefix=J&max-keys=2", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_the_published_bucket_examples(query: str, signature: str) -> None:
    headers = signed("host;x-amz-content-sha256;x-amz-date", signature, x_amz_content_sha256=canonical.EMPTY_SHA256)
    assert AUTH.authenticate("GET", "/", query, headers, NOW) is not None


PRESIGNED = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
    "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
    "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
)


def test_the_published_presigned_url_until_the_second_it_expires() -> None:
    for now in (NOW, NOW + 86400, NOW - 900):
        result = AUTH.authenticate("GET", "/test.txt", PRESIGNED, {"host": HOST}, now)
        assert result == ("sigv4-query", KEY, "UNSIGNED-PAYLOAD", None)
    expired = refusal(AUTH.authenticate, "GET", "/test.txt", PRESIGNED, {"host": HOST}, NOW + 86401)
    assert (expired.code, expired.status, expired.message) == ("AccessDenied", 403, "Request has expired")
    early = refusal(AUTH.authenticate, "GET", "/test.txt", PRESIGNED, {"host": HOST}, NOW - 901)
    assert (early.code, early.message) == ("AccessDenied", "Request is not yet valid")


def test_the_signer_makes_the_published_presigned_url() -> None:
    assert presign_v4("GET", "/test.txt", "", {"host": HOST}, CREDENTIALS, NOW, 86400) == PRESIGNED


# ---- agreement with botocore -----------------------------------------------------------------------------------------------------

KEYS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=40) | st.sampled_from(
    ["a b", "a+b", "100%", "%2F", "..", "../x", "./x", "x//y", "/lead", "a\nb", "~tilde", "😀", "a=b&c", "?q#f", "a'()*!$,;:@", "\x00"]
)
VALUES = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
BOTO = BotoCredentials(KEY, SECRET)
MOMENT = datetime.datetime(2013, 5, 24, tzinfo=datetime.UTC)


def at_the_moment():
    return patch.object(botocore.auth, "get_current_datetime", lambda remove_tzinfo=True: MOMENT.replace(tzinfo=None))


@given(KEYS, st.dictionaries(st.sampled_from(["prefix", "marker", "a-b", "a", "delimiter"]), VALUES), st.sampled_from(["GET", "PUT"]))
def test_what_botocore_signs_in_headers_is_accepted(key: str, query: dict, method: str) -> None:
    raw_path, raw_query = canonical.encode_path("bucket", key.encode()), canonical.encode_query(query.items())
    request = AWSRequest(method, f"http://127.0.0.1:9000{raw_path}" + (f"?{raw_query}" if raw_query else ""), data=b"body")
    with at_the_moment():
        botocore.auth.S3SigV4Auth(BOTO, "s3", "us-east-1").add_auth(request)
    headers = {name.lower(): value for name, value in request.headers.items()} | {"host": "127.0.0.1:9000"}
    assert AUTH.authenticate(method, raw_path, raw_query, headers, NOW) is not None


@given(KEYS, st.dictionaries(st.sampled_from(["versionId", "response-content-type", "x-id"]), VALUES))
def test_what_botocore_presigns_is_accepted(key: str, query: dict) -> None:
    raw_path, raw_query = canonical.encode_path("bucket", key.encode()), canonical.encode_query(query.items())
    request = AWSRequest("GET", f"http://127.0.0.1:9000{raw_path}" + (f"?{raw_query}" if raw_query else ""))
    with at_the_moment():
        botocore.auth.S3SigV4QueryAuth(BOTO, "s3", "us-east-1", expires=60).add_auth(request)
    parts = urlsplit(request.url)
    assert AUTH.authenticate("GET", raw_path, parts.query, {"host": "127.0.0.1:9000"}, NOW) is not None


@given(KEYS, VALUES, st.binary(max_size=8))
def test_our_signer_agrees_with_the_verifier_and_any_change_is_refused(key: str, value: str, tail: bytes) -> None:
    raw_path, raw_query = canonical.encode_path("bucket", key.encode()), canonical.encode_query([("prefix", value)])
    added, _ = sign_v4_headers("GET", raw_path, raw_query, {"host": HOST, "x-amz-meta-a": "  b   c "}, "UNSIGNED-PAYLOAD", CREDENTIALS, NOW)
    headers = {"host": HOST, "x-amz-meta-a": "b c"} | added
    assert AUTH.authenticate("GET", raw_path, raw_query, headers, NOW) is not None
    for changed in (("GET", raw_path + "x", raw_query), ("GET", raw_path, raw_query + "x"), ("PUT", raw_path, raw_query)):
        assert refusal(AUTH.authenticate, *changed, headers, NOW).code == "SignatureDoesNotMatch"
    assert refusal(AUTH.authenticate, "GET", raw_path, raw_query, headers | {"x-amz-meta-a": "d"}, NOW).code == "SignatureDoesNotMatch"


def test_a_path_or_query_sent_unencoded_is_accepted_when_signed_either_way() -> None:
    for signed_path in ("/b/a+b", "/b/a%2Bb"):
        for signed_query in ("prefix=a+b", "prefix=a%20b"):
            block = f"host:{HOST}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:20130524T000000Z\n"
            names = "host;x-amz-content-sha256;x-amz-date"
            request = f"GET\n{signed_path}\n{signed_query}\n{block}\n{names}\nUNSIGNED-PAYLOAD"
            key = canonical.signing_key(SECRET, "20130524", "us-east-1", "s3")
            signature = canonical.hmac_hex(key, canonical.string_to_sign("20130524T000000Z", SCOPE, request))
            headers = signed(names, signature, x_amz_content_sha256="UNSIGNED-PAYLOAD")
            assert AUTH.authenticate("GET", "/b/a+b", "prefix=a+b", headers, NOW) is not None


# ---- refusals --------------------------------------------------------------------------------------------------------------------


def request_headers(method="GET", path="/b/k", query="", payload="UNSIGNED-PAYLOAD", now=NOW, credentials=CREDENTIALS, **extra):
    headers = {"host": HOST} | {name.replace("_", "-"): value for name, value in extra.items()}
    return headers | sign_v4_headers(method, path, query, headers, payload, credentials, now)[0]


def refused_header(headers, method="GET", path="/b/k", query="", now=NOW, auth=AUTH) -> S3Error:
    return refusal(auth.authenticate, method, path, query, headers, now)


def test_an_unsigned_request_is_nobodys() -> None:
    assert AUTH.authenticate("GET", "/b/k", "prefix=a", {"host": HOST}, NOW) is None


@pytest.mark.parametrize("skew", [-900, 900])
def test_a_clock_off_by_fifteen_minutes_is_accepted_and_by_more_is_not(skew: int) -> None:
    assert AUTH.authenticate("GET", "/b/k", "", request_headers(now=NOW), NOW + skew) is not None
    refused = refused_header(request_headers(), now=NOW + skew + (1 if skew > 0 else -1))
    assert (refused.code, refused.status) == ("RequestTimeTooSkewed", 403)
    assert refused.extra["RequestTime"] == "20130524T000000Z"
    assert refused.extra["ServerTime"].startswith("2013-05-2")
    assert refused.extra["MaxAllowedSkewMilliseconds"] == "900000"


def test_an_unknown_access_key_is_named() -> None:
    refused = refused_header(request_headers(credentials=Credentials("WHO", "x")))
    assert (refused.code, refused.status, refused.extra["AWSAccessKeyId"]) == ("InvalidAccessKeyId", 403, "WHO")


def test_another_region_is_accepted_unless_the_region_was_set() -> None:
    headers = request_headers()
    assert AUTH.authenticate("GET", "/b/k", "", request_headers(credentials=Credentials(KEY, SECRET, "mars-1")), NOW) is not None
    refused = refused_header(headers, auth=STRICT)
    assert (refused.code, refused.status, refused.extra["Region"]) == ("AuthorizationHeaderMalformed", 400, "eu-central-1")
    assert "the region 'us-east-1' is wrong; expecting 'eu-central-1'" in refused.message
    query = presign_v4("GET", "/b/k", "", {"host": HOST}, CREDENTIALS, NOW, 60)
    assert refused_header({"host": HOST}, query=query, auth=STRICT).code == "AuthorizationQueryParametersError"


def test_without_a_payload_hash_header_a_request_without_body_is_signed_as_empty() -> None:
    # botocore's signer for services in general, which leaves the header out as old versions of curl do.
    request = AWSRequest("GET", f"http://{HOST}/b/k")
    botocore.auth.SigV4Auth(BotoCredentials(KEY, SECRET), "s3", "us-east-1").add_auth(request)
    headers = {"host": HOST} | {name.lower(): value for name, value in request.headers.items()}
    assert "x-amz-content-sha256" not in headers
    result = AUTH.authenticate("GET", "/b/k", "", headers, time.time())
    assert result is not None
    assert result.payload == canonical.EMPTY_SHA256


def test_the_payload_hash_header_is_required_with_a_body_and_checked() -> None:
    headers = request_headers() | {"content-length": "1"}
    del headers["x-amz-content-sha256"]
    refused = refused_header(headers)
    assert (refused.code, refused.message) == ("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
    assert refused_header(request_headers(payload="nonsense")).code == "InvalidArgument"
    assert refused_header(request_headers(payload="STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD")).code == "NotImplemented"


def test_a_header_that_was_not_signed_is_refused_by_name() -> None:
    refused = refused_header(request_headers() | {"x-amz-copy-source": "/secret/key"})
    assert (refused.code, refused.extra["HeadersNotSigned"]) == ("AccessDenied", "x-amz-copy-source")
    query = presign_v4("PUT", "/b/k", "", {"host": HOST}, CREDENTIALS, NOW, 60)
    refused = refused_header({"host": HOST, "x-amz-meta-a": "b"}, "PUT", query=query)
    assert (refused.code, refused.extra["HeadersNotSigned"]) == ("AccessDenied", "x-amz-meta-a")
    unsigned_host = {"x-amz-date": "20130524T000000Z", "host": HOST, "x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    unsigned_host["authorization"] = (
        f"AWS4-HMAC-SHA256 Credential={KEY}/{SCOPE}, SignedHeaders=x-amz-content-sha256;x-amz-date, Signature={'0' * 64}"
    )
    assert refused_header(unsigned_host).extra["HeadersNotSigned"] == "host"


@pytest.mark.parametrize(
    ("authorization", "code"),
    [
        ("AWS4-HMAC-SHA256", "AuthorizationHeaderMalformed"),
        ("AWS4-HMAC-SHA256 Credential=a, Signature=b", "AuthorizationHeaderMalformed"),
        ("AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=b", "AuthorizationHeaderMalformed"),
        (f"AWS4-HMAC-SHA256 Credential={KEY}/20130524/r/ec2/aws4_request, SignedHeaders=host, Signature=b", "AuthorizationHeaderMalformed"),
        (f"AWS4-HMAC-SHA256 Credential={KEY}/20130524/r/s3/aws3_request, SignedHeaders=host, Signature=b", "AuthorizationHeaderMalformed"),
        (f"AWS4-HMAC-SHA256 Credential={KEY}/20130523/r/s3/aws4_request, SignedHeaders=host, Signature=b", "AuthorizationHeaderMalformed"),
        (f"AWS4-HMAC-SHA256 Credential={KEY}/{SCOPE}, SignedHeaders=Host, Signature=b", "AuthorizationHeaderMalformed"),
        (f"AWS4-HMAC-SHA256 Credential={KEY}/{SCOPE}, SignedHeaders=x;host, Signature=b", "AuthorizationHeaderMalformed"),
        (f"AWS {KEY}:frJIUN8DYpKDtOLCwo//yllqDzg=", "InvalidRequest"),
        ("AWS4-ECDSA-P256-SHA256 Credential=a", "InvalidRequest"),
        ("Basic dXNlcjpwYXNz", "InvalidArgument"),
        ("", "InvalidArgument"),
    ],
)
def test_malformed_and_other_authorizations_are_refused(authorization: str, code: str) -> None:
    refused = refused_header(request_headers() | {"authorization": authorization})
    assert refused.code == code
    assert "dXNlcjpwYXNz" not in str(refused.extra)


@pytest.mark.parametrize("date", [None, "", "20130524", "20131324T000000Z", "2013-05-24T00:00:00Z", "now"])
def test_a_request_without_a_time_is_refused(date) -> None:
    headers = request_headers()
    headers.pop("x-amz-date")
    if date is not None:
        headers["x-amz-date"] = date
    refused = refused_header(headers)
    assert (refused.code, refused.message) == ("AccessDenied", "AWS authentication requires a valid Date or x-amz-date header")


def test_the_date_header_serves_where_x_amz_date_is_missing() -> None:
    block = f"date:Fri, 24 May 2013 00:00:00 GMT\nhost:{HOST}\nx-amz-content-sha256:UNSIGNED-PAYLOAD\n"
    names = "date;host;x-amz-content-sha256"
    key = canonical.signing_key(SECRET, "20130524", "us-east-1", "s3")
    request = f"GET\n/b/k\n\n{block}\n{names}\nUNSIGNED-PAYLOAD"
    signature = canonical.hmac_hex(key, canonical.string_to_sign("20130524T000000Z", SCOPE, request))
    headers = signed(names, signature, date="Fri, 24 May 2013 00:00:00 GMT", x_amz_content_sha256="UNSIGNED-PAYLOAD")
    del headers["x-amz-date"]
    assert AUTH.authenticate("GET", "/b/k", "", headers, NOW) is not None


def test_a_session_token_is_refused_as_such() -> None:
    assert refused_header(request_headers(x_amz_security_token="t")).code == "InvalidToken"


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("X-Amz-Expires=60", "X-Amz-Expires=1e9"),
        ("X-Amz-Expires=60", "X-Amz-Expires=soon"),
        ("X-Amz-Expires=60", "X-Amz-Expires=60&X-Amz-Expires=6000"),
        ("&X-Amz-Expires=60", ""),
        ("X-Amz-Date=20130524T000000Z", "X-Amz-Date=20130524"),
        ("X-Amz-Date=20130524T000000Z", "X-Amz-Date=20130525T000000Z"),
        ("X-Amz-Algorithm=AWS4-HMAC-SHA256", "X-Amz-Algorithm=AWS4-HMAC-SHA1"),
        ("%2Fs3%2F", "%2Fec2%2F"),
        ("X-Amz-SignedHeaders=host", "X-Amz-SignedHeaders=HOST"),
        ("X-Amz-Credential=", "X-Amz-Credential=x"),
    ],
)
def test_wrong_presigning_parameters_are_refused(old: str, new: str) -> None:
    query = presign_v4("GET", "/b/k", "", {"host": HOST}, CREDENTIALS, NOW, 60)
    assert old in query
    refused = refused_header({"host": HOST}, query=query.replace(old, new))
    expected = "InvalidAccessKeyId" if new == "X-Amz-Credential=x" else "AuthorizationQueryParametersError"
    assert refused.code == expected


@pytest.mark.parametrize(
    ("expires", "said"),
    [
        ("0", "Request has expired"),
        ("-1", "X-Amz-Expires must be non-negative"),
        ("-" + "9" * 5000, "X-Amz-Expires must be non-negative"),
        ("604801", "X-Amz-Expires must be less than a week"),
        ("9" * 5000, "X-Amz-Expires must be less than a week"),
    ],
)
def test_a_url_of_a_life_that_cannot_be_is_refused_as_an_expired_one_is(expires: str, said: str) -> None:
    query = presign_v4("GET", "/b/k", "", {"host": HOST}, CREDENTIALS, NOW, 60).replace("Expires=60", f"Expires={expires}")
    refused = refused_header({"host": HOST}, query=query)
    assert (refused.code, refused.status) == ("AccessDenied", 403)
    assert refused.message.startswith(said)


def test_an_expiry_that_was_changed_after_signing_does_not_match() -> None:
    query = presign_v4("GET", "/b/k", "", {"host": HOST}, CREDENTIALS, NOW, 60).replace("Expires=60", "Expires=6000")
    assert refused_header({"host": HOST}, query=query).code == "SignatureDoesNotMatch"


def test_two_schemes_in_one_request_are_400() -> None:
    presigned = presign_v4("GET", "/b/k", "", {"host": HOST}, CREDENTIALS, NOW, 60)
    assert refused_header(request_headers(query=presigned), query=presigned).status == 400
    for headers, query in ((request_headers(), ""), ({"host": HOST}, presigned)):
        refused = refused_header(headers | {"x-fs-access-key": KEY}, query=query)
        assert (refused.code, refused.status) == ("InvalidRequest", 400)


def test_a_mismatch_shows_what_was_signed_and_nothing_secret() -> None:
    headers = request_headers(credentials=Credentials(KEY, "wrong"))
    refused = refused_header(headers)
    assert (refused.code, refused.status) == ("SignatureDoesNotMatch", 403)
    assert refused.extra["StringToSign"].startswith("AWS4-HMAC-SHA256\n20130524T000000Z\n" + SCOPE)
    assert refused.extra["CanonicalRequest"].startswith("GET\n/b/k\n\nhost:" + HOST)
    assert refused.extra["SignatureProvided"] == headers["authorization"].rpartition("=")[2]
    right = request_headers()["authorization"].rpartition("=")[2]
    shown = refused.message + "".join(refused.extra.values())
    assert right not in shown and SECRET not in shown
    assert canonical.signing_key(SECRET, "20130524", "us-east-1", "s3").hex() not in shown
    assert "the secret key" in refused.message


@pytest.mark.parametrize(
    "name",
    ["x-amz-server-side-encryption-customer-key", "x-amz-copy-source-server-side-encryption-customer-key", "x-amz-security-token"],
)
def test_a_mismatch_does_not_show_a_key_or_token_that_the_request_carries(name: str) -> None:
    headers = {"host": HOST, name: "TellNobody==", "x-amz-meta-a": "shown"}
    headers |= sign_v4_headers("GET", "/b/k", f"{name}=TellNobody%3D", headers, "UNSIGNED-PAYLOAD", Credentials(KEY, "wrong"), NOW)[0]
    request = sigv4.SignedRequest("GET", "/b/k", [(name, "TellNobody%3D"), ("z", "1")], f"{name}:TellNobody==\n", name, "x", "t", "s")
    shown = [sigv4.signature_mismatch(request, b"k", "0" * 64, KEY, headers)]
    if name != "x-amz-security-token":
        shown.append(refused_header(headers, query=f"{name}=TellNobody%3D"))
    for refused in shown:
        text = refused.message + "".join(refused.extra.values())
        assert "TellNobody" not in text and b"TellNobody".hex(" ") not in text
        assert f"{name}:(not shown)" in text and f"{name}=(not shown)" in text


@pytest.mark.parametrize(
    ("sign", "send", "part"),
    [
        ({"method": "GET"}, {"method": "HEAD"}, "the method: GET was signed, HEAD was sent"),
        ({"path": "/b/a%2520b"}, {"path": "/b/a%20b"}, "the path: it was signed encoded twice"),
        ({"path": "/b/x/y"}, {"path": "/b//x//y"}, "the path: it was signed with doubled slashes made one"),
        ({"path": "/k"}, {"path": "/b/k"}, "the path: it was signed without its bucket"),
        ({"query": ""}, {"query": "acl"}, "the query: it was signed without its parameters"),
        ({"host": "s3.example"}, {"host": "s3.example:443"}, "the Host header: s3.example was signed"),
        ({"host": "s3.example:9000"}, {"host": "s3.example"}, "the Host header: s3.example:9000 was signed"),
    ],
)
def test_a_mismatch_says_which_part_differs(sign: dict, send: dict, part: str) -> None:
    headers = request_headers(**sign)
    headers["host"] = send.pop("host", headers["host"])
    assert part in refused_header(headers, **send).message


def test_a_mismatch_says_which_signed_header_did_not_arrive() -> None:
    headers = request_headers(content_type="text/plain")
    del headers["content-type"]
    assert "content-type are listed as signed but were not sent" in refused_header(headers).message


@given(st.text(st.characters(max_codepoint=255)), st.text(st.characters(max_codepoint=255)), st.text(st.characters(max_codepoint=255)))
def test_no_text_from_the_wire_is_more_than_a_refusal(authorization: str, path: str, query: str) -> None:
    for headers in ({"authorization": f"AWS4-HMAC-SHA256 {authorization}"}, {"authorization": authorization}, {}):
        try:
            assert AUTH.authenticate("GET", "/" + path, f"X-Amz-Signature=a&{query}", headers, NOW) is None
        except S3Error as error:
            assert error.status in (400, 403)
    mutated = request_headers()
    mutated["authorization"] = mutated["authorization"].replace("Signature=", f"Signature={authorization}x")
    assert refused_header(mutated).status in (400, 403)


# ---- what a client without a valid signature may cost -----------------------------------------------------------------------------


def test_long_texts_of_unsigned_requests_stay_in_no_cache() -> None:
    caches = (sigv4._parse_signed_headers, sigv4._parse_credential, canonical._timestamp_secs)
    for cache in caches:
        cache.cache_clear()
    for number in range(3):
        long = f"{number}{'a' * 60_000}"
        names = f"host;x-amz-content-sha256;x-amz-date;zz{long}"
        headers = signed(names, "0" * 64, x_amz_content_sha256=canonical.EMPTY_SHA256)
        assert refusal(AUTH.authenticate, "GET", "/", "", headers, NOW).code == "SignatureDoesNotMatch"
        other_key = headers | {"authorization": headers["authorization"].replace(KEY, long)}
        assert refusal(AUTH.authenticate, "GET", "/", "", other_key, NOW).code == "AuthorizationHeaderMalformed"
        assert refusal(AUTH.authenticate, "GET", "/", "", headers | {"x-amz-date": long}, NOW).code == "AccessDenied"
    # The good credential and the good time, each once.
    assert [cache.cache_info().currsize for cache in caches] == [0, 1, 1]


def test_a_mismatch_of_many_headers_is_explained_at_a_bounded_cost() -> None:
    names = [f"h{number:03}" for number in range(190)]
    headers = signed(";".join(sorted([*names, "host", "x-amz-content-sha256", "x-amz-date"])), "0" * 64)
    headers |= dict.fromkeys(names, "v" * 300) | {"x-amz-content-sha256": canonical.EMPTY_SHA256}
    with patch("fasterstore.s3.canonical.hmac_hex", wraps=canonical.hmac_hex) as made:
        assert refusal(AUTH.authenticate, "GET", "/", "", headers, NOW).code == "SignatureDoesNotMatch"
    assert made.call_count < 50


# ---- blanks -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["voil\u00e0", "\u00c5", "\u2026 x \u00e0  b", " \t a \t  b "])
def test_only_space_and_tab_are_blanks_in_a_signed_value(value: str) -> None:
    wire = value.encode("utf-8").decode("latin-1")
    trimmed = b" ".join(part for part in value.encode("utf-8").replace(b"\t", b" ").split(b" ") if part)
    assert canonical.canonical_headers(["x"], {"x": wire}) == f"x:{trimmed.decode('latin-1')}\n"
