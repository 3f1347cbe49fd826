"""CORS through the application: the rules kept, preflight without a signature, headers on every answer to another origin."""

import re

import pytest

from fasterstore.s3.cors import VARY
from web import cors

RULES = b"""<CORSConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
<CORSRule><AllowedOrigin>https://*.example</AllowedOrigin><AllowedMethod>GET</AllowedMethod><AllowedMethod>PUT</AllowedMethod>
<AllowedHeader>x-amz-*</AllowedHeader><ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>60</MaxAgeSeconds></CORSRule>
<CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>HEAD</AllowedMethod></CORSRule>
</CORSConfiguration>"""
ORIGIN = "https://a.example"
ASKING = {"origin": ORIGIN, "access-control-request-method": "PUT"}


def code(answer):
    return re.search(rb"<Code>(\w+)</Code>", answer.body)[1].decode()


def cors_headers(answer):
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-") or name == "vary"}


@pytest.fixture
def shared(store):
    """The store with an object in `box`, whose rules are RULES."""
    assert store.send("PUT", "/box?cors", RULES).status == 200
    store.send("PUT", "/box/k", b"bytes")
    return store


def test_rules_are_put_read_and_deleted(store):
    assert code(store.send("GET", "/box?cors")) == "NoSuchCORSConfiguration"
    assert store.send("PUT", "/box?cors", RULES)[::2] == (200, b"")
    answer = store.send("GET", "/box?cors")
    assert answer.status == 200
    allowed = re.findall(r"<Allowed(?:Origin|Method|Header)>([^<]*)<", answer.body.decode())
    assert allowed == ["GET", "PUT", "https://*.example", "x-amz-*", "HEAD", "*"]
    assert store.send("DELETE", "/box?cors").status == 204
    assert code(store.send("GET", "/box?cors")) == "NoSuchCORSConfiguration"
    assert store.send("DELETE", "/box?cors").status == 204
    assert store.send("HEAD", "/box").status == 200


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_rules_need_a_bucket_and_a_signature(store, method):
    body = RULES if method == "PUT" else b""
    assert code(store.send(method, "/nobodys-bucket?cors", body)) == "NoSuchBucket"
    assert store.send(method, "/box?cors", body, sign="").status == 403


def test_rules_that_s3_does_not_take_change_nothing(shared):
    before = shared.send("GET", "/box?cors").body
    assert code(shared.send("PUT", "/box?cors", RULES.replace(b"HEAD", b"PATCH"))) == "InvalidRequest"
    assert code(shared.send("PUT", "/box?cors", b"<CORSConfiguration/>")) == "MalformedXML"
    assert code(shared.send("PUT", "/box?cors", RULES + b" " * 70_000)) == "MaxMessageLengthExceeded"
    assert code(shared.send("PUT", "/box?cors", RULES, {"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="})) == "BadDigest"
    assert shared.send("GET", "/box?cors").body == before


@pytest.mark.parametrize(
    "target", ["/box", "/box/k", "/box/missing", "/box?uploads", "/box/k?partNumber=1&uploadId=u", "/box/k?acl&tagging"]
)
def test_a_preflight_is_answered_without_a_signature(shared, target):
    answer = shared.send("OPTIONS", target, headers={**ASKING, "access-control-request-headers": "X-Amz-Date, x-amz-acl"}, sign="")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", "0")
    assert cors_headers(answer) == {
        "access-control-allow-origin": ORIGIN,
        "access-control-allow-methods": "GET, PUT",
        "access-control-allow-headers": "x-amz-date, x-amz-acl",
        "access-control-expose-headers": "ETag",
        "access-control-max-age": "60",
        "access-control-allow-credentials": "true",
        "vary": VARY[1],
    }
    assert answer.headers["x-amz-request-id"]


def test_a_preflight_of_a_presigned_url_is_not_taken_for_a_wrong_signature(shared):
    query = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=a&X-Amz-Date=b&X-Amz-Expires=1&X-Amz-SignedHeaders=host&X-Amz-Signature=c"
    assert shared.send("OPTIONS", f"/box/k?{query}", headers=ASKING, sign="").status == 200
    assert shared.send("OPTIONS", "/box/k", headers=ASKING).status == 200


@pytest.mark.parametrize(
    ("headers", "status", "expected", "message"),
    [
        ({}, 400, "BadRequest", b"Insufficient information. Origin request header needed."),
        ({"origin": ORIGIN}, 400, "BadRequest", b"Invalid Access-Control-Request-Method: null"),
        ({**ASKING, "access-control-request-method": "PATCH"}, 400, "BadRequest", b"Invalid Access-Control-Request-Method: PATCH"),
        ({**ASKING, "access-control-request-method": "DELETE"}, 403, "AccessForbidden", b"This CORS request is not allowed."),
        ({**ASKING, "origin": "https://a.example.evil"}, 403, "AccessForbidden", b"This CORS request is not allowed."),
        ({**ASKING, "access-control-request-headers": "x-other"}, 403, "AccessForbidden", b"This CORS request is not allowed."),
        ({**ASKING, "access-control-request-headers": "x amz"}, 403, "AccessForbidden", b"This CORS request is not allowed."),
    ],
)
def test_a_preflight_that_no_rule_fits_is_refused(shared, headers, status, expected, message):
    answer = shared.send("OPTIONS", "/box/k", headers=headers, sign="")
    assert (answer.status, code(answer)) == (status, expected)
    assert message in answer.body
    assert cors_headers(answer) == {}
    if status == 403:
        assert b"<ResourceType>OBJECT</ResourceType>" in answer.body


def test_a_preflight_of_a_bucket_without_rules_or_of_none_is_refused(store):
    answer = store.send("OPTIONS", "/box", headers=ASKING, sign="")
    assert (answer.status, code(answer)) == (403, "AccessForbidden")
    assert b"CORS is not enabled for this bucket." in answer.body
    assert b"<Method>PUT</Method><ResourceType>BUCKET</ResourceType>" in answer.body
    answer = store.send("OPTIONS", "/nobodys-bucket/k", headers=ASKING, sign="")
    assert (answer.status, code(answer)) == (403, "AccessForbidden")


def test_a_preflight_opens_nothing_but_itself(shared):
    for target in ("/", "/_admin/actors", "/_internal/blob/00"):
        assert shared.send("OPTIONS", target, headers=ASKING, sign="").status in (400, 403, 405)
    assert shared.send("GET", "/box/k", headers=ASKING, sign="").status == 403


def test_answers_to_an_allowed_origin_say_so_refusals_too(shared):
    for method, target, sign, status in (
        ("GET", "/box/k", "v4", 200),
        ("GET", "/box/missing", "v4", 404),
        ("GET", "/box/k", "", 403),
        ("GET", "/box?location", "v4", 200),
        ("PUT", "/box/new", "v4", 200),
    ):
        answer = shared.send(method, target, headers={"origin": ORIGIN}, sign=sign)
        assert answer.status == status
        assert cors_headers(answer) == {
            "access-control-allow-origin": ORIGIN,
            "access-control-allow-methods": "GET, PUT",
            "access-control-expose-headers": "ETag",
            "access-control-max-age": "60",
            "access-control-allow-credentials": "true",
            "vary": VARY[1],
        }
    anybody = cors_headers(shared.send("HEAD", "/box/k", headers={"origin": "null"}))
    assert (anybody["access-control-allow-origin"], "access-control-allow-credentials" in anybody) == ("*", False)


def test_a_large_download_has_them_too(shared):
    shared.send("PUT", "/box/large", b"x" * 400_000)
    answer = shared.send("GET", "/box/large", headers={"origin": ORIGIN})
    assert (len(answer.body), answer.headers["access-control-allow-origin"]) == (400_000, ORIGIN)


def test_answers_to_other_origins_or_none_have_none(shared):
    assert cors_headers(shared.send("GET", "/box/k")) == {}
    assert cors_headers(shared.send("GET", "/box/k", headers={"origin": "https://b.evil"})) == {"vary": VARY[1]}
    assert cors_headers(shared.send("DELETE", "/box/k", headers={"origin": ORIGIN})) == {"vary": VARY[1]}
    assert cors_headers(shared.send("GET", "/", headers={"origin": ORIGIN})) == {}
    assert cors_headers(shared.send("GET", "/nobodys-bucket/k", headers={"origin": ORIGIN})) == {}


def test_the_method_that_a_request_says_it_asks_for_is_the_one_judged(shared):
    headers = {"origin": ORIGIN, "access-control-request-method": "GET"}
    assert "access-control-allow-origin" in cors_headers(shared.send("DELETE", "/box/k", headers=headers))


def test_new_rules_hold_from_their_200_on(shared):
    for origin in ("https://one.org", "https://two.org", "https://one.org"):
        changed = RULES.replace(b"https://*.example", origin.encode())
        assert shared.send("PUT", "/box?cors", changed).status == 200
        for asked in ("https://one.org", "https://two.org", ORIGIN):
            expected = 200 if asked == origin else 403
            assert shared.send("OPTIONS", "/box/k", headers={**ASKING, "origin": asked}, sign="").status == expected
    shared.send("DELETE", "/box?cors")
    assert shared.send("OPTIONS", "/box/k", headers={**ASKING, "origin": "https://one.org"}, sign="").status == 403


def test_rules_are_compiled_once_for_each_version_of_them(shared, monkeypatch):
    compiled = []
    monkeypatch.setattr(cors, "_compiled", {})
    monkeypatch.setattr(cors, "compile_rules", lambda stored, made=cors.compile_rules: compiled.append(stored) or made(stored))
    for _ in range(3):
        shared.send("GET", "/box/k", headers={"origin": ORIGIN})
    assert len(compiled) == 1
    shared.send("PUT", "/box?cors", RULES.replace(b">60<", b">61<"))
    for _ in range(3):
        assert shared.send("GET", "/box/k", headers={"origin": ORIGIN}).headers["access-control-max-age"] == "61"
    assert len(compiled) == 2


def test_only_so_many_buckets_are_kept_compiled(shared, monkeypatch):
    monkeypatch.setattr(cors, "_compiled", {})
    monkeypatch.setattr(cors, "COMPILED_MAX", 2)
    for name in ("two", "three", "box", "two"):
        if name != "box":
            shared.send("PUT", f"/{name}-bucket")
        target = "/box" if name == "box" else f"/{name}-bucket"
        shared.send("PUT", f"{target}?cors", RULES)
        assert shared.send("OPTIONS", target, headers=ASKING, sign="").status == 200
        assert len(cors._compiled) <= 2


def test_while_there_is_no_index_an_answer_goes_without(shared):
    index, shared.worker.index = shared.worker.index, None
    answer = shared.send("GET", "/box/k", headers={"origin": ORIGIN})
    shared.worker.index = index
    assert (answer.status, cors_headers(answer)) == (503, {})
