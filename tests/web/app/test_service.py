"""ListBuckets: its pages and what it refuses."""

import re

import pytest
from defusedxml.ElementTree import fromstring


def names(answer):
    return re.findall(r"<Name>([^<]*)</Name>", answer.body.decode())


def token(answer):
    found = re.search(r"<ContinuationToken>([^<]*)<", answer.body.decode())
    return found[1] if found else None


def test_pages_of_every_size_hold_every_bucket_once(store):
    made = ["box", *(f"page-{number}" for number in range(5))]
    for name in made[1:]:
        store.make_bucket(name)
    for size in (1, 2, 5, 6, 10_000):
        found, after = [], ""
        while after is not None:
            answer = store.send("GET", f"/?max-buckets={size}&continuation-token={after}")
            found += names(answer)
            after = token(answer)
        assert found == made


def test_a_prefix_and_a_page_go_together(store):
    for name in ("aaa", "page-1", "page-2", "page-3", "zzz"):
        store.make_bucket(name)
    first = store.send("GET", "/?prefix=page-&max-buckets=2")
    assert (names(first), b"<Prefix>page-</Prefix>" in first.body) == (["page-1", "page-2"], True)
    last = store.send("GET", f"/?prefix=page-&max-buckets=2&continuation-token={token(first)}")
    assert (names(last), token(last)) == (["page-3"], None)
    assert token(store.send("GET", "/?prefix=page-&max-buckets=3")) is None
    assert names(store.send("GET", "/?prefix=nothing")) == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("max-buckets=0", "Argument max-buckets must be an integer between 1 and 10000"),
        ("max-buckets=10001", "Argument max-buckets must be an integer between 1 and 10000"),
        ("max-buckets=-1", "Argument max-buckets must be an integer between 1 and 10000"),
        ("max-buckets=x", "Provided max-buckets not an integer or within integer range"),
        ("continuation-token=garbage", "The continuation token provided is incorrect"),
    ],
)
def test_a_wrong_parameter_is_refused_in_s3s_words(store, query, said):
    answer = store.send("GET", f"/?{query}")
    root = fromstring(answer.body)
    assert (answer.status, root.findtext("Code"), root.findtext("Message")) == (400, "InvalidArgument", said)


def test_another_region_is_refused_once_the_region_is_set(store, new_store):
    assert names(store.send("GET", "/?bucket-region=eu-west-1")) == ["box"]
    strict = new_store(FS_REGION="eu-west-1")
    strict.make_bucket("only")
    strict.credentials = strict.credentials._replace(region="eu-west-1")
    assert names(strict.send("GET", "/?bucket-region=eu-west-1")) == ["only"]
    assert names(strict.send("GET", "/?max-buckets=")) == ["only"]
    answer = strict.send("GET", "/?bucket-region=us-west-2")
    assert (answer.status, b"corresponding regional endpoint" in answer.body) == (400, True)
