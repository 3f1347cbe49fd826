"""How much is stored, asked for as Ceph's clients do."""

from defusedxml.ElementTree import fromstring

COUNT, USED, BUCKETS = "x-rgw-object-count", "x-rgw-bytes-used", "x-rgw-quota-max-buckets"


def test_a_bucket_tells_what_it_holds_to_those_who_ask(store):
    empty = store.send("HEAD", "/box?read-stats=true").headers
    assert (empty[COUNT], empty[USED], empty[BUCKETS]) == ("0", "0", "1000")
    for key in ("foo", "bar", "baz"):
        store.send("PUT", f"/box/{key}", b"123")
    store.send("DELETE", "/box/baz")
    full = store.send("HEAD", "/box?read-stats=true").headers
    assert (full[COUNT], full[USED]) == ("2", "6")
    for target in ("/box", "/box?read-stats=false", "/box?read-stats"):
        answer = store.send("HEAD", target)
        assert (answer.status, COUNT in answer.headers) == (200, False)
    assert store.send("HEAD", "/nobodys?read-stats=true").status == 404


def test_quotas_are_told_to_the_owner_alone(store):
    store.send("PUT", "/box?acl", headers={"x-amz-acl": "public-read"})
    answer = store.send("HEAD", "/box?read-stats=true", sign="none")
    assert (answer.status, answer.headers[COUNT], BUCKETS in answer.headers) == (200, "0", False)


def test_the_account_tells_what_all_buckets_hold(store):
    store.make_bucket("other")
    store.send("PUT", "/box/a", b"12345")
    store.send("PUT", "/other/a", b"1234567")
    answer = store.send("GET", "/?usage")
    root = fromstring(answer.body)
    assert (answer.status, answer.headers["content-type"], root.tag) == (200, "application/xml", "Usage")
    assert (root.findtext("Summary/TotalBytes"), root.findtext("Summary/TotalEntries")) == ("12", "2")
    buckets = [(entry.findtext("Bucket"), entry.findtext("Bytes")) for entry in root.iter("Entry")]
    assert buckets == [("box", "5"), ("other", "7")]


def test_what_is_stored_is_told_to_nobody_else(store):
    assert store.send("GET", "/?usage", sign="none").status == 403
    assert store.send("HEAD", "/box?read-stats=true", sign="none").status == 403
