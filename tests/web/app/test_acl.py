"""ACL documents through the application, and what ownership and the public access block make of them."""

import re

import pytest
from defusedxml.ElementTree import fromstring

from fasterstore.s3 import acl
from fasterstore.s3.xml import OWNER_ID

NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"
ENFORCED = b"<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>"
BLOCKED = b"<PublicAccessBlockConfiguration><BlockPublicAcls>true</BlockPublicAcls></PublicAccessBlockConfiguration>"
TARGETS = ["/box?acl", "/box/k?acl"]


def code(answer):
    return re.search(rb"<Code>(\w+)</Code>", answer.body)[1].decode()


def grants(answer):
    """(group or owner, permission) of each grant."""
    assert answer.status == 200, answer
    return sorted(
        (node.findtext(f"{NS}Grantee/{NS}URI", OWNER_ID).rpartition("/")[2], node.findtext(f"{NS}Permission"))
        for node in fromstring(answer.body).iter(f"{NS}Grant")
    )


OWNER = (OWNER_ID, "FULL_CONTROL")
CANNED = {
    "private": [OWNER],
    "public-read": [OWNER, ("AllUsers", "READ")],
    "public-read-write": [OWNER, ("AllUsers", "READ"), ("AllUsers", "WRITE")],
    "authenticated-read": [OWNER, ("AuthenticatedUsers", "READ")],
}


@pytest.fixture
def kept(store):
    assert store.send("PUT", "/box/k", b"still here").status == 200
    return store


@pytest.mark.parametrize("target", TARGETS)
def test_a_new_bucket_and_a_new_object_are_private(kept, target):
    assert grants(kept.send("GET", target)) == [OWNER]


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", CANNED)
def test_a_canned_acl_is_set_by_header_and_by_document(kept, target, name):
    assert kept.send("PUT", target, headers={"x-amz-acl": name})[::2] == (200, b"")
    assert grants(kept.send("GET", target)) == CANNED[name]
    document = kept.send("GET", target).body
    kept.send("PUT", target, headers={"x-amz-acl": "private"})
    assert grants(kept.send("GET", target)) == [OWNER]
    assert kept.send("PUT", target, document).status == 200
    assert grants(kept.send("GET", target)) == CANNED[name]


@pytest.mark.parametrize("target", TARGETS)
def test_grants_by_header_are_read(kept, target):
    everybody = f'uri="{acl.ALL_USERS}"'
    headers = {"x-amz-grant-full-control": f'id="{OWNER_ID}"', "x-amz-grant-read": everybody}
    assert kept.send("PUT", target, headers=headers).status == 200
    assert grants(kept.send("GET", target)) == CANNED["public-read"]
    assert code(kept.send("PUT", target, headers={"x-amz-grant-write": everybody})) == "NotImplemented"
    assert grants(kept.send("GET", target)) == CANNED["public-read"]


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_refused_changes_nothing(kept, target):
    document = acl.render_acl("public-read")
    for body, headers, expected in (
        (b"", {"x-amz-acl": "public"}, "InvalidArgument"),
        (b"", {}, "MissingSecurityHeader"),
        (document, {"x-amz-acl": "public-read"}, "UnexpectedContent"),
        (document.replace(b"READ<", b"READ_ACP<"), {}, "NotImplemented"),
        (document.replace(OWNER_ID.encode(), b"another"), {}, "AccessDenied"),
        (b"<AccessControlPolicy/>", {}, "MalformedACLError"),
        (document, {"content-md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}, "BadDigest"),
    ):
        assert code(kept.send("PUT", target, body, headers)) == expected
    assert grants(kept.send("GET", target)) == [OWNER]
    assert kept.send("GET", "/box/k").body == b"still here"


def test_bucket_and_object_must_exist(kept):
    for method in ("GET", "PUT"):
        headers = {"x-amz-acl": "private"}
        assert code(kept.send(method, "/nobodys-bucket?acl", headers=headers)) == "NoSuchBucket"
        assert code(kept.send(method, "/nobodys-bucket/k?acl", headers=headers)) == "NoSuchBucket"
        assert code(kept.send(method, "/box/missing?acl", headers=headers)) == "NoSuchKey"
        assert code(kept.send(method, "/box/k?acl&versionId=1", headers=headers)) in ("InvalidArgument", "NoSuchVersion")
        assert kept.send(method, "/box/k?acl&versionId=null", headers=headers).status == 200


@pytest.mark.parametrize("target", TARGETS)
def test_x_fs_leaves_headers_unsigned_and_so_sets_no_acl(kept, target):
    assert code(kept.send("PUT", target, headers={"x-amz-acl": "public-read"}, sign="xfs")) == "AccessDenied"
    assert code(kept.send("PUT", target, acl.render_acl("public-read"), sign="xfs")) == "AccessDenied"
    assert grants(kept.send("GET", target, sign="xfs")) == [OWNER]


def test_another_acl_leaves_the_object_as_it_is(kept):
    kept.send("PUT", "/box/k", b"still here", {"x-amz-meta-a": "b", "content-type": "text/x"})
    before = kept.send("HEAD", "/box/k").headers
    kept.send("PUT", "/box/k?acl", headers={"x-amz-acl": "public-read"})
    after = kept.send("HEAD", "/box/k").headers
    del before["x-amz-request-id"], after["x-amz-request-id"]
    assert after == before


def test_a_bucket_is_made_with_its_acl_and_its_ownership(store):
    assert store.send("PUT", "/open-bucket", headers={"x-amz-acl": "public-read"}).status == 200
    assert grants(store.send("GET", "/open-bucket?acl")) == CANNED["public-read"]
    headers = {"x-amz-object-ownership": "BucketOwnerEnforced"}
    assert store.send("PUT", "/owned-bucket", headers=headers).status == 200
    assert b"<ObjectOwnership>BucketOwnerEnforced</ObjectOwnership>" in store.send("GET", "/owned-bucket?ownershipControls").body
    for refused, expected in (
        ({"x-amz-acl": "public"}, "InvalidArgument"),
        ({"x-amz-object-ownership": "Mine"}, "InvalidArgument"),
        ({"x-amz-acl": "public-read", "x-amz-object-ownership": "BucketOwnerEnforced"}, "InvalidBucketAclWithObjectOwnership"),
        ({"x-amz-bucket-object-lock-enabled": "true"}, "NotImplemented"),
        ({"x-amz-grant-read": f'uri="{acl.ALL_USERS}"'}, "NotImplemented"),
    ):
        assert code(store.send("PUT", "/never-made", headers=refused)) == expected
    assert code(store.send("PUT", "/never-made", headers={"x-amz-acl": "public-read"}, sign="xfs")) == "AccessDenied"
    assert store.send("HEAD", "/never-made").status == 404
    assert store.send("PUT", "/plain-bucket", headers={"x-amz-acl": "private", "x-amz-bucket-object-lock-enabled": "false"}).status == 200


def test_without_acls_they_are_neither_set_nor_shown(kept):
    kept.send("PUT", "/box/k?acl", headers={"x-amz-acl": "public-read"})
    assert kept.send("PUT", "/box?ownershipControls", ENFORCED).status == 200
    for target in TARGETS:
        assert code(kept.send("PUT", target, headers={"x-amz-acl": "private"})) == "AccessControlListNotSupported"
        assert code(kept.send("PUT", target, acl.render_acl("private"))) == "AccessControlListNotSupported"
        assert grants(kept.send("GET", target)) == [OWNER]
    kept.send("DELETE", "/box?ownershipControls")
    assert grants(kept.send("GET", "/box/k?acl")) == CANNED["public-read"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_bucket_that_blocks_public_acls_takes_none(kept, target):
    assert kept.send("PUT", "/box?publicAccessBlock", BLOCKED).status == 200
    for name in CANNED:
        answer = kept.send("PUT", target, headers={"x-amz-acl": name})
        assert (answer.status == 403) == (name in acl.PUBLIC)
        assert (kept.send("PUT", target, acl.render_acl(name)).status == 403) == (name in acl.PUBLIC)
    assert grants(kept.send("GET", target)) == [OWNER]


def test_an_object_is_written_with_its_acl(store):
    for name, expected in CANNED.items():
        assert store.send("PUT", "/box/k", b"x", {"x-amz-acl": name}).status == 200
        assert grants(store.send("GET", "/box/k?acl")) == expected
    assert store.send("PUT", "/box/k", b"x").status == 200
    assert grants(store.send("GET", "/box/k?acl")) == [OWNER]
    assert code(store.send("PUT", "/box/k", b"x", {"x-amz-acl": "public"})) == "InvalidArgument"
    assert code(store.send("PUT", "/box/k", b"x", {"x-amz-acl": "public-read"}, sign="xfs")) == "AccessDenied"


def test_an_objects_acl_is_judged_by_its_buckets_settings(store):
    store.send("PUT", "/box?publicAccessBlock", BLOCKED)
    assert code(store.send("PUT", "/box/k", b"x", {"x-amz-acl": "public-read"})) == "AccessDenied"
    assert store.send("PUT", "/box/k", b"x", {"x-amz-acl": "private"}).status == 200
    store.send("PUT", "/box?ownershipControls", ENFORCED)
    assert code(store.send("PUT", "/box/k", b"x", {"x-amz-acl": "private"})) == "AccessControlListNotSupported"
    assert store.send("PUT", "/box/k", b"x", {"x-amz-acl": "bucket-owner-full-control"}).status == 200
