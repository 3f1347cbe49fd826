"""Tagging, ownership controls and the public access block of a bucket."""

import re

import pytest

SWITCHES = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")


def code(answer):
    return re.search(rb"<Code>(\w+)</Code>", answer.body)[1].decode()


def tagging(*pairs):
    tags = "".join(f"<Tag><Key>{key}</Key><Value>{value}</Value></Tag>" for key, value in pairs)
    return f"<Tagging><TagSet>{tags}</TagSet></Tagging>".encode()


def owning(name):
    return f"<OwnershipControls><Rule><ObjectOwnership>{name}</ObjectOwnership></Rule></OwnershipControls>".encode()


def block(**switches):
    inside = "".join(f"<{name}>{value}</{name}>" for name, value in switches.items())
    return f'<PublicAccessBlockConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inside}</PublicAccessBlockConfiguration>'.encode()


def pairs(answer):
    return re.findall(r"<Key>([^<]*)</Key><Value>([^<]*)</Value>", answer.body.decode())


def switches(answer):
    return {name: re.search(f"<{name}>(true|false)</{name}>", answer.body.decode())[1] for name in SWITCHES}


SETTINGS = [
    ("tagging", tagging(("a", "b")), "NoSuchTagSet"),
    ("ownershipControls", owning("ObjectWriter"), "OwnershipControlsNotFoundError"),
    ("publicAccessBlock", block(BlockPublicAcls="true"), "NoSuchPublicAccessBlockConfiguration"),
]


@pytest.mark.parametrize(("name", "document", "missing"), SETTINGS)
def test_a_setting_is_missing_until_it_is_put_and_again_when_it_is_deleted(store, name, document, missing):
    answer = store.send("GET", f"/box?{name}")
    assert (answer.status, code(answer)) == (404, missing)
    assert store.send("PUT", f"/box?{name}", document).status in (200, 204)
    assert store.send("GET", f"/box?{name}").status == 200
    assert store.send("DELETE", f"/box?{name}").status == 204
    assert code(store.send("GET", f"/box?{name}")) == missing
    assert store.send("DELETE", f"/box?{name}").status == 204
    assert store.send("HEAD", "/box").status == 200


@pytest.mark.parametrize(("name", "document", "missing"), SETTINGS)
def test_a_setting_needs_its_bucket_a_signature_and_its_document(store, name, document, missing):
    for method in ("GET", "PUT", "DELETE"):
        body = document if method == "PUT" else b""
        assert code(store.send(method, f"/nobodys-bucket?{name}", body)) == "NoSuchBucket"
        assert store.send(method, f"/box?{name}", body, sign="").status == 403
    for body in (b"", b"<Other/>", b"{}", document[:-1], b'<!DOCTYPE a [<!ENTITY b "c">]>' + document):
        assert code(store.send("PUT", f"/box?{name}", body)) == "MalformedXML"
    assert code(store.send("PUT", f"/box?{name}", document, payload="0" * 64)) == "XAmzContentSHA256Mismatch"
    assert code(store.send("GET", f"/box?{name}")) == missing


@pytest.mark.parametrize(("name", "document", "missing"), SETTINGS)
def test_a_read_only_store_shows_its_settings_and_changes_none(store, name, document, missing):
    store.send("PUT", f"/box?{name}", document)
    store.worker.read_only = "fdatasync failed"
    assert store.send("PUT", f"/box?{name}", document).status == 503
    assert store.send("DELETE", f"/box?{name}").status == 503
    assert store.send("GET", f"/box?{name}").status == 200


def test_a_new_bucket_of_an_old_name_has_no_settings(store):
    for name, document, _ in SETTINGS:
        store.send("PUT", f"/box?{name}", document)
    store.send("DELETE", "/box")
    store.send("PUT", "/box")
    for name, _, missing in SETTINGS:
        assert code(store.send("GET", f"/box?{name}")) == missing


def test_tags_take_the_place_of_earlier_ones(store):
    assert store.send("PUT", "/box?tagging", tagging(("b", "\u00e4"), ("a", ""))).status == 204
    assert pairs(store.send("GET", "/box?tagging")) == [("a", ""), ("b", "\u00e4")]
    store.send("PUT", "/box?tagging", tagging(("c", "d")))
    assert pairs(store.send("GET", "/box?tagging")) == [("c", "d")]
    store.send("PUT", "/box?tagging", tagging())
    assert code(store.send("GET", "/box?tagging")) == "NoSuchTagSet"


def test_a_bucket_has_at_most_fifty_tags(store):
    fifty = [(f"{number:02}" + "\u00e4" * 126, "\u00e4" * 256) for number in range(50)]
    assert store.send("PUT", "/box?tagging", tagging(*fifty)).status == 204
    assert pairs(store.send("GET", "/box?tagging")) == fifty
    for wrong in ([*fifty, ("one more", "")], [("twice", ""), ("twice", "")], [("aws:x", "")], [("k" * 129, "")], [("k", "v" * 257)]):
        assert code(store.send("PUT", "/box?tagging", tagging(*wrong))) == "InvalidTag"
    assert pairs(store.send("GET", "/box?tagging")) == fifty


def test_a_bucket_is_made_with_its_tags(store):
    around = "<CreateBucketConfiguration><Tags>%s</Tags></CreateBucketConfiguration>"
    tag = "<Tag><Key>a</Key><Value>b</Value></Tag>"
    assert store.send("PUT", "/tagged", (around % tag).encode()).status == 200
    assert pairs(store.send("GET", "/tagged?tagging")) == [("a", "b")]
    assert code(store.send("PUT", "/never-made", (around % (tag + tag)).encode())) == "InvalidTag"
    assert store.send("HEAD", "/never-made").status == 404


def test_x_fs_sets_no_tags(store):
    store.send("PUT", "/box?tagging", tagging(("a", "b")))
    assert code(store.send("PUT", "/box?tagging", tagging(("c", "d")), sign="xfs")) == "AccessDenied"
    assert code(store.send("DELETE", "/box?tagging", sign="xfs")) == "AccessDenied"
    assert pairs(store.send("GET", "/box?tagging", sign="xfs")) == [("a", "b")]


@pytest.mark.parametrize("name", ["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"])
def test_ownership_is_kept_by_name(store, name):
    assert store.send("PUT", "/box?ownershipControls", owning(name)).status == 200
    assert f"<Rule><ObjectOwnership>{name}</ObjectOwnership></Rule>".encode() in store.send("GET", "/box?ownershipControls").body


def test_an_ownership_that_s3_does_not_know_is_malformed(store):
    rule = b"<Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule>"
    for body in (owning("Mine"), b"<OwnershipControls/>", b"<OwnershipControls>" + rule * 2 + b"</OwnershipControls>"):
        assert code(store.send("PUT", "/box?ownershipControls", body)) == "MalformedXML"


def test_acls_are_not_switched_off_while_the_bucket_has_a_public_one(store):
    store.send("PUT", "/box?acl", headers={"x-amz-acl": "public-read"})
    answer = store.send("PUT", "/box?ownershipControls", owning("BucketOwnerEnforced"))
    assert (answer.status, code(answer)) == (400, "InvalidBucketAclWithObjectOwnership")
    assert store.send("PUT", "/box?ownershipControls", owning("BucketOwnerPreferred")).status == 200
    store.send("PUT", "/box?acl", headers={"x-amz-acl": "private"})
    assert store.send("PUT", "/box?ownershipControls", owning("BucketOwnerEnforced")).status == 200


@pytest.mark.parametrize("on", SWITCHES)
def test_each_switch_of_the_block_is_kept(store, on):
    assert store.send("PUT", "/box?publicAccessBlock", block(**dict.fromkeys(SWITCHES, "false") | {on: "true"})).status == 200
    assert switches(store.send("GET", "/box?publicAccessBlock")) == dict.fromkeys(SWITCHES, "false") | {on: "true"}


def test_a_switch_that_is_not_named_is_off_and_anything_but_true_or_false_is_malformed(store):
    assert store.send("PUT", "/box?publicAccessBlock", block(IgnorePublicAcls="TRUE")).status == 200
    assert switches(store.send("GET", "/box?publicAccessBlock")) == dict.fromkeys(SWITCHES, "false") | {"IgnorePublicAcls": "true"}
    assert code(store.send("PUT", "/box?publicAccessBlock", block(IgnorePublicAcls="yes"))) == "MalformedXML"
