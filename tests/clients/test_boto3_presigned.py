"""What boto3 signs for others: URLs for GET and PUT, and the fields of a browser's form."""

import os

import pytest
import requests


def test_presigned_urls(s3v4, bucket):
    put = s3v4.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "a b/\u00fc", "ContentType": "text/css"}, ExpiresIn=60)
    assert requests.put(put, data=b"body", headers={"content-type": "text/css"}, timeout=30).status_code == 200
    get = s3v4.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "a b/\u00fc", "ResponseContentType": "text/html"})
    answer = requests.get(get, timeout=30)
    assert (answer.content, answer.headers["content-type"]) == (b"body", "text/html")
    assert requests.get(get, headers={"Range": "bytes=1-2"}, timeout=30).content == b"od"
    assert requests.get(get[:-1] + ("0" if get[-1] != "0" else "1"), timeout=30).status_code == 403
    assert requests.put(get, data=b"other", timeout=30).status_code == 403
    head = s3v4.generate_presigned_url("head_object", Params={"Bucket": bucket, "Key": "a b/\u00fc"})
    assert requests.head(head, timeout=30).headers["content-length"] == "4"
    listing = s3v4.generate_presigned_url("list_objects_v2", Params={"Bucket": bucket, "Prefix": "a"})
    assert b"<KeyCount>1</KeyCount>" in requests.get(listing, timeout=30).content
    delete = s3v4.generate_presigned_url("delete_object", Params={"Bucket": bucket, "Key": "a b/\u00fc"})
    assert requests.delete(delete, timeout=30).status_code == 204
    assert requests.get(get, timeout=30).status_code == 404


@pytest.mark.parametrize("size_bytes", [0, 5, 3_000_000])
def test_a_browser_form_uploads_a_file(s3v4, bucket, size_bytes):
    body = os.urandom(size_bytes)
    form = s3v4.generate_presigned_post(
        bucket,
        "incoming/${filename}",
        Fields={"Content-Type": "text/plain", "x-amz-meta-colour": "red", "success_action_status": "201"},
        Conditions=[
            {"Content-Type": "text/plain"},
            {"x-amz-meta-colour": "red"},
            {"success_action_status": "201"},
            ["content-length-range", 0, 4_000_000],
        ],
        ExpiresIn=60,
    )
    answer = requests.post(form["url"], data=form["fields"], files={"file": ("photo 1.txt", body)}, timeout=60)
    assert answer.status_code == 201, answer.text
    assert "<Key>incoming/photo 1.txt</Key>" in answer.text
    got = s3v4.get_object(Bucket=bucket, Key="incoming/photo 1.txt")
    assert (got["Body"].read(), got["ContentType"], got["Metadata"]) == (body, "text/plain", {"colour": "red"})


def test_a_form_that_breaks_its_policy_is_refused(s3v4, bucket):
    form = s3v4.generate_presigned_post(bucket, "key", Conditions=[["content-length-range", 1, 10]], ExpiresIn=60)

    def send(body, **fields):
        return requests.post(form["url"], data={**form["fields"], **fields}, files={"file": ("name", body)}, timeout=30)

    too_large = send(b"x" * 11)
    assert (too_large.status_code, b"<Code>EntityTooLarge</Code>" in too_large.content) == (400, True)
    assert send(b"").status_code == 400
    assert send(b"five!", key="other").status_code == 403
    assert send(b"five!", acl="public-read").status_code == 403
    assert send(b"five!", **{"x-amz-signature": "0" * 64}).status_code == 403
    assert s3v4.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    assert send(b"five!").status_code == 204
    assert s3v4.get_object(Bucket=bucket, Key="key")["Body"].read() == b"five!"


def test_a_form_may_name_where_the_browser_goes_next(s3v4, bucket):
    form = s3v4.generate_presigned_post(
        bucket,
        "key",
        Fields={"success_action_redirect": "http://127.0.0.1/done?from=form"},
        Conditions=[["starts-with", "$success_action_redirect", "http://127.0.0.1/"]],
    )
    answer = requests.post(form["url"], data=form["fields"], files={"file": b"body"}, timeout=30, allow_redirects=False)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith(f"http://127.0.0.1/done?from=form&bucket={bucket}&key=key&etag=")
