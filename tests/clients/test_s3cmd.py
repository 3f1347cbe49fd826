"""s3cmd as it is installed: buckets, files, trees, parts, and the settings of a bucket that it can change."""

import hashlib
import os
import re
import sys
from pathlib import Path

import pytest
import requests

from tests.clients.tree import read_tree, write_tree

pytestmark = pytest.mark.slow


@pytest.fixture
def s3cmd(program, node, tmp_path):
    """s3cmd with the endpoint, keys and path style in a configuration file of its own."""
    (tmp_path / "s3cfg").write_text(
        f"""[default]
access_key = {node.credentials.access_key}
secret_key = {node.credentials.secret_key}
host_base = {node.host}:{node.port}
host_bucket = {node.host}:{node.port}
use_https = False
"""
    )
    return program(sys.executable, Path(sys.executable).with_name("s3cmd"), "--config", "s3cfg", "--no-progress")


def test_a_bucket_and_one_file(s3cmd, s3, tmp_path):
    name = f"s3cmd-{os.urandom(4).hex()}"
    body = os.urandom(100_000)
    (tmp_path / "in").write_bytes(body)
    s3cmd("mb", f"s3://{name}")
    assert f"s3://{name}\n" in s3cmd("ls")
    s3cmd("put", "in", f"s3://{name}/a b/\u00fc+c", "--mime-type=text/x-s3cmd", "--add-header=x-amz-meta-colour:red")
    assert f"100000  s3://{name}/a b/\u00fc+c" in s3cmd("ls", "--recursive", f"s3://{name}")
    told = s3cmd("info", f"s3://{name}/a b/\u00fc+c")
    assert re.search(r"File size: +100000", told)
    assert re.search(r"MIME type: +text/x-s3cmd", told)
    assert re.search(rf"MD5 sum: +{hashlib.md5(body).hexdigest()}", told)
    s3cmd("get", f"s3://{name}/a b/\u00fc+c", "out")
    assert (tmp_path / "out").read_bytes() == body
    s3cmd("cp", f"s3://{name}/a b/\u00fc+c", f"s3://{name}/copy")
    s3cmd("mv", f"s3://{name}/copy", f"s3://{name}/moved")
    assert s3.get_object(Bucket=name, Key="moved")["Body"].read() == body
    s3cmd("modify", f"s3://{name}/moved", "--add-header=x-amz-meta-shape:round")
    assert s3.head_object(Bucket=name, Key="moved")["Metadata"]["shape"] == "round"
    assert re.search(r"^ *200000 +2 objects", s3cmd("du", f"s3://{name}"))
    assert "BucketNotEmpty" in s3cmd.fails("rb", f"s3://{name}")
    s3cmd("del", f"s3://{name}/moved")
    s3cmd("rb", "--recursive", "--force", f"s3://{name}")
    assert name not in s3cmd("ls")


def test_a_tree_is_synced_there_and_back(s3cmd, s3, bucket, tree, tmp_path):
    s3cmd("sync", "tree/", f"s3://{bucket}/up/")
    listed = {found["Key"]: found["Size"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]}
    assert listed == {f"up/{name}": len(body) for name, body in tree.items()}
    assert "upload:" not in s3cmd("sync", "tree/", f"s3://{bucket}/up/")
    s3cmd("sync", f"s3://{bucket}/up/", "down/")
    assert read_tree(tmp_path / "down") == tree
    (tmp_path / "tree" / "a.txt").unlink()
    write_tree(tmp_path / "tree", {"new.txt": b"new"})
    s3cmd("sync", "--delete-removed", "tree/", f"s3://{bucket}/up/")
    keys = [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert ("up/a.txt" in keys, "up/new.txt" in keys, len(keys)) == (False, True, len(tree))
    s3cmd("sync", f"s3://{bucket}/up/", f"s3://{bucket}/across/")
    assert len(s3.list_objects_v2(Bucket=bucket, Prefix="across/")["Contents"]) == len(tree)
    s3cmd("del", "--recursive", "--force", f"s3://{bucket}")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_large_file_goes_in_parts(s3cmd, s3, bucket, tmp_path):
    body = os.urandom(34 << 20)
    (tmp_path / "in").write_bytes(body)
    s3cmd("put", "in", f"s3://{bucket}/large")
    assert s3.head_object(Bucket=bucket, Key="large")["ETag"].endswith('-3"')
    s3cmd("get", f"s3://{bucket}/large", "out")
    assert (tmp_path / "out").read_bytes() == body
    assert bucket not in s3cmd("multipart", f"s3://{bucket}").partition("\n")[2]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="half")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="half", UploadId=upload, PartNumber=1, Body=b"part")
    assert upload in s3cmd("multipart", f"s3://{bucket}")
    assert hashlib.md5(b"part").hexdigest() in s3cmd("listmp", f"s3://{bucket}/half", upload)
    s3cmd("abortmp", f"s3://{bucket}/half", upload)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_settings_of_a_bucket(s3cmd, s3, bucket, node, tmp_path):
    s3.put_object(Bucket=bucket, Key="key", Body=b"body")
    told = s3cmd("info", f"s3://{bucket}")
    assert re.search(r"Location: +us-east-1", told)
    assert re.search(r"Policy: +none", told)
    url = f"{node.endpoint}/{bucket}/key"
    assert requests.get(url, timeout=30).status_code == 403
    s3cmd("setacl", "--acl-public", f"s3://{bucket}/key")
    assert requests.get(url, timeout=30).content == b"body"
    s3cmd("setacl", "--acl-private", f"s3://{bucket}/key")
    assert requests.get(url, timeout=30).status_code == 403
    (tmp_path / "policy").write_text(
        '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":"*","Action":"s3:GetObject",'
        f'"Resource":"arn:aws:s3:::{bucket}/*"}}]}}'
    )
    s3cmd("setpolicy", "policy", f"s3://{bucket}")
    assert requests.get(url, timeout=30).content == b"body"
    s3cmd("delpolicy", f"s3://{bucket}")
    assert requests.get(url, timeout=30).status_code == 403
    (tmp_path / "cors").write_text(
        "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>"
    )
    s3cmd("setcors", "cors", f"s3://{bucket}")
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"][0]["AllowedMethods"] == ["GET"]
    s3cmd("delcors", f"s3://{bucket}")
    s3cmd("settagging", f"s3://{bucket}/key", "a=1&b=2")
    assert len(s3.get_object_tagging(Bucket=bucket, Key="key")["TagSet"]) == 2
    s3cmd("deltagging", f"s3://{bucket}/key")
    assert s3.get_object_tagging(Bucket=bucket, Key="key")["TagSet"] == []
