"""`aws s3` as it is installed, with its defaults: copy, move, remove, list, sync and presign."""

import os

import pytest
import requests

from tests.clients.tree import read_tree

pytestmark = pytest.mark.slow


def test_a_bucket_and_one_file(aws, s3, tmp_path):
    name = f"cli-{os.urandom(4).hex()}"
    body = os.urandom(200_000)
    (tmp_path / "in").write_bytes(body)
    aws("s3", "mb", f"s3://{name}")
    assert name in aws("s3", "ls")
    aws("s3", "cp", "in", f"s3://{name}/folder/name", "--content-type", "text/x-cli", "--metadata", "colour=red")
    head = s3.head_object(Bucket=name, Key="folder/name")
    assert (head["ContentType"], head["Metadata"], head["ContentLength"]) == ("text/x-cli", {"colour": "red"}, 200_000)
    assert "PRE folder/" in aws("s3", "ls", f"s3://{name}")
    assert " 200000 name" in aws("s3", "ls", f"s3://{name}/folder/")
    aws("s3", "mv", f"s3://{name}/folder/name", f"s3://{name}/moved")
    aws("s3", "mv", f"s3://{name}/moved", "out")
    assert (tmp_path / "out").read_bytes() == body
    assert "404" in aws("s3", "cp", f"s3://{name}/moved", "out", code=1)
    aws("s3", "mv", "out", f"s3://{name}/again")
    assert not (tmp_path / "out").exists()
    assert "BucketNotEmpty" in aws("s3", "rb", f"s3://{name}", code=1)
    aws("s3", "rb", f"s3://{name}", "--force")
    assert name not in aws("s3", "ls")


def test_a_tree_is_synced_there_across_and_back(aws, s3, bucket, tree, tmp_path):
    assert aws("s3", "sync", "tree", f"s3://{bucket}/up").count("upload:") == len(tree)
    listed = {found["Key"]: found["Size"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert listed == {f"up/{name}": len(body) for name, body in tree.items()}
    assert aws("s3", "sync", "tree", f"s3://{bucket}/up") == ""
    assert aws("s3", "sync", f"s3://{bucket}/up", f"s3://{bucket}/across").count("copy:") == len(tree)
    aws("s3", "sync", f"s3://{bucket}/across", "down")
    assert read_tree(tmp_path / "down") == tree
    (tmp_path / "tree" / "a.txt").unlink()
    (tmp_path / "tree" / "new.txt").write_bytes(b"new")
    told = aws("s3", "sync", "tree", f"s3://{bucket}/up", "--delete")
    assert (told.count("upload:"), told.count("delete:")) == (1, 1)
    summary = aws("s3", "ls", f"s3://{bucket}/up/", "--recursive", "--summarize")
    assert f"Total Objects: {len(tree)}" in summary
    assert f"Total Size: {sum(map(len, tree.values())) - 10 + 3}" in summary
    assert aws("s3", "rm", f"s3://{bucket}", "--recursive").count("delete:") == 2 * len(tree)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_large_file_goes_in_parts(aws, s3, bucket, tmp_path):
    body = os.urandom(20 << 20)
    (tmp_path / "in").write_bytes(body)
    aws("s3", "cp", "in", f"s3://{bucket}/large")
    assert s3.head_object(Bucket=bucket, Key="large")["ETag"].endswith('-3"')
    aws("s3", "cp", f"s3://{bucket}/large", f"s3://{bucket}/copy")
    aws("s3", "rm", f"s3://{bucket}/large")
    aws("s3", "cp", f"s3://{bucket}/copy", "out")
    assert (tmp_path / "out").read_bytes() == body


def test_standard_input_and_output(aws, bucket):
    body = os.urandom(9 << 20)
    aws("s3", "cp", "-", f"s3://{bucket}/piped", stdin=body)
    assert aws.bytes("s3", "cp", f"s3://{bucket}/piped", "-") == body


def test_a_presigned_url_is_for_everybody_who_has_it(aws, s3, bucket):
    s3.put_object(Bucket=bucket, Key="a b", Body=b"body")
    # For us-east-1 version 1 presigns by the old Signature V2 (test_old_signatures.py); for regions younger than that, by V4.
    url = aws("s3", "presign", f"s3://{bucket}/a b", "--expires-in", "600", "--region", "eu-central-1").strip()
    assert requests.get(url, timeout=30).content == b"body"
    assert requests.get(url.partition("?")[0], timeout=30).status_code == 403
