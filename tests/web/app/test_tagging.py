"""Tags of objects against the real engine."""

import pytest
from defusedxml.ElementTree import fromstring

from fasterstore.s3.tags import render_tagging


def code_of(answer) -> str:
    return answer.body.split(b"<Code>")[1].split(b"</Code>")[0].decode()


def tags(store, target="/box/k") -> dict[str, str]:
    answer = store.send("GET", f"{target}?tagging")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/xml")
    root = fromstring(answer.body)
    assert root.tag.endswith("}Tagging")
    return {tag[0].text: tag[1].text or "" for tag in root[0]}


def put(store, tag_set, target="/box/k", **options):
    return store.send("PUT", f"{target}?tagging", render_tagging(tag_set), **options)


def test_a_set_takes_the_place_of_the_one_before(store):
    store.send("PUT", "/box/k", b"body", {"x-amz-tagging": "a=1&b=%C3%A4"})
    assert tags(store) == {"a": "1", "b": "ä"}
    before = store.send("HEAD", "/box/k").headers
    assert put(store, {"c": "3"}).status == 200
    assert tags(store) == {"c": "3"}
    after = store.send("HEAD", "/box/k").headers
    assert [after[name] for name in ("etag", "last-modified")] == [before[name] for name in ("etag", "last-modified")]
    assert after["x-amz-tagging-count"] == "1"
    assert put(store, {}).status == 200
    assert tags(store) == {}


def test_tags_are_deleted_and_none_are_an_empty_set(store):
    store.send("PUT", "/box/k", b"body", {"x-amz-tagging": "a=1"})
    answer = store.send("DELETE", "/box/k?tagging")
    assert (answer.status, answer.body) == (204, b"")
    assert tags(store) == {}
    assert store.send("GET", "/box/k").body == b"body"
    assert store.send("DELETE", "/box/k?tagging").status == 204


def test_a_put_without_tags_has_none(store):
    store.send("PUT", "/box/k", b"body", {"x-amz-tagging": "a=1"})
    store.send("PUT", "/box/k", b"body")
    assert tags(store) == {}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MalformedXML"),
        (b"<Tagging/>", "MalformedXML"),
        (render_tagging({str(number): "" for number in range(11)}), "InvalidTag"),
        (render_tagging({"k" * 129: ""}), "InvalidTag"),
        (render_tagging({"k": "v" * 257}), "InvalidTag"),
        (render_tagging({"aws:k": "v"}), "InvalidTag"),
        (b"<Tagging><TagSet>" + b"<Tag><Key>k</Key><Value>v</Value></Tag>" * 2 + b"</TagSet></Tagging>", "InvalidTag"),
    ],
)
def test_a_set_that_is_refused_changes_nothing(store, body, code):
    store.send("PUT", "/box/k", b"body", {"x-amz-tagging": "kept=1"})
    answer = store.send("PUT", "/box/k?tagging", body)
    assert (answer.status, code_of(answer)) == (400, code)
    assert tags(store) == {"kept": "1"}


def test_the_body_is_verified(store):
    store.send("PUT", "/box/k", b"body")
    answer = put(store, {"a": "1"}, headers={"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="})
    assert code_of(answer) == "BadDigest"
    assert tags(store) == {}


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
@pytest.mark.parametrize(
    ("target", "status", "code"),
    [
        ("/box/missing", 404, "NoSuchKey"),
        ("/nowhere/k", 404, "NoSuchBucket"),
        ("/box/k", 400, "InvalidArgument"),
    ],
)
def test_what_is_not_there_has_no_tags(store, method, target, status, code):
    store.send("PUT", "/box/k", b"body")
    version = "&versionId=1" if status == 400 else ""
    answer = store.send(method, f"{target}?tagging{version}", render_tagging({}) if method == "PUT" else b"")
    assert (answer.status, code_of(answer)) == (status, code)
