"""Who may come in, by route: access x credentials x where the client is."""

from io import BytesIO

import pytest

from fasterstore.s3.errors import S3Error
from fasterstore.s3.signer import Credentials, presign_v4, sign_v4_headers, sign_xfs
from fasterstore.settings import BUILT_IN_ACCESS_KEY, BUILT_IN_SECRET_KEY, load
from web.authenticate import Gatekeeper, is_loopback
from web.context import Request
from web.refusal_log import RefusalLog

NOW = 1_700_000_000
GOOD = Credentials("key", "secret-of-key")
ADMIN = Credentials("operator", "secret-of-operator")
OWN = {"FS_ACCESS_KEY": GOOD.access_key, "FS_SECRET_KEY": GOOD.secret_key}
WITH_ADMIN = {**OWN, "FS_ADMIN_ACCESS_KEY": ADMIN.access_key, "FS_ADMIN_SECRET_KEY": ADMIN.secret_key}


def gate(environ):
    return Gatekeeper(load(environ, cores=1), RefusalLog(lambda: NOW * 1000))


def request_of(path="/box/k", query="", headers=None, peer="192.0.2.7"):
    environ = {
        "REQUEST_METHOD": "GET",
        "REQUEST_URI": f"{path}?{query}" if query else path,
        "fs.headers": {"host": "h", **(headers or {})},
        "fs.peer": (peer, 1),
        "wsgi.input": BytesIO(),
    }
    return Request(environ, "ID", 0.0)


def signed(scheme, credentials, path="/box/k", headers=None, peer="192.0.2.7"):
    host = {"host": "h"}
    if scheme == "v4":
        added = sign_v4_headers("GET", path, "", host, "UNSIGNED-PAYLOAD", credentials, NOW)[0]
        return request_of(path, "", {**added, **(headers or {})}, peer)
    if scheme == "presigned":
        return request_of(path, presign_v4("GET", path, "", host, credentials, NOW, 60), headers, peer)
    return request_of(path, "", {**sign_xfs("GET", path, "", "UNSIGNED-PAYLOAD", credentials, NOW), **(headers or {})}, peer)


def code_of(gatekeeper, access, request):
    try:
        gatekeeper.admit(access, request, NOW * 1000)
    except S3Error as error:
        return error.code
    return "admitted"


SCHEMES = ("v4", "presigned", "xfs")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_right_key_opens_s3_by_every_scheme(scheme):
    identity = gate(OWN).admit("s3", signed(scheme, GOOD), NOW * 1000)
    assert identity.access_key == "key"
    assert (identity.scheme == "x-fs") == (scheme == "xfs")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_wrong_secret_or_an_unknown_key_opens_nothing(scheme):
    for access in ("s3", "admin"):
        assert code_of(gate(OWN), access, signed(scheme, Credentials("key", "another"))) == "SignatureDoesNotMatch"
        assert code_of(gate(OWN), access, signed(scheme, Credentials("nobody", "another"))) == "InvalidAccessKeyId"


def test_without_a_signature_s3_is_entered_as_nobody_and_guarded_routes_not_at_all():
    gatekeeper = gate(OWN)
    assert {access: code_of(gatekeeper, access, request_of(peer="127.0.0.1")) for access in ("open", "s3", "admin", "internal")} == {
        "open": "admitted",
        "s3": "admitted",
        "admin": "AccessDenied",
        "internal": "AccessDenied",
    }
    for headers in ({}, {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}, {"x-forwarded-user": GOOD.access_key}):
        assert gatekeeper.admit("s3", request_of(headers=headers, peer="127.0.0.1"), NOW * 1000)[:2] == ("none", "")


def test_an_access_that_nobody_declared_is_denied():
    assert code_of(gate({**OWN, "FS_INTERNAL_TOKEN": "token-of-ours"}), "somewhere", signed("v4", GOOD)) == "AccessDenied"


@pytest.mark.parametrize("scheme", SCHEMES)
def test_only_the_admin_key_opens_admin_routes(scheme):
    gatekeeper = gate(WITH_ADMIN)
    assert code_of(gatekeeper, "admin", signed(scheme, ADMIN)) == "admitted"
    assert code_of(gatekeeper, "admin", signed(scheme, GOOD)) == "InvalidAccessKeyId"
    assert code_of(gatekeeper, "s3", signed(scheme, ADMIN)) == "InvalidAccessKeyId"


def test_two_schemes_at_once_are_refused_also_without_authentication():
    both = sign_xfs("GET", "/box/k", "", "UNSIGNED-PAYLOAD", GOOD, NOW)
    for environ in (OWN, {**OWN, "FS_AUTH_ENABLED": "false"}):
        assert code_of(gate(environ), "s3", signed("v4", GOOD, headers=both)) == "InvalidRequest"
        assert code_of(gate(environ), "s3", signed("presigned", GOOD, headers=both)) == "InvalidRequest"


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("peer", "headers", "expected"),
    [
        ("127.0.0.1", {}, "admitted"),
        ("127.8.9.10", {}, "admitted"),
        ("::1", {}, "admitted"),
        ("::ffff:127.0.0.1", {}, "admitted"),
        ("192.0.2.7", {}, "AccessDenied"),
        ("::ffff:192.0.2.7", {}, "AccessDenied"),
        ("127.0.0.1", {"x-forwarded-for": "127.0.0.1"}, "AccessDenied"),
        ("127.0.0.1", {"x-forwarded-proto": "https"}, "AccessDenied"),
        ("127.0.0.1", {"forwarded": "for=127.0.0.1"}, "AccessDenied"),
        ("127.0.0.1", {"x-real-ip": "127.0.0.1"}, "AccessDenied"),
        ("127.0.0.1", {"via": "1.1 proxy"}, "AccessDenied"),
        ("127.0.0.1", {"cf-connecting-ip": "192.0.2.7"}, "AccessDenied"),
    ],
)
def test_the_built_in_secret_is_honoured_only_for_this_machine_itself(scheme, peer, headers, expected):
    built_in = Credentials(BUILT_IN_ACCESS_KEY, BUILT_IN_SECRET_KEY)
    for access in ("s3", "admin"):
        assert code_of(gate({}), access, signed(scheme, built_in, headers=headers, peer=peer)) == expected


def test_the_built_in_secret_is_judged_by_value_and_the_refusal_says_what_to_set():
    named = Credentials("my-own-name", BUILT_IN_SECRET_KEY)
    gatekeeper = gate({"FS_ACCESS_KEY": named.access_key, "FS_SECRET_KEY": named.secret_key})
    with pytest.raises(S3Error) as refused:
        gatekeeper.admit("s3", signed("v4", named), NOW * 1000)
    assert refused.value.status == 403
    assert "FS_SECRET_KEY" in refused.value.message


def test_without_authentication_s3_is_open_admin_only_here_and_internal_never():
    gatekeeper = gate({**WITH_ADMIN, "FS_AUTH_ENABLED": "false"})
    assert code_of(gatekeeper, "s3", request_of()) == "admitted"
    assert code_of(gatekeeper, "s3", signed("v4", Credentials("key", "wrong"))) == "admitted"
    assert code_of(gatekeeper, "admin", request_of()) == "AccessDenied"
    assert code_of(gatekeeper, "admin", signed("v4", ADMIN)) == "admitted"
    assert code_of(gatekeeper, "admin", request_of(peer="127.0.0.1")) == "admitted"
    assert code_of(gatekeeper, "admin", request_of(peer="127.0.0.1", headers={"x-forwarded-for": "a"})) == "AccessDenied"
    assert code_of(gatekeeper, "internal", request_of(peer="127.0.0.1")) == "AccessDenied"


def test_internal_routes_stay_closed_until_the_token_is_ones_own():
    built_in = {"x-fs-internal-token": "internal-replication-token"}
    assert code_of(gate(OWN), "internal", request_of(headers=built_in, peer="127.0.0.1")) == "AccessDenied"
    gatekeeper = gate({**OWN, "FS_INTERNAL_TOKEN": "token-of-ours"})
    assert code_of(gatekeeper, "internal", request_of(headers=built_in)) == "AccessDenied"
    assert code_of(gatekeeper, "internal", request_of()) == "AccessDenied"
    assert code_of(gatekeeper, "internal", signed("v4", GOOD)) == "AccessDenied"
    own = {"x-fs-internal-token": "token-of-ours"}
    assert code_of(gatekeeper, "internal", request_of(headers=own)) == "AccessDenied"
    assert code_of(gatekeeper, "internal", request_of(headers=own, peer="127.0.0.1")) == "admitted"


def test_metrics_are_open_without_a_token_and_want_it_once_set():
    assert code_of(gate(OWN), "metrics", request_of()) == "admitted"
    gatekeeper = gate({**OWN, "FS_METRICS_TOKEN": "sesame"})
    for value, expected in (
        (None, "AccessDenied"),
        ("Bearer wrong", "AccessDenied"),
        ("Basic sesame", "AccessDenied"),
        ("sesame", "AccessDenied"),
        ("Bearer sesame", "admitted"),
        ("bearer sesame", "admitted"),
    ):
        headers = {} if value is None else {"authorization": value}
        assert code_of(gatekeeper, "metrics", request_of(headers=headers)) == expected


def test_what_a_client_says_of_its_body_holds_without_authentication():
    gatekeeper = gate({**OWN, "FS_AUTH_ENABLED": "false"})
    request = request_of(headers={"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"})
    assert gatekeeper.admit("s3", request, 0).payload == "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    xfs = request_of(headers={"x-fs-signature": "s", "x-fs-content-sha256": "A" * 64})
    assert gatekeeper.admit("s3", xfs, 0)[:3] == ("x-fs", "", "a" * 64)


@pytest.mark.parametrize(
    ("address", "expected"),
    [("127.0.0.1", True), ("128.0.0.1", False), ("::1", True), ("::11", False), ("", False), ("::ffff:12.7.0.1", False)],
)
def test_loopback_addresses_are_told_from_others(address, expected):
    assert is_loopback(address) is expected
