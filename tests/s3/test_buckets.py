"""Buckets: create, head, delete, list, and the names they may have (S3 user guide, "General purpose bucket naming rules")."""

import pytest
from defusedxml.ElementTree import fromstring

from tests.refusal import assert_refused, assert_refused_head

S3 = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def test_a_bucket_is_created_seen_and_deleted(node, client):
    created = client.create_bucket("life-of-one")
    assert created.headers["location"] == "/life-of-one"
    assert client.head("life-of-one").headers["x-amz-bucket-region"] == "us-east-1"
    assert "life-of-one" in client.list_buckets()
    deleted = client.request("DELETE", "life-of-one")
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert_refused_head(client.request("HEAD", "life-of-one"), 404)
    assert_refused(client.request("DELETE", "life-of-one"), 404, "NoSuchBucket")
    assert "life-of-one" not in client.list_buckets()
    assert node.usage("life-of-one") == (0, 0)


def test_a_trailing_slash_still_means_the_bucket(client):
    assert client.send("PUT", "/with-slash/").status_code == 200
    assert client.send("HEAD", "/with-slash/").status_code == 200
    assert client.send("DELETE", "/with-slash/").status_code == 204


def test_creating_ones_own_bucket_again_is_refused(client, bucket):
    client.put(bucket, "key", b"body")
    assert_refused(client.request("PUT", bucket), 409, "BucketAlreadyOwnedByYou")
    assert client.get(bucket, "key").content == b"body"


def test_a_bucket_that_holds_an_object_is_not_deleted(client, bucket):
    client.put(bucket, "key", b"body")
    assert_refused(client.request("DELETE", bucket), 409, "BucketNotEmpty")
    assert client.get(bucket, "key").content == b"body"
    client.delete(bucket, "key")
    client.delete_bucket(bucket)


def test_a_new_bucket_of_an_old_name_is_empty(client):
    client.create_bucket("phoenix")
    client.put("phoenix", "key", b"body")
    client.delete("phoenix", "key")
    client.delete_bucket("phoenix")
    client.create_bucket("phoenix")
    assert_refused(client.request("GET", "phoenix", "key"), 404, "NoSuchKey")
    client.delete_bucket("phoenix")


@pytest.mark.parametrize(
    "name",
    [
        "ab",
        "a" * 64,
        "Upper",
        "under_score",
        "-dash",
        "dash-",
        ".dot",
        "two..dots",
        "192.168.0.1",
        "xn--bucket",
        "sthree-bucket",
        "bucket-s3alias",
        "bucket--ol-s3",
        "sp ace",
        "b\u00fccket",
        "bucket.mrap",
    ],
)
def test_a_name_that_s3_forbids_is_refused(client, name):
    assert assert_refused(client.request("PUT", name), 400, "InvalidBucketName")["BucketName"] == name


@pytest.mark.parametrize("name", ["abc", "a" * 63, "a.b-c.d", "123", "1.2.3"])
def test_a_name_that_s3_allows_is_taken(client, name):
    client.create_bucket(name)
    client.delete_bucket(name)


def test_the_list_is_sorted_complete_and_paged(client):
    names = sorted(f"paged-{letter}" for letter in "edcba")
    for name in reversed(names):
        client.create_bucket(name)
    assert [name for name in client.list_buckets() if name.startswith("paged-")] == names
    found, token = [], None
    while True:
        query = [("prefix", "paged-"), ("max-buckets", "2")] + ([("continuation-token", token)] if token else [])
        root = fromstring(client.request("GET", query=query).content)
        page = [element.text for element in root.iter(f"{S3}Name")]
        assert len(page) <= 2
        found += page
        token = root.findtext(f"{S3}ContinuationToken")
        if not token:
            break
    assert found == names
    assert root.findtext(f"{S3}Owner/{S3}ID") == "000000000000"
    for name in names:
        client.delete_bucket(name)


def test_a_location_constraint_is_read(client):
    document = b'<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>'
    assert client.request("PUT", "located", body=document).status_code == 200
    client.delete_bucket("located")
    for body in (b"<CreateBucketConfiguration><LocationConstraint>", b"<Other/>", b"no xml"):
        assert_refused(client.request("PUT", "located", body=body), 400, "MalformedXML")
    assert "located" not in client.list_buckets()


def test_an_entity_bomb_is_refused(client):
    document = (
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><CreateBucketConfiguration>&b;</CreateBucketConfiguration>'
    )
    assert_refused(client.request("PUT", "bomb", body=document), 400, "MalformedXML")


@pytest.mark.parametrize("subresource", ["policy", "versioning", "lifecycle", "acl", "tagging", "website", "object-lock"])
def test_a_subresource_that_is_not_built_never_touches_the_bucket(client, bucket, subresource):
    for method in ("PUT", "DELETE", "GET"):
        answer = client.request(method, bucket, query=[(subresource, "")])
        assert (answer.status_code, answer.content[:1]) in ((501, b"<"), (405, b"<"))
    assert client.head(bucket).status_code == 200
