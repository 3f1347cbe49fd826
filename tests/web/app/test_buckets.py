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


def code_of(answer):
    return answer.status, answer.body.decode().partition("<Code>")[2].partition("<")[0]


def test_creating_a_bucket_again_changes_none_of_its_settings(store):
    for headers in ({"x-amz-acl": "public-read"}, {"x-amz-object-ownership": "ObjectWriter"}):
        assert store.send("PUT", "/box", headers=headers).status == 409
    assert b"AllUsers" not in store.send("GET", "/box?acl").body
    assert b"OwnershipControlsNotFoundError" in store.send("GET", "/box?ownershipControls").body


@pytest.mark.parametrize(
    ("first", "again", "code"),
    [
        (None, None, "BucketAlreadyOwnedByYou"),
        (None, "private", "BucketAlreadyOwnedByYou"),
        ("private", None, "BucketAlreadyOwnedByYou"),
        ("public-read", "public-read", "BucketAlreadyOwnedByYou"),
        (None, "public-read", "BucketAlreadyExists"),
        ("public-read", None, "BucketAlreadyExists"),
        ("public-read", "authenticated-read", "BucketAlreadyExists"),
    ],
)
def test_a_bucket_with_another_acl_is_not_the_one_that_was_asked_for(store, first, again, code):
    def create(acl):
        return store.send("PUT", "/acl-box", headers={} if acl is None else {"x-amz-acl": acl, "x-amz-object-ownership": "ObjectWriter"})

    assert create(first).status == 200
    before = store.send("GET", "/acl-box?acl").body
    assert code_of(create(again)) == (409, code)
    assert store.send("GET", "/acl-box?acl").body == before


@pytest.mark.parametrize("asked", [b"<Bucket><Type>Directory</Type></Bucket>", b"<Unknown/>"])
def test_a_configuration_that_is_not_understood_makes_no_bucket(store, asked):
    body = b"<CreateBucketConfiguration>" + asked + b"</CreateBucketConfiguration>"
    assert store.send("PUT", "/never-made", body).status in (400, 501)
    assert names(store.send("GET", "/")) == ["box"]


def test_another_owner_is_expected_in_vain(store):
    assert store.send("HEAD", "/box", headers={"x-amz-expected-bucket-owner": "000000000000"}).status == 200
    for method, target in (("HEAD", "/box"), ("DELETE", "/box"), ("GET", "/box?versioning"), ("PUT", "/box/k")):
        assert store.send(method, target, headers={"x-amz-expected-bucket-owner": "111122223333"}).status == 403
    assert names(store.send("GET", "/")) == ["box"]
