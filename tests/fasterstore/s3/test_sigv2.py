"""Signature Version 2 against botocore's own signers, and everything that must not pass."""

import time
from email.utils import parsedate_to_datetime
from urllib.parse import quote, urlsplit

import pytest
from botocore.auth import HmacV1Auth, HmacV1QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fasterstore.s3 import signer, sigv2
from fasterstore.s3.authentication import Authenticator
from fasterstore.s3.errors import S3Error

STEADY = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
"""The same cases each time, however busy the machine is."""

KEY, SECRET = "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
AUTH = Authenticator({KEY: SECRET}.get, allow_sigv2=True)
EXAMPLE_NOW = 1_175_024_202
"""Tue, 27 Mar 2007 19:36:42 GMT, of the examples in the user guide."""


def wire(request):
    """(method, raw path, raw query, lower-case headers) of a request that botocore has signed."""
    parts = urlsplit(request.url)
    return request.method, parts.path, parts.query, {name.lower(): value for name, value in request.headers.items()}


def signed_header(method, url, headers=None, secret=SECRET, auth_path=None, data=b""):
    request = AWSRequest(method=method, url=url, headers=headers or {}, data=data, auth_path=auth_path)
    HmacV1Auth(Credentials(KEY, secret)).add_auth(request)
    return wire(request)


def signed_query(method, url, headers=None, expires_secs=60, auth_path=None):
    request = AWSRequest(method=method, url=url, headers=headers or {}, auth_path=auth_path)
    HmacV1QueryAuth(Credentials(KEY, SECRET), expires_secs).add_auth(request)
    method, path, query, _ = wire(request)
    return method, path, query, {"host": "h"}


def outcome(method, path, query, headers, now=None, auth=AUTH, host_bucket=""):
    try:
        result = auth.authenticate(method, path, query, headers, time.time() if now is None else now, host_bucket)
    except S3Error as error:
        return error.code
    return "nobody" if result is None else result.scheme


URLS = [
    "http://h/box/key",
    "http://h/box",
    "http://h/",
    "http://h/box?acl",
    "http://h/box?acl=",
    "http://h/box?prefix=a&max-keys=3&delimiter=/",
    "http://h/box/key?uploadId=a%2Bb%2F%3D&partNumber=3",
    "http://h/box/key?versionId=null&response-content-type=text%2Fplain%3B%20charset%3Dutf-8&response-expires=x",
    "http://h/box/%C3%A4%20%2B%20b/..//c?tagging",
    "http://h/box?delete",
    "http://h/box?uploads&prefix=x",
    "http://h/box?lifecycle",
]


@pytest.mark.parametrize("url", URLS)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_botocores_headers_are_accepted(url, method):
    headers = {"Content-Type": "text/plain", "Content-MD5": "1B2M2Y8AsgTpgAmY7PhCfg==", "x-amz-meta-b": " two ", "X-Amz-Acl": "private"}
    assert outcome(*signed_header(method, url, headers)) == "sigv2"
    assert outcome(*signed_header(method, url)) == "sigv2"


@pytest.mark.parametrize("url", URLS)
def test_botocores_urls_are_accepted(url):
    assert outcome(*signed_query("GET", url)) == "sigv2-query"


def test_headers_moved_into_the_url_count_and_one_that_is_sent_wins():
    signed = signed_query("PUT", "http://h/box/key", {"Content-Type": "text/html", "x-amz-meta-a": "1 ä".encode().decode("latin-1")})
    assert outcome(*signed) == "sigv2-query"
    method, path, query, headers = signed
    moved = sigv2.moved_headers(query)
    assert moved["content-type"] == "text/html"
    assert set(moved) == {"content-type", "x-amz-meta-a"}
    assert outcome(method, path, query, headers | {"content-type": "text/html"}) == "sigv2-query"
    assert outcome(method, path, query, headers | {"content-type": "text/plain"}) == "SignatureDoesNotMatch"
    assert outcome(method, path, query, headers | {"x-amz-meta-a": "2"}) == "SignatureDoesNotMatch"


def test_on_a_virtual_host_the_bucket_is_part_of_the_resource():
    signed = signed_header("GET", "http://box.h/key", auth_path="/box/key")
    assert outcome(*signed, host_bucket="box") == "sigv2"
    assert outcome(*signed, host_bucket="other") == "SignatureDoesNotMatch"
    assert outcome(*signed) == "SignatureDoesNotMatch"
    assert outcome(*signed_query("GET", "http://box.h/key", auth_path="/box/key"), host_bucket="box") == "sigv2-query"


def test_a_bucket_is_signed_with_a_slash_behind_it():
    """As botocore does in path style."""
    assert outcome(*signed_header("GET", "http://h/box?acl", auth_path="/box/")) == "sigv2"
    assert outcome(*signed_query("GET", "http://h/box", auth_path="/box/")) == "sigv2-query"
    assert outcome(*signed_header("GET", "http://h/box/key", auth_path="/box/key/")) == "SignatureDoesNotMatch"


# User guide, "Signing and authenticating REST requests": the examples that name a virtual host.
@pytest.mark.parametrize(
    ("method", "path", "query", "headers", "signature", "bucket"),
    [
        (
            "GET",
            "/photos/puppy.jpg",
            "",
            {"date": "Tue, 27 Mar 2007 19:36:42 +0000"},
            "qgk2+6Sv9/oM7G3qLEjTH1a1l1g=",
            "awsexamplebucket1",
        ),
        (
            "PUT",
            "/photos/puppy.jpg",
            "",
            {"content-type": "image/jpeg", "content-length": "94328", "date": "Tue, 27 Mar 2007 21:15:45 +0000"},
            "iqRzw+ileNPu1fhspnRs8nOjjIA=",
            "awsexamplebucket1",
        ),
        (
            "GET",
            "/",
            "prefix=photos&max-keys=50&marker=puppy",
            {"date": "Tue, 27 Mar 2007 19:42:41 +0000"},
            "m0WP8eCtspQl5Ahe6L1SozdX9YA=",
            "awsexamplebucket1",
        ),
        ("GET", "/", "acl", {"date": "Tue, 27 Mar 2007 19:44:46 +0000"}, "82ZHiFIjc+WbcwFKGUVEQspPn+0=", "awsexamplebucket1"),
        ("GET", "/", "", {"date": "Wed, 28 Mar 2007 01:29:59 +0000"}, "qGdzdERIC03wnaRNKh6OqZehG9s=", ""),
    ],
)
def test_the_examples_of_the_user_guide_are_accepted(method, path, query, headers, signature, bucket):
    signed = {**headers, "authorization": f"AWS {KEY}:{signature}"}
    now = parsedate_to_datetime(headers["date"]).timestamp()
    assert outcome(method, path, query, signed, now, host_bucket=bucket) == "sigv2"


def changed(request, **parts):
    method, path, query, headers = request
    return (
        parts.get("method", method),
        parts.get("path", path),
        parts.get("query", query),
        {name: value for name, value in {**headers, **parts.get("headers", {})}.items() if value is not None},
    )


@pytest.mark.parametrize(
    "change",
    [
        {"method": "DELETE"},
        {"path": "/box/other"},
        {"query": "acl"},
        {"query": "%61cl"},
        {"query": "policy="},
        {"query": "publicAccessBlock"},
        {"query": "renameObject"},
        {"query": "uploadId=x"},
        {"query": "versionId=1"},
        {"query": "response-content-type=text/html"},
        {"headers": {"x-amz-acl": "public-read"}},
        {"headers": {"x-amz-meta-a": "changed"}},
        {"headers": {"x-amz-meta-a": None}},
        {"headers": {"content-type": "text/html"}},
        {"headers": {"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}},
        {"headers": {"x-amz-copy-source": "/box/secret"}},
    ],
)
def test_what_is_signed_cannot_be_changed(change):
    request = signed_header("PUT", "http://h/box/key", {"x-amz-meta-a": "1"})
    assert outcome(*request) == "sigv2"
    assert outcome(*changed(request, **change)) == "SignatureDoesNotMatch"
    url = signed_query("PUT", "http://h/box/key", {"x-amz-meta-a": "1"})
    if "query" in change:
        change = {**change, "query": f"{url[2]}&{change['query']}"}
    if change.get("headers") != {"x-amz-meta-a": None}:
        assert outcome(*changed(url, **change)) == "SignatureDoesNotMatch"


def test_what_chooses_nothing_is_not_signed():
    request = signed_header("GET", "http://h/box")
    assert outcome(*changed(request, query="prefix=a&list-type=2&x-id=ListObjects")) == "sigv2"


@pytest.mark.parametrize("name", ["AWSAccessKeyId", "Expires", "Signature"])
def test_a_url_needs_all_three_parameters_once(name):
    method, path, query, headers = signed_query("GET", "http://h/box/key")
    parts = query.split("&")
    without = "&".join(part for part in parts if not part.startswith(f"{name}="))
    twice = "&".join([*parts, next(part for part in parts if part.startswith(f"{name}="))])
    assert outcome(method, path, without, headers) == "AccessDenied"
    assert outcome(method, path, twice, headers) == "AccessDenied"


@pytest.mark.parametrize("expires", ["", "-1", "soon", "1e9", "1" * 13, "%C2%B2"])
def test_an_expiry_that_is_no_time_is_refused(expires):
    method, path, query, headers = signed_query("GET", "http://h/box/key")
    parts = [f"Expires={expires}" if part.startswith("Expires=") else part for part in query.split("&")]
    assert outcome(method, path, "&".join(parts), headers) == "AccessDenied"


def test_a_url_ends_with_its_time():
    signed = signed_query("GET", "http://h/box/key", expires_secs=3600)
    assert outcome(*signed, now=time.time() + 1800) == "sigv2-query"
    assert outcome(*signed, now=time.time() + 5400) == "AccessDenied"


@pytest.mark.parametrize(
    ("skew_secs", "expected"), [(-898, "sigv2"), (898, "sigv2"), (-902, "RequestTimeTooSkewed"), (902, "RequestTimeTooSkewed")]
)
def test_clocks_may_differ_by_15_minutes(skew_secs, expected):
    assert outcome(*signed_header("GET", "http://h/box"), now=time.time() + skew_secs) == expected


def by_hand(headers, to_sign):
    return {**headers, "authorization": f"AWS {KEY}:{sigv2.sign(SECRET, to_sign)}"}


@pytest.mark.parametrize(
    "date", ["Tue, 27 Mar 2007 19:36:42 +0000", "20070327T193642Z", "Tue, 27 Mar 2007 21:36:42 +0200", "27 Mar 2007 19:36:42"]
)
def test_x_amz_date_takes_the_place_of_date_in_every_form(date):
    headers = by_hand({"x-amz-date": date, "date": "Mon, 01 Jan 1990 00:00:00 GMT"}, f"GET\n\n\n\nx-amz-date:{date}\n/box")
    assert outcome("GET", "/box", "", headers, EXAMPLE_NOW) == "sigv2"
    headers = by_hand({"date": date}, f"GET\n\n\n{date}\n/box")
    assert outcome("GET", "/box", "", headers, EXAMPLE_NOW) == "sigv2"


@pytest.mark.parametrize(
    "date", [None, "", "yesterday", "Tue, 99 Mar 2007", "0", " ", "Thu, 01 Jan 9999999 00:00:00 GMT", "Tue, 07 Jul 1950 21:53:04 GMT"]
)
def test_a_request_without_a_time_is_refused(date):
    headers = by_hand({} if date is None else {"date": date}, f"GET\n\n\n{date or ''}\n/box")
    assert outcome("GET", "/box", "", headers, EXAMPLE_NOW) == "AccessDenied"


@pytest.mark.parametrize("value", ["AWS ", "AWS key", "AWS :sig=", f"AWS {KEY}:", f"AWS {KEY}:not base64", f"AWS {KEY}:a:b", "AWS  a:b="])
def test_a_malformed_header_is_refused(value):
    assert outcome("GET", "/box", "", {"authorization": value, "date": "Tue, 27 Mar 2007 19:36:42 GMT"}, EXAMPLE_NOW) == "InvalidArgument"


def test_unknown_keys_wrong_secrets_and_session_tokens_are_refused():
    assert outcome(*signed_header("GET", "http://h/box", secret="another-secret")) == "SignatureDoesNotMatch"
    stranger = Authenticator({"other": SECRET}.get, allow_sigv2=True)
    assert outcome(*signed_header("GET", "http://h/box"), auth=stranger) == "InvalidAccessKeyId"
    assert outcome(*signed_query("GET", "http://h/box"), auth=stranger) == "InvalidAccessKeyId"
    assert outcome(*signed_header("GET", "http://h/box", {"x-amz-security-token": "t"})) == "InvalidToken"


def test_it_is_refused_by_name_where_it_is_not_allowed():
    strict = Authenticator({KEY: SECRET}.get)
    for request in (signed_header("GET", "http://h/box"), signed_query("GET", "http://h/box")):
        with pytest.raises(S3Error) as refused:
            strict.authenticate(*request, time.time())
        assert refused.value.code == "InvalidRequest"
        assert "AWS4-HMAC-SHA256" in refused.value.message


def test_two_schemes_at_once_are_refused():
    method, path, query, headers = signed_query("GET", "http://h/box")
    v2 = signed_header("GET", "http://h/box")[3]["authorization"]
    assert outcome(method, path, query, headers | {"authorization": v2}) == "InvalidArgument"
    v4 = signer.presign_v4("GET", path, "", {"host": "h"}, signer.Credentials(KEY, SECRET), int(time.time()), 60)
    assert outcome(method, path, f"{query}&{v4}", headers) == "InvalidArgument"
    xfs = signer.sign_xfs("GET", path, query, "UNSIGNED-PAYLOAD", signer.Credentials(KEY, SECRET), int(time.time()))
    assert outcome(method, path, query, headers | xfs) == "InvalidRequest"


def test_the_refusal_shows_what_was_signed_and_never_the_right_signature():
    method, path, query, headers = signed_header("GET", "http://h/box?acl", secret="another-secret")
    with pytest.raises(S3Error) as refused:
        AUTH.authenticate(method, path, query, headers, time.time())
    extra = refused.value.extra
    assert extra["StringToSign"].endswith("\n/box?acl")
    assert extra["AWSAccessKeyId"] == KEY
    right = sigv2.sign(SECRET, extra["StringToSign"])
    assert right not in str(extra) + refused.value.message


def test_x_fs_is_refused_on_a_virtual_host():
    headers = signer.sign_xfs("GET", "/key", "", "UNSIGNED-PAYLOAD", signer.Credentials(KEY, SECRET), int(time.time()))
    assert outcome("GET", "/key", "", headers) == "x-fs"
    assert outcome("GET", "/key", "", headers, host_bucket="box") == "InvalidRequest"


_NAMES = st.sampled_from(["acl", "uploadId", "versionId", "response-content-type", "prefix", "marker", "tagging", "x-y"])
_VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=12)


@STEADY
@given(
    st.lists(st.tuples(_NAMES, _VALUES), max_size=4, unique_by=lambda pair: pair[0]),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
)
def test_any_key_and_query_that_botocore_signs_is_accepted(pairs, key):
    url = f"http://h/box/{quote(key, safe='/')}"
    if pairs:
        url += "?" + "&".join(f"{name}={quote(value, safe='')}" for name, value in pairs)
    assert outcome(*signed_header("GET", url)) == "sigv2"
    assert outcome(*signed_query("GET", url)) == "sigv2-query"


def test_one_signed_text_is_not_two_requests():
    method, path, query, headers = signed_query("PUT", "http://h/box/key?partNumber=1&uploadId=7")
    assert outcome(method, path, query, headers) == "sigv2-query"
    joined = query.replace("partNumber=1&uploadId=7", "partNumber=1%26uploadId%3D7")
    assert joined != query
    assert outcome(method, path, joined, headers) == "SignatureDoesNotMatch"
    method, path, query, headers = signed_query("PUT", "http://h/box/key", {"x-amz-acl": "private", "x-amz-meta-a": "b"})
    query = "&".join(part for part in query.split("&") if not part.startswith("x-amz-"))
    assert outcome(method, path, f"{query}&x-amz-acl=private&x-amz-meta-a=b", headers) == "sigv2-query"
    assert outcome(method, path, f"{query}&x-amz-acl=private%0Ax-amz-meta-a%3Ab", headers) == "AccessDenied"
