"""PutBucketPolicy and its family, by the owner's key and by the administrator's."""

import json

import pytest

from fasterstore.s3.signer import Credentials

ADMIN = Credentials("operator", "operator-secret")
OBJECTS = "arn:aws:s3:::box/*"


def policy(**changes):
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": OBJECTS, **changes}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=1).encode()


DENY_ALL = policy(Effect="Deny", Action="s3:*", Resource=["arn:aws:s3:::box", OBJECTS])


@pytest.fixture
def store(new_store):
    made = new_store(FS_ADMIN_ACCESS_KEY=ADMIN.access_key, FS_ADMIN_SECRET_KEY=ADMIN.secret_key)
    made.make_bucket("box")
    return made


ROUTES = [("/box?policy", None), ("/_admin/policy/box", ADMIN)]
"""The two ways to the one record, each with whose key it takes (None: the owner's)."""


@pytest.mark.parametrize(("target", "credentials"), ROUTES)
@pytest.mark.parametrize("sign", ["v4", "xfs"])
def test_the_text_comes_back_as_it_was_put_until_it_is_removed(store, target, credentials, sign):
    def send(method, body=b""):
        return store.send(method, target, body, sign=sign, credentials=credentials)

    assert (send("GET").status, send("DELETE").status) == (404, 204)
    assert b"<Code>NoSuchBucketPolicy</Code>" in send("GET").body
    for body in (policy(), policy(Action="s3:PutObject")):
        assert send("PUT", body)[::2] == (204, b"")
        answer = send("GET")
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, body, "application/json")
    assert send("DELETE").status == 204
    assert send("GET").status == 404


def test_both_ways_lead_to_the_same_record(store):
    assert store.send("PUT", "/_admin/policy/box", policy(), credentials=ADMIN).status == 204
    assert store.send("GET", "/box?policy").body == policy()
    assert store.send("DELETE", "/box?policy").status == 204
    assert store.send("GET", "/_admin/policy/box", credentials=ADMIN).status == 404


def test_no_policy_locks_anybody_out_of_the_policy_itself(store):
    store.send("PUT", "/box/k", b"body")
    assert store.send("PUT", "/box?policy", DENY_ALL).status == 204
    for method, target in (
        ("GET", "/box/k"),
        ("PUT", "/box/k"),
        ("GET", "/box"),
        ("HEAD", "/box"),
        ("DELETE", "/box"),
        ("GET", "/box?acl"),
    ):
        assert store.send(method, target).status == 403, (method, target)
    for target, credentials in ROUTES:
        assert store.send("GET", target, credentials=credentials).body == DENY_ALL
        assert store.send("PUT", target, DENY_ALL, credentials=credentials).status == 204
    assert store.send("DELETE", "/_admin/policy/box", credentials=ADMIN).status == 204
    assert store.send("GET", "/box/k").body == b"body"


@pytest.mark.parametrize(("target", "credentials"), ROUTES)
def test_a_policy_is_checked_before_it_is_kept(store, target, credentials):
    store.send("PUT", target, policy(), credentials=credentials)
    for body, message in (
        (b"", b"the first byte must be"),
        (b"{", b"This policy contains invalid Json"),
        (policy(Action="s3:Nothing"), b"Policy has invalid action"),
        (policy(Resource="arn:aws:s3:::other/*"), b"Policy has invalid resource"),
        (policy(Resource=[f"{OBJECTS}{number:06d}" for number in range(1200)]), b"maximum allowed size of 20480 bytes"),
        (b"{" + b" " * 200_000 + b"}", b"maximum allowed size of 20480 bytes"),
    ):
        answer = store.send("PUT", target, body, credentials=credentials)
        assert answer.status == 400
        assert b"<Code>MalformedPolicy</Code>" in answer.body
        assert message in answer.body
    assert store.send("GET", target, credentials=credentials).body == policy()


@pytest.mark.parametrize(("target", "credentials"), ROUTES)
def test_a_body_that_is_not_the_signed_one_is_not_kept(store, target, credentials):
    answer = store.send("PUT", target, policy(), payload="0" * 64, credentials=credentials)
    assert answer.status == 400
    assert b"XAmzContentSHA256Mismatch" in answer.body
    assert store.send("PUT", target, policy(), headers={"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}, credentials=credentials).status == 400
    assert store.send("GET", target, credentials=credentials).status == 404


def test_the_administrators_routes_are_only_his(store):
    for method in ("GET", "PUT", "DELETE"):
        assert store.send(method, "/_admin/policy/box", policy()).status == 403
        assert store.send(method, "/_admin/policy/box", policy(), sign="").status == 403
        assert store.send(method, "/box?policy", policy(), credentials=ADMIN).status == 403
    assert store.send("POST", "/_admin/policy/box", b"", credentials=ADMIN).status == 405
    assert store.send("GET", "/_admin/policy/", credentials=ADMIN).status == 501
    assert store.send("GET", "/_admin/policy/box/more", credentials=ADMIN).status == 501


@pytest.mark.parametrize(("target", "credentials"), [("/nobox?policy", None), ("/_admin/policy/nobox", ADMIN)])
def test_a_missing_bucket_has_no_policy(store, target, credentials):
    for method in ("GET", "PUT", "DELETE"):
        answer = store.send(method, target, policy(), credentials=credentials)
        assert answer.status == 404
        assert b"<Code>NoSuchBucket</Code>" in answer.body


@pytest.mark.parametrize(("target", "credentials"), ROUTES)
def test_block_public_policy_refuses_public_ones_only(store, target, credentials):
    block = b"<PublicAccessBlockConfiguration><BlockPublicPolicy>true</BlockPublicPolicy></PublicAccessBlockConfiguration>"
    assert store.send("PUT", "/box?publicAccessBlock", block).status == 200
    answer = store.send("PUT", target, policy(), credentials=credentials)
    assert answer.status == 403
    assert b"BlockPublicPolicy" in answer.body
    for confined in (
        policy(Condition={"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}),
        policy(Principal={"AWS": "111122223333"}),
        DENY_ALL,
    ):
        assert store.send("PUT", target, confined, credentials=credentials).status == 204


def status_of(store):
    answer = store.send("GET", "/box?policyStatus")
    return answer.status, answer.body.partition(b"<IsPublic>")[2].partition(b"<")[0]


def test_policy_status_tells_whether_the_bucket_is_public(store):
    assert status_of(store) == (200, b"false")
    store.send("PUT", "/box?policy", policy())
    assert status_of(store) == (200, b"true")
    store.send("PUT", "/box?policy", policy(Principal={"AWS": "arn:aws:iam::111122223333:root"}))
    assert status_of(store) == (200, b"false")
    store.send("PUT", "/box?acl", headers={"x-amz-acl": "public-read"})
    assert status_of(store) == (200, b"true")
    store.send("DELETE", "/box?policy")
    assert status_of(store) == (200, b"true")
    store.send("PUT", "/box?acl", headers={"x-amz-acl": "private"})
    assert status_of(store) == (200, b"false")
    assert b"<Code>NoSuchBucket</Code>" in store.send("GET", "/nobodys?policyStatus").body


def test_a_read_only_node_keeps_its_policies(store):
    store.send("PUT", "/box?policy", policy())
    store.worker.read_only = "fdatasync failed"
    for target, credentials in ROUTES:
        assert store.send("PUT", target, DENY_ALL, credentials=credentials).status == 503
        assert store.send("DELETE", target, credentials=credentials).status == 503
        assert store.send("GET", target, credentials=credentials).body == policy()
