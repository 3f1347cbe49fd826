"""CreateBucket, HeadBucket, DeleteBucket, ListBuckets against the real engine."""

import re

import pytest


def names(answer):
    return re.findall(r"<Name>([^<]*)</Name>", answer.body.decode())


def test_a_bucket_is_made_seen_listed_and_removed(store):
    made = store.send("PUT", "/fresh")
    assert (made.status, made.headers["location"]) == (200, "/fresh")
    assert store.send("HEAD", "/fresh").headers["x-amz-bucket-region"] == "us-east-1"
    assert names(store.send("GET", "/")) == ["box", "fresh"]
    assert b"BucketAlreadyOwnedByYou" in store.send("PUT", "/fresh").body
    assert store.send("DELETE", "/fresh").status == 204
    assert store.send("HEAD", "/fresh").status == 404
    assert b"NoSuchBucket" in store.send("DELETE", "/fresh").body


def test_a_bucket_with_an_object_is_not_removed(store):
    store.send("PUT", "/box/k", b"x")
    answer = store.send("DELETE", "/box")
    assert (answer.status, b"BucketNotEmpty" in answer.body) == (409, True)
    assert store.send("GET", "/box/k").body == b"x"


@pytest.mark.parametrize("name", ["ab", "Upper", "a_b", "1.2.3.4", "healthz", "metrics", "readyz", "_admin"])
def test_a_name_that_no_bucket_may_have_is_refused(store, name):
    assert store.send("PUT", f"/{name}").status in (400, 403, 501)
    assert names(store.send("GET", "/")) == ["box"]


def test_the_location_constraint_is_read_and_verified(store, new_store):
    body = b'<CreateBucketConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    body += b"<LocationConstraint>eu-west-1</LocationConstraint></CreateBucketConfiguration>"
    assert store.send("PUT", "/abroad", body).status == 200
    assert b"MalformedXML" in store.send("PUT", "/broken", b"<no").body
    assert b"XAmzContentSHA256Mismatch" in store.send("PUT", "/forged", body, payload="0" * 64).body
    strict = new_store(FS_REGION="us-east-1")
    assert b"IllegalLocationConstraintException" in strict.send("PUT", "/abroad", body).body


def test_the_location_of_a_bucket_is_the_region(store):
    answer = store.send("GET", "/box?location")
    assert (answer.status, b"LocationConstraint" in answer.body, b"us-east-1" in answer.body) == (200, True, False)
    assert b"NoSuchBucket" in store.send("GET", "/nobodys-bucket?location=").body


def test_buckets_are_listed_in_pages(store):
    for number in range(5):
        store.make_bucket(f"page-{number}")
    first = store.send("GET", "/?prefix=page-&max-buckets=2")
    token = re.search(r"<ContinuationToken>([^<]*)<", first.body.decode())[1]
    second = store.send("GET", f"/?prefix=page-&max-buckets=3&continuation-token={token.replace('=', '%3D')}")
    assert names(first) + names(second) == [f"page-{number}" for number in range(5)]
    assert b"ContinuationToken" not in second.body
    assert store.send("GET", "/?max-buckets=0").status == 400
    assert store.send("GET", "/?continuation-token=%21").status == 400
