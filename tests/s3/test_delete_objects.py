"""DeleteObjects over HTTP: 1,000 keys at once, quiet, conditions, and lists that are none."""

from base64 import b64encode
from hashlib import md5

from defusedxml.ElementTree import fromstring

from fasterstore.digests import checksum_base64
from tests.refusal import assert_refused


def delete(client, bucket, body, headers=None):
    digest = {"content-md5": b64encode(md5(body).digest()).decode()}
    return client.request("POST", bucket, query=[("delete", "")], headers=digest if headers is None else headers, body=body)


def document(*objects: str, quiet: bool = False) -> bytes:
    mode = "<Quiet>true</Quiet>" if quiet else ""
    return f"<Delete>{mode}{''.join(f'<Object>{fields}</Object>' for fields in objects)}</Delete>".encode()


def told(answer) -> list[tuple[str, str]]:
    assert answer.status_code == 200, answer.content
    found = []
    for child in fromstring(answer.content):
        fields = {field.tag.rpartition("}")[2]: field.text for field in child}
        found.append((fields["Key"], fields.get("Code", "")))
    return found


def test_a_thousand_keys_go_in_one_request(node, client, bucket):
    for number in range(40):
        client.put(bucket, f"key-{number:03d}", b"x")
    client.put(bucket, "kept", b"x")
    names = [f"key-{number:03d}" for number in range(1000)]
    body = document(*(f"<Key>{name}</Key>" for name in names))
    headers = {"x-amz-checksum-crc32": checksum_base64("CRC32", body)}
    assert told(delete(client, bucket, body, headers)) == [(name, "") for name in names]
    assert node.usage(bucket) == (1, 1)
    assert told(delete(client, bucket, document("<Key>kept</Key>", quiet=True))) == []
    assert node.usage(bucket) == (0, 0)


def test_conditions_and_versions_are_judged_for_each_key(client, bucket):
    etag = client.put(bucket, "a", b"body").headers["etag"]
    client.put(bucket, "b", b"body")
    body = document(
        "<Key>a</Key><ETag>other</ETag>", "<Key>b</Key><Size>5</Size>", "<Key>b</Key><VersionId>1</VersionId>",
        f"<Key>a</Key><ETag>{etag}</ETag>", quiet=True,
    )  # fmt: skip
    assert told(delete(client, bucket, body)) == [("a", "PreconditionFailed"), ("b", "PreconditionFailed"), ("b", "NoSuchVersion")]
    assert_refused(client.request("GET", bucket, "a"), 404, "NoSuchKey")
    assert client.get(bucket, "b").content == b"body"


def test_what_is_no_list_deletes_nothing(client, bucket):
    client.put(bucket, "a", b"x")
    assert_refused(delete(client, bucket, b"<Delete>"), 400, "MalformedXML")
    assert_refused(delete(client, bucket, document(*["<Key>a</Key>"] * 1001)), 400, "MalformedXML")
    assert_refused(delete(client, bucket, document("<Key>a</Key>"), {}), 400, "InvalidRequest")
    assert_refused(delete(client, bucket, document("<Key>a</Key>"), {"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}), 400, "BadDigest")
    assert_refused(delete(client, "no-such-bucket", document("<Key>a</Key>")), 404, "NoSuchBucket")
    assert client.get(bucket, "a").content == b"x"
