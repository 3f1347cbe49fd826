"""Policy, ACL, ownership and public access block together; and that rules are compiled once for a version."""

import json

import pytest

from fasterstore.model import BucketId, BucketRow
from fasterstore.policy.bucket_access import AccessCache, BucketAccess, blocks_public_policies
from fasterstore.policy.compiled import Verdict
from fasterstore.policy.iam_actions import ALL_ACTIONS, BUCKET_ACTIONS
from fasterstore.policy.question import Question

BUCKET, OBJECT = "arn:aws:s3:::box", "arn:aws:s3:::box/a"


def policy(*statements):
    given = [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"{BUCKET}/*", **one} for one in statements]
    return json.dumps({"Version": "2012-10-17", "Statement": given}).encode()


def granted(settings, object_acl="", owner=False, operation="", **facts):
    """Every IAM action that these settings allow on the bucket, or on the object with that ACL."""
    access = BucketAccess(settings, "owner-key")
    found = set()
    for action in ALL_ACTIONS:
        resource = BUCKET if action in BUCKET_ACTIONS else OBJECT
        question = Question(action, resource, owner, operation, access_key="owner-key" if owner else "", **facts)
        if access.decide(question, object_acl) is Verdict.ALLOWED:
            found.add(action)
    return found


READ = {"getobject", "getobjectversion"}
LIST = {"listbucket", "listbucketversions", "listbucketmultipartuploads"}


def test_without_settings_the_owner_may_do_everything_and_nobody_else_anything():
    assert granted({}, owner=True) == ALL_ACTIONS
    assert granted({}) == set()


@pytest.mark.parametrize(
    ("bucket_acl", "object_acl", "expected"),
    [
        (b"", "public-read", READ),
        (b"", "public-read-write", READ),
        (b"", "authenticated-read", set()),
        (b"", "private", set()),
        (b"public-read", "", LIST),
        (b"public-read", "public-read", LIST | READ),
        (b"public-read-write", "", LIST | {"putobject", "deleteobject"}),
        (b"authenticated-read", "", set()),
        (b"private", "", set()),
        (b"nonsense", "nonsense", set()),
    ],
)
def test_a_public_canned_acl_grants_what_the_user_guide_maps_it_to(bucket_acl, object_acl, expected):
    assert granted({"acl": bucket_acl}, object_acl) == expected
    assert granted({"acl": bucket_acl, "ownership": b"ObjectWriter", "public-access-block": b"1011"}, object_acl) == expected


def test_who_writes_by_the_buckets_acl_gives_acl_and_tags_on_the_way_only():
    acl = {"acl": b"public-read-write"}
    assert {"putobjectacl", "putobjecttagging"} <= granted(acl, operation="PutObject")
    assert not {"putobjectacl", "putobjecttagging"} & granted(acl, operation="PutObjectAcl")
    assert not {"putobjectacl", "putobjecttagging"} & granted({"acl": b"public-read"}, operation="PutObject")


@pytest.mark.parametrize("off", [{"ownership": b"BucketOwnerEnforced"}, {"public-access-block": b"0100"}])
def test_acls_count_for_nothing_where_they_are_disabled_or_ignored(off):
    assert granted({"acl": b"public-read-write", **off}, "public-read") == set()
    assert not BucketAccess({"acl": b"public-read", **off}, "owner-key").has_public_acl
    assert BucketAccess({"acl": b"public-read"}, "owner-key").has_public_acl
    assert BucketAccess({"acl": b"authenticated-read"}, "owner-key").has_public_acl
    assert granted({"policy": policy({}), **off}) == {"getobject"}


def test_a_deny_of_the_policy_takes_back_what_an_acl_grants():
    settings = {"acl": b"public-read", "policy": policy({"Effect": "Deny", "Action": "s3:GetObject"})}
    assert granted(settings, "public-read") == LIST | {"getobjectversion"}
    assert granted(settings, owner=True) == ALL_ACTIONS - {"getobject"}


def test_restrict_public_buckets_shuts_out_everybody_but_the_owner_of_a_public_policy():
    public, confined = policy({}), policy({"Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}})
    here = {"source_ip": "192.0.2.7"}
    assert granted({"policy": public, "public-access-block": b"1110"}) == {"getobject"}
    assert granted({"policy": public, "public-access-block": b"0001"}) == set()
    assert granted({"policy": confined, "public-access-block": b"1111"}, **here) == {"getobject"}
    mixed = policy({"Action": "s3:PutObject"}, {"Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}})
    assert granted({"policy": mixed, "public-access-block": b"0001"}, **here) == set()
    assert granted({"policy": public, "public-access-block": b"0001"}, owner=True) == ALL_ACTIONS
    assert granted({"policy": public, "acl": b"public-read", "public-access-block": b"0001"}) == LIST


def test_a_policy_that_cannot_be_read_denies_everything():
    assert granted({"policy": b"{", "acl": b"public-read"}) == set()
    assert granted({"policy": b"{"}, owner=True) == set()


def test_only_the_third_switch_blocks_public_policies():
    assert [blocks_public_policies({"public-access-block": block}) for block in (b"0010", b"1101")] == [True, False]
    assert not blocks_public_policies({})


def test_whether_anybody_may_delete_is_known_without_a_key():
    deleting = policy({"Action": "s3:DeleteObject", "Resource": f"{BUCKET}/tmp/*"})
    expected = [({}, False), ({"acl": b"public-read"}, False), ({"acl": b"public-read-write"}, True), ({"policy": policy({})}, False)]
    expected += [({"policy": deleting}, True), ({"policy": deleting, "public-access-block": b"0001"}, False)]
    for settings, some in expected:
        assert BucketAccess(settings, "owner-key").may_delete_some() is some, settings


def row(bucket_id=1, version=1, **settings):
    return BucketRow(BucketId(bucket_id), "box", 0, settings, version)


def test_rules_are_made_once_for_a_version_of_the_row():
    cache = AccessCache(2)
    first = cache.of(row(policy=policy({})), "owner-key")
    assert cache.of(row(policy=policy({}), cors=b"another setting"), "owner-key") is first
    assert cache.of(row(version=2, policy=policy({})), "owner-key") is not first
    assert cache.of(row(policy=policy({})), "another-key") is not first


def test_the_same_numbers_of_another_log_are_another_bucket():
    cache = AccessCache(2)
    first = cache.of(row(policy=policy({})), "owner-key")
    other = cache.of(row(acl=b"public-read"), "owner-key")
    assert other is not first
    assert other.policy is None


def test_only_the_buckets_used_last_are_kept():
    cache = AccessCache(2)
    kept = cache.of(row(1), "owner-key")
    dropped = cache.of(row(2), "owner-key")
    cache.of(row(1), "owner-key")
    cache.of(row(3), "owner-key")
    assert cache.of(row(1), "owner-key") is kept
    assert cache.of(row(2), "owner-key") is not dropped
