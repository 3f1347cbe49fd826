"""Tags of objects over HTTP: as a header of a PUT, as a document, on copies, for every worker at once."""

import pytest
from defusedxml.ElementTree import fromstring

from fasterstore.s3.tags import render_tagging
from tests.refusal import assert_refused

TAGGING = [("tagging", "")]


def tags(client, bucket, key="key") -> dict[str, str]:
    answer = client.request("GET", bucket, key, TAGGING)
    assert answer.status_code == 200, answer.content
    return {tag[0].text: tag[1].text or "" for tag in fromstring(answer.content)[0]}


@pytest.mark.parametrize("size_bytes", [0, 10, 400_000], ids=["empty", "message", "streamed"])
def test_tags_come_with_the_object_and_can_be_changed(node, client, bucket, size_bytes):
    client.put(bucket, "key", bytes(size_bytes), {"x-amz-tagging": "colour=gr%C3%BCn&empty"})
    assert tags(client, bucket) == {"colour": "grün", "empty": ""}
    assert client.head(bucket, "key").headers["x-amz-tagging-count"] == "2"
    assert client.request("PUT", bucket, "key", TAGGING, body=render_tagging({"a": "1"})).status_code == 200
    for _ in range(4):
        with node.client() as other:
            assert tags(other, bucket) == {"a": "1"}
    assert client.request("DELETE", bucket, "key", TAGGING).status_code == 204
    assert tags(client, bucket) == {}
    assert "x-amz-tagging-count" not in client.head(bucket, "key").headers
    assert len(client.get(bucket, "key").content) == size_bytes


def test_a_directive_says_whose_tags_a_copy_has(client, bucket):
    client.put(bucket, "key", b"body", {"x-amz-tagging": "a=1"})
    source = {"x-amz-copy-source": f"{bucket}/key"}
    client.request("PUT", bucket, "same", headers={**source, "x-amz-tagging": "ignored=1"})
    client.request("PUT", bucket, "other", headers={**source, "x-amz-tagging-directive": "REPLACE", "x-amz-tagging": "b=2"})
    assert (tags(client, bucket, "same"), tags(client, bucket, "other")) == ({"a": "1"}, {"b": "2"})


def test_limits(client, bucket):
    client.put(bucket, "key", b"body")
    for tag_set in ({str(number): "" for number in range(11)}, {"k" * 129: ""}, {"k": "v" * 257}, {"aws:k": ""}):
        assert_refused(client.request("PUT", bucket, "key", TAGGING, body=render_tagging(tag_set)), 400, "InvalidTag")
    assert_refused(client.request("PUT", bucket, "key", TAGGING, body=b"<Tagging/>"), 400, "MalformedXML")
    assert_refused(client.request("GET", bucket, "missing", TAGGING), 404, "NoSuchKey")
    assert tags(client, bucket) == {}
