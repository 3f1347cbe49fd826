"""Programs that still sign by Signature Version 2, on a node that allows it: s3cmd when told to, and the presigned URLs of AWS CLI 1."""

import os
import shutil
import sys
from pathlib import Path

import pytest
import requests

from tests.node import RunningNode

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def old_node(tmp_path_factory):
    """A node with FS_ALLOW_SIGV2."""
    data_dir = tmp_path_factory.mktemp("old") / "data"
    with RunningNode(data_dir, {"FS_ALLOW_SIGV2": "true"}) as running:
        yield running
    shutil.rmtree(data_dir, ignore_errors=True)


def test_s3cmd_with_signature_v2(program, old_node, tmp_path):
    where = f"{old_node.host}:{old_node.port}"
    (tmp_path / "s3cfg").write_text(
        f"[default]\naccess_key = {old_node.credentials.access_key}\nsecret_key = {old_node.credentials.secret_key}\n"
        f"host_base = {where}\nhost_bucket = {where}\nuse_https = False\nsignature_v2 = True\n"
    )
    s3cmd = program(sys.executable, Path(sys.executable).with_name("s3cmd"), "--config", "s3cfg", "--no-progress")
    body = os.urandom(17 << 20)
    (tmp_path / "in").write_bytes(body)
    s3cmd("mb", "s3://old-style")
    s3cmd("put", "in", "s3://old-style/a b/\u00fc+c")  # over 15 MiB: in parts
    assert f"{len(body)}  s3://old-style/a b/\u00fc+c" in s3cmd("ls", "--recursive", "s3://old-style")
    s3cmd("get", "s3://old-style/a b/\u00fc+c", "out")
    assert (tmp_path / "out").read_bytes() == body
    s3cmd("setacl", "--acl-public", "s3://old-style/a b/\u00fc+c")
    s3cmd("rb", "--recursive", "--force", "s3://old-style")


def test_a_url_presigned_by_aws_cli_1(program, old_node, tmp_path):
    aws = program(sys.executable, Path(sys.executable).with_name("aws"), "--endpoint-url", old_node.endpoint)
    (tmp_path / "in").write_bytes(b"body")
    aws("s3", "mb", "s3://presigned")
    aws("s3", "cp", "in", "s3://presigned/a b")
    url = aws("s3", "presign", "s3://presigned/a b").strip()
    assert "AWSAccessKeyId=" in url
    assert requests.get(url, timeout=30).content == b"body"
