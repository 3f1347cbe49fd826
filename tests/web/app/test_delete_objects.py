"""DeleteObjects against the real engine."""

from base64 import b64encode
from hashlib import md5

import pytest
from defusedxml.ElementTree import fromstring

from fasterstore.digests import checksum_base64
from fasterstore.s3.xml_text import escape
from web.body import DOCUMENT_MAX_BYTES

NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


def document(*keys, quiet=None) -> bytes:
    """A Delete document; each key is a name or a dict of its elements."""
    parts = []
    for key in keys:
        fields = key if isinstance(key, dict) else {"Key": key}
        parts.append(f"<Object>{''.join(f'<{name}>{escape(value)}</{name}>' for name, value in fields.items())}</Object>")
    mode = "" if quiet is None else f"<Quiet>{quiet}</Quiet>"
    return f"<Delete>{mode}{''.join(parts)}</Delete>".encode()


def digest(body: bytes) -> dict[str, str]:
    return {"content-md5": b64encode(md5(body).digest()).decode()}


def post(store, body, headers=None, **options):
    return store.send("POST", "/box?delete", body, digest(body) if headers is None else headers, **options)


def outcomes(answer) -> list[dict[str, str]]:
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == "application/xml"
    root = fromstring(answer.body)
    assert root.tag == f"{NAMESPACE}DeleteResult"
    found = []
    for child in root:
        fields = {field.tag.removeprefix(NAMESPACE): field.text or "" for field in child}
        fields.pop("Message", None)
        found.append({"": child.tag.removeprefix(NAMESPACE), **fields})
    return found


def code_of(answer) -> str:
    return answer.body.split(b"<Code>")[1].split(b"</Code>")[0].decode()


def test_keys_are_deleted_whether_or_not_they_are_there(store):
    for key in ("a", "b"):
        store.send("PUT", f"/box/{key}", b"x")
    found = outcomes(post(store, document("a", "missing", "b")))
    assert found == [{"": "Deleted", "Key": "a"}, {"": "Deleted", "Key": "missing"}, {"": "Deleted", "Key": "b"}]
    assert {store.send("HEAD", f"/box/{key}").status for key in ("a", "b")} == {404}


def test_a_thousand_keys_are_deleted_and_quietly_nothing_is_told(store):
    for number in range(0, 1000, 7):
        store.send("PUT", f"/box/{number}", b"")
    store.send("PUT", "/box/kept", b"")
    answer = post(store, document(*map(str, range(1000)), quiet="true"))
    assert outcomes(answer) == []
    index = store.worker.index
    assert [key for key, _ in index.objects_from(index.bucket("box").bucket_id, b"", 10)] == [b"kept"]


def test_long_odd_keys_fit_and_come_back(store):
    keys = [f"{number:04d}<&>\r{'ä' * 500}" for number in range(1000)]
    body = document(*keys)
    assert len(body) > 1 << 20
    assert [outcome["Key"] for outcome in outcomes(post(store, body))] == keys


@pytest.mark.parametrize(
    ("condition", "code"),
    [
        ({"ETag": "<etag>"}, ""),
        ({"ETag": "*"}, ""),
        ({"ETag": "other"}, "PreconditionFailed"),
        ({"Size": "4"}, ""),
        ({"Size": "5"}, "PreconditionFailed"),
        ({"LastModifiedTime": "<now>"}, ""),
        ({"LastModifiedTime": "2015-01-01T00:00:00Z"}, "PreconditionFailed"),
        ({"VersionId": "null"}, ""),
        ({"VersionId": ""}, ""),
        ({"VersionId": "a" * 32}, "NoSuchVersion"),
        ({"VersionId": "1"}, "NoSuchVersion"),
    ],
)
def test_each_key_has_conditions_of_its_own(store, condition, code):
    etag = store.send("PUT", "/box/a", b"body").headers["etag"]
    store.send("PUT", "/box/b", b"body")
    modified = store.send("HEAD", "/box/a").headers["last-modified"]
    asked = {name: {"<etag>": etag, "<now>": modified}.get(text, text) for name, text in condition.items()}
    first, second = outcomes(post(store, document({"Key": "a", **asked}, "b")))
    assert second == {"": "Deleted", "Key": "b"}
    assert first.get("Code", "") == code
    assert first.get("VersionId", "") == condition.get("VersionId", "")
    assert store.send("HEAD", "/box/a").status == (200 if code else 404)


def test_a_condition_on_a_key_that_is_not_there(store):
    found = outcomes(post(store, document({"Key": "a", "ETag": "x"}, {"Key": "b", "Size": "1"})))
    assert found == [{"": "Deleted", "Key": "a"}, {"": "Deleted", "Key": "b"}]


def test_a_key_that_is_too_long_refuses_no_other(store):
    store.send("PUT", "/box/a", b"x")
    found = outcomes(post(store, document("k" * 1025, "a")))
    assert [outcome.get("Code", "") for outcome in found] == ["KeyTooLongError", ""]
    assert store.send("HEAD", "/box/a").status == 404


@pytest.mark.parametrize("body", [b"", b"nonsense", b"<Delete/>", document(*map(str, range(1001)))])
def test_what_is_no_list_deletes_nothing(store, body):
    store.send("PUT", "/box/1", b"x")
    answer = post(store, body)
    assert (answer.status, code_of(answer)) == (400, "MalformedXML")
    assert store.send("HEAD", "/box/1").status == 200


def test_a_list_over_2_mib_is_refused(store):
    answer = post(store, document("a" * (2 << 20)))
    assert (answer.status, code_of(answer)) == (400, "MaxMessageLengthExceeded")


def test_a_digest_of_the_list_is_required_and_verified(store):
    store.send("PUT", "/box/a", b"x")
    body = document("a")
    answer = post(store, body, {})
    assert (answer.status, code_of(answer)) == (400, "InvalidRequest")
    assert b"Content-MD5 OR x-amz-checksum-*" in answer.body
    for wrong in (digest(b"other"), {"x-amz-checksum-crc32": "AAAAAA=="}):
        assert code_of(post(store, body, wrong)) == "BadDigest"
    assert store.send("HEAD", "/box/a").status == 200
    assert post(store, body, {"x-amz-checksum-sha256": checksum_base64("SHA256", body)}).status == 200
    assert store.send("HEAD", "/box/a").status == 404


def test_a_long_list_is_verified_and_parsed_like_a_short_one(store):
    """In native threads, out of the way of other requests."""
    store.send("PUT", "/box/a", b"x")
    body = document(*(f"{number:0500}" for number in range(999)), "a")
    assert len(body) > DOCUMENT_MAX_BYTES
    for wrong in (digest(b"other"), {"x-amz-checksum-crc32": "AAAAAA=="}):
        assert code_of(post(store, body, wrong)) == "BadDigest"
    assert code_of(post(store, body[:-1])) == "MalformedXML"
    assert store.send("HEAD", "/box/a").status == 200
    assert len(outcomes(post(store, body))) == 1000
    assert store.send("HEAD", "/box/a").status == 404


def test_a_bucket_that_is_not_there_is_refused(store):
    body = document("a")
    assert code_of(store.send("POST", "/nowhere?delete", body, digest(body))) == "NoSuchBucket"


def test_nothing_is_deleted_while_writes_are_refused(store):
    store.send("PUT", "/box/a", b"x")
    store.worker.read_only = "a failed fsync"
    assert post(store, document("a")).status == 503
    store.worker.read_only = ""
    assert store.send("HEAD", "/box/a").status == 200


def test_slices_after_one_that_could_not_be_judged_are_told_as_errors(store, monkeypatch):
    from fasterstore.s3.errors import from_store

    for number in range(300):
        store.send("PUT", f"/box/{number:03d}", b"")
    worker_type, asked = type(store.worker), []

    def ask(worker, actor, message, too_late=None):
        asked.append(len(message.intents))
        if len(asked) == 2:
            raise from_store("OutcomeUnknown")
        return original(worker, actor, message, too_late)

    original = worker_type.ask
    monkeypatch.setattr(worker_type, "ask", ask)
    answer = post(store, document(*(f"{number:03d}" for number in range(300))))
    monkeypatch.undo()
    assert asked == [128, 128]
    assert [outcome.get("Code", "") for outcome in outcomes(answer)] == [""] * 128 + ["ServiceUnavailable"] * 172
    assert [store.send("HEAD", f"/box/{number:03d}").status for number in (0, 127, 128, 299)] == [404, 404, 200, 200]
