"""Buckets: create, head, delete, list, and the names they may have (S3 user guide, "General purpose bucket naming rules")."""

import pytest
from defusedxml.ElementTree import fromstring

from fasterstore.s3.actions import ACTIONS, BUCKET
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
        "dot.-dash",
        "dash-.dot",
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


@pytest.mark.parametrize("subresource", sorted({action.subresource for action in ACTIONS.values() if action.resource == BUCKET} - {""}))
def test_no_request_for_a_subresource_is_taken_for_one_for_the_bucket(client, bucket, subresource):
    client.put(bucket, "key", b"body")
    for method in ("PUT", "POST", "DELETE", "GET", "HEAD"):
        answer = client.request(method, bucket, query=[(subresource, "")])
        assert answer.status_code in (200, 204, 400, 404, 405, 501), (method, answer.content)
        assert answer.status_code != 409, (method, answer.content)
    assert client.get(bucket, "key").content == b"body"
    assert client.list_buckets().count(bucket) == 1


TERRAFORM_READS = {
    "accelerate": 200,
    "acl": 200,
    "cors": 404,
    "encryption": 404,
    "lifecycle": 404,
    "logging": 200,
    "object-lock": 404,
    "ownershipControls": 404,
    "policy": 404,
    "publicAccessBlock": 404,
    "replication": 404,
    "requestPayment": 200,
    "tagging": 404,
    "versioning": 200,
    "website": 404,
}
"""What terraform's AWS provider asks of a new bucket, and the answers by which it knows that nothing is configured."""


def test_the_settings_that_terraform_reads_are_answered_as_not_configured(client, bucket):
    answered = {name: client.request("GET", bucket, query=[(name, "")]) for name in TERRAFORM_READS}
    assert {name: answer.status_code for name, answer in answered.items()} == TERRAFORM_READS
    for answer in answered.values():
        root = fromstring(answer.content)
        assert root.tag == "Error" if answer.status_code == 404 else root.tag.startswith(S3)


def test_a_bucket_keeps_its_settings_over_a_restart(start_node):
    node = start_node(workers=2)
    cors = b"<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>"
    tags = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
    with node.client() as client:
        client.request("PUT", "kept", headers={"x-amz-acl": "public-read", "x-amz-object-ownership": "ObjectWriter"})
        assert client.request("PUT", "kept", query=[("cors", "")], body=cors).status_code == 200
        assert client.request("PUT", "kept", query=[("tagging", "")], body=tags).status_code == 204
        names = ("acl", "cors", "tagging", "ownershipControls")
        before = {name: client.request("GET", "kept", query=[(name, "")]).content for name in names}
    node.stop()
    node.start()
    with node.client() as client:
        after = {name: client.request("GET", "kept", query=[(name, "")]) for name in names}
    assert {name: answer.content for name, answer in after.items()} == before
    assert {answer.status_code for answer in after.values()} == {200}


def test_a_bucket_that_another_owner_is_expected_of_is_refused(client, bucket):
    owner = fromstring(client.request("GET").content).findtext(f"{S3}Owner/{S3}ID")
    assert client.request("HEAD", bucket, headers={"x-amz-expected-bucket-owner": owner}).status_code == 200
    for method in ("GET", "DELETE"):
        assert_refused(client.request(method, bucket, headers={"x-amz-expected-bucket-owner": "111122223333"}), 403, "AccessDenied")
    assert client.head(bucket).status_code == 200
