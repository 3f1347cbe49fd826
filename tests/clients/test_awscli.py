"""The aws command line as it is installed, with its defaults."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

AWS = Path(sys.executable).with_name("aws")


@pytest.fixture
def aws(program_environ, tmp_path):
    """aws(*arguments) -> its output; fails the test unless it ends with `code`."""

    def run(*arguments, code=0):
        done = subprocess.run([sys.executable, str(AWS), *arguments], env=program_environ, cwd=tmp_path, capture_output=True, timeout=60)
        assert done.returncode == code, done.stderr
        return (done.stdout if code == 0 else done.stderr).decode()

    return run


def test_the_whole_way_with_s3api(aws, tmp_path):
    body = os.urandom(1_000_000)
    (tmp_path / "in").write_bytes(body)
    aws("s3api", "create-bucket", "--bucket", "cli-api")
    put = json.loads(aws("s3api", "put-object", "--bucket", "cli-api", "--key", "a key", "--body", "in", "--metadata", "colour=red"))
    head = json.loads(aws("s3api", "head-object", "--bucket", "cli-api", "--key", "a key"))
    assert (head["ContentLength"], head["ETag"], head["Metadata"]) == (1_000_000, put["ETag"], {"colour": "red"})
    aws("s3api", "get-object", "--bucket", "cli-api", "--key", "a key", "out")
    assert (tmp_path / "out").read_bytes() == body
    aws("s3api", "get-object", "--bucket", "cli-api", "--key", "a key", "--range", "bytes=100-199", "part")
    assert (tmp_path / "part").read_bytes() == body[100:200]
    aws("s3api", "delete-object", "--bucket", "cli-api", "--key", "a key")
    assert "NoSuchKey" in aws("s3api", "get-object", "--bucket", "cli-api", "--key", "a key", "out", code=255)


def test_the_whole_way_with_s3(aws, tmp_path):
    body = os.urandom(200_000)
    (tmp_path / "in").write_bytes(body)
    aws("s3", "mb", "s3://cli-box")
    assert "cli-box" in aws("s3", "ls")
    aws("s3", "cp", "in", "s3://cli-box/folder/name")
    aws("s3", "cp", "s3://cli-box/folder/name", "out")
    assert (tmp_path / "out").read_bytes() == body
    assert "BucketNotEmpty" in aws("s3", "rb", "s3://cli-box", code=1)
    aws("s3", "rm", "s3://cli-box/folder/name")
    aws("s3", "rb", "s3://cli-box")
    assert "cli-box" not in aws("s3", "ls")
