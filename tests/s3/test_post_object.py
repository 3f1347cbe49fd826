"""Browser forms over HTTP: what boto3 presigns, what curl and requests send, and that nobody uploads without leave."""

import json
import os
import shutil
import subprocess
import time
from base64 import b64encode

import boto3
import pytest
import requests
from botocore.client import Config
from botocore.exceptions import ClientError
from defusedxml.ElementTree import fromstring

from tests.node import open_files
from tests.raw_connection import RawConnection, request_bytes
from tests.refusal import assert_refused

REDIRECT = "http://127.0.0.1:1/done"
TAGGING = "<Tagging><TagSet><Tag><Key>k</Key><Value>v w+=</Value></Tag></TagSet></Tagging>"


def boto(node):
    """A boto3 client that signs forms by version 4."""
    return boto3.client(
        "s3",
        endpoint_url=node.endpoint,
        aws_access_key_id=node.credentials.access_key,
        aws_secret_access_key=node.credentials.secret_key,
        region_name="us-east-1",
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, retries={"max_attempts": 0}),
    )


@pytest.fixture
def s3(node):
    """A boto3 client of the shared node."""
    return boto(node)


def post(form, file=b"bytes", filename="a.txt", **more):
    """Send a form as presigned by boto3."""
    return requests.post(form["url"], data={**form["fields"], **more}, files={"file": (filename, file)}, timeout=60, allow_redirects=False)


def test_what_boto3_presigns_is_uploaded(s3, bucket):
    fields = {"acl": "private", "Content-Type": "text/plain", "x-amz-meta-who": "me", "success_action_status": "201"}
    conditions = [{name: value} for name, value in fields.items()] + [["content-length-range", 1, 100]]
    form = s3.generate_presigned_post(bucket, "user/${filename}", fields, conditions, 600)
    answer = post(form, filename="ä b.txt")
    assert answer.status_code == 201, answer.content
    assert fromstring(answer.content).findtext("Key") == "user/ä b.txt"
    found = s3.get_object(Bucket=bucket, Key="user/ä b.txt")
    assert (found["Body"].read(), found["ContentType"], found["Metadata"]) == (b"bytes", "text/plain", {"who": "me"})
    assert found["ETag"] == answer.headers["etag"]
    assert_refused(post(form, b""), 400, "EntityTooSmall")
    assert_refused(post(form, b"x" * 101), 400, "EntityTooLarge")
    changed = {**form, "fields": form["fields"] | {"key": "other/key"}}
    assert "Policy Condition failed" in assert_refused(post(changed), 403, "AccessDenied")["Message"]
    assert_refused(post(form, **{"x-amz-meta-more": "1"}), 403, "AccessDenied")
    with pytest.raises(ClientError):
        s3.head_object(Bucket=bucket, Key="other/key")


@pytest.mark.parametrize("size_bytes", [0, 70_000, 5_000_000])
def test_files_of_every_size_arrive_whole(s3, bucket, size_bytes):
    file = os.urandom(size_bytes)
    assert post(s3.generate_presigned_post(bucket, "file", ExpiresIn=600), file).status_code == 204
    assert s3.get_object(Bucket=bucket, Key="file")["Body"].read() == file


def test_a_form_sends_its_user_on(s3, bucket):
    form = s3.generate_presigned_post(
        bucket, "a/b", {"success_action_redirect": REDIRECT}, [{"success_action_redirect": REDIRECT}], 600
    )  # fmt: skip
    answer = post(form)
    etag = s3.head_object(Bucket=bucket, Key="a/b")["ETag"].strip('"')
    assert (answer.status_code, answer.headers["location"]) == (303, f"{REDIRECT}?bucket={bucket}&key=a%2Fb&etag=%22{etag}%22")


def test_a_connection_goes_on_after_a_form(s3, bucket):
    form = s3.generate_presigned_post(bucket, "k", ExpiresIn=600)
    with requests.Session() as session:
        for number in range(3):
            parts = [(name, (None, value)) for name, value in form["fields"].items()]
            parts += [("file", (f"{number}", b"x" * number)), ("submit", (None, "Upload"))]
            assert session.post(form["url"], files=parts, timeout=30).status_code == 204
            assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == number


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_sends_forms_with_and_without_a_button(s3, bucket, tmp_path):
    """3 MB: curl asks for "100 Continue" first."""
    file = tmp_path / "up load.bin"
    file.write_bytes(os.urandom(3_000_000))
    form = s3.generate_presigned_post(bucket, "${filename}", ExpiresIn=600)
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "60", "-o", "-", "-w", "%{http_code}"]
    command += [part for name, value in form["fields"].items() for part in ("-F", f"{name}={value}")]
    for more in ([], ["-F", "submit=Upload"]):
        run = subprocess.run([*command, "-F", f"file=@{file}", *more, form["url"]], capture_output=True, timeout=90, check=False)
        assert run.stdout == b"204", (run.stdout, run.stderr)
        assert s3.get_object(Bucket=bucket, Key="up load.bin")["Body"].read() == file.read_bytes()
        s3.delete_object(Bucket=bucket, Key="up load.bin")


def test_an_expired_or_forged_form_uploads_nothing(s3, node, bucket):
    form = s3.generate_presigned_post(bucket, "k", ExpiresIn=-60)
    assert assert_refused(post(form), 403, "AccessDenied")["Message"] == "Invalid according to Policy: Policy expired."
    good = s3.generate_presigned_post(bucket, "k", ExpiresIn=600)
    document = {"expiration": "2099-01-01T00:00:00Z", "conditions": [{"bucket": bucket}, ["starts-with", "$key", ""]]}
    forged = {**good, "fields": good["fields"] | {"policy": b64encode(json.dumps(document).encode()).decode()}}
    assert_refused(post(forged), 403, "SignatureDoesNotMatch")
    unsigned = {**good, "fields": {"key": "k", "policy": good["fields"]["policy"]}}
    assert_refused(post(unsigned), 400, "InvalidArgument")
    assert_refused(post({**good, "fields": {"key": "k"}}), 403, "AccessDenied")
    elsewhere = {**good, "url": f"{node.endpoint}/{bucket}-none"}
    assert post(elsewhere).status_code in (403, 404)
    assert node.usage(bucket) == (0, 0)


def grant_puts(client, bucket, prefix):
    """Let everybody upload below a prefix."""
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/{prefix}*"}
    answer = client.send("PUT", f"/{bucket}", "policy", body=json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode())
    assert answer.status_code in (200, 204), answer.content


def test_a_form_without_a_policy_uploads_where_everybody_may(client, bucket, node):
    grant_puts(client, bucket, "drop/")
    form = {"url": f"{node.endpoint}/{bucket}", "fields": {"key": "drop/${filename}", "Content-Type": "text/plain"}}
    assert post(form).status_code == 204
    found = client.get(bucket, "drop/a.txt")
    assert (found.content, found.headers["content-type"]) == (b"bytes", "text/plain")
    for fields in ({"key": "elsewhere"}, {"key": "drop/k", "acl": "public-read"}, {"key": "drop/k", "tagging": TAGGING}):
        assert_refused(post({**form, "fields": fields}), 403, "AccessDenied")
    assert client.send("DELETE", f"/{bucket}", "policy").status_code == 204
    assert_refused(post(form), 403, "AccessDenied")


def test_a_form_may_bring_tags(s3, bucket):
    form = s3.generate_presigned_post(bucket, "k", {"tagging": TAGGING}, [{"tagging": TAGGING}], 600)
    assert post(form).status_code == 204
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "k", "Value": "v w+="}]
    wrong = TAGGING.replace("+", "&amp;")
    assert_refused(post(s3.generate_presigned_post(bucket, "k", {"tagging": wrong}, [{"tagging": wrong}], 600)), 400, "InvalidTag")


def test_a_policy_that_denies_the_owner_denies_his_form(s3, client, bucket):
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{bucket}/secret*"}
    client.send("PUT", f"/{bucket}", "policy", body=json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode())
    assert_refused(post(s3.generate_presigned_post(bucket, "secret", ExpiresIn=600)), 403, "AccessDenied")
    assert post(s3.generate_presigned_post(bucket, "open", ExpiresIn=600)).status_code == 204


def peak_bytes(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(start_node, tmp_path):
    node = start_node(workers=0, FS_MAX_REQUEST_BYTES=str(1 << 30))
    client = node.client()
    client.create_bucket("box")
    form = boto(node).generate_presigned_post("box", "k", ExpiresIn=3600)
    assert post(form, b"x" * 3_000_000).status_code == 204
    pid = node.storage_pid()
    before = peak_bytes(pid)
    file = tmp_path / "large"
    with open(file, "wb") as large:
        for _ in range(100):
            large.write(os.urandom(1 << 20))
    command = ["curl", "--silent", "--noproxy", "*", "--max-time", "240", "-o", "-", "-w", "%{http_code}"]
    command += [part for name, value in form["fields"].items() for part in ("-F", f"{name}={value}")]
    run = subprocess.run([*command, "-F", f"file=@{file}", form["url"]], capture_output=True, timeout=280, check=False)
    assert run.stdout == b"204", (run.stdout, run.stderr)
    assert peak_bytes(pid) - before < 40 << 20
    assert client.head("box", "k").headers["content-length"] == str(100 << 20)


def test_a_node_that_dies_with_a_form_half_read_leaves_nothing(start_node):
    node = start_node()
    client = node.client()
    client.create_bucket("box")
    form = boto(node).generate_presigned_post("box", "k", ExpiresIn=3600)
    request = requests.Request("POST", form["url"], data=form["fields"], files={"file": ("a", b"x" * 20_000_000)}).prepare()
    before = sorted(os.listdir(node.data_dir))
    headers = {"host": f"{node.host}:{node.port}", "content-type": request.headers["content-type"]}
    with RawConnection(node, timeout_secs=60) as connection:
        connection.send(request_bytes("POST", "/box", headers | {"content-length": str(len(request.body))}) + request.body[:10_000_000])
        deadline = time.monotonic() + 30
        while not any("(deleted)" in target for pid in node.pids() for target in open_targets(pid, node.data_dir)):
            assert time.monotonic() < deadline, "nothing was spooled"
            time.sleep(0.02)
        node.kill()
    node.start()
    assert sorted(os.listdir(node.data_dir)) == before
    assert node.usage("box") == (0, 0)


def open_targets(pid, folder):
    """What a process has open below a folder."""
    return [target for target in open_files(pid) if target.startswith(str(folder))]
