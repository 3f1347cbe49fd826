"""`curl --aws-sigv4` as it is installed.

S3 asks for x-amz-content-sha256, which curl sends by itself only in newer versions than Debian's: an upload names it, the rest go
out as curl makes them.
"""

import os
import re
import shutil
import subprocess

import pytest

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
SIZES = [0, 10, 100_000, 3_000_000]


@pytest.fixture
def curl(node, program_environ, tmp_path):
    """curl(path, *arguments) -> (status, body, headers as text)."""

    def run(path, *arguments):
        keys = f"{node.credentials.access_key}:{node.credentials.secret_key}"
        command = [
            "curl",
            "--silent",
            "--show-error",
            "--path-as-is",
            "--max-time",
            "30",
            "--aws-sigv4",
            "aws:amz:us-east-1:s3",
            "--user",
            keys,
        ]
        if "--upload-file" in arguments:
            command += ["--header", "x-amz-content-sha256: UNSIGNED-PAYLOAD"]
        command += ["--dump-header", "headers", "--output", "body", "--write-out", "%{http_code}", *arguments, node.endpoint + path]
        (tmp_path / "body").write_bytes(b"")
        done = subprocess.run(command, env=program_environ, cwd=tmp_path, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return int(done.stdout), (tmp_path / "body").read_bytes(), (tmp_path / "headers").read_text()

    return run


@pytest.mark.parametrize("size_bytes", SIZES)
def test_put_get_head_range_and_delete(curl, tmp_path, size_bytes):
    body = os.urandom(size_bytes)
    (tmp_path / "in").write_bytes(body)
    bucket = f"/curl-{size_bytes}"
    assert curl(bucket, "--request", "PUT")[0] == 200
    assert curl(f"{bucket}/folder/key", "--upload-file", "in")[0] == 200
    assert curl(f"{bucket}/folder/key")[:2] == (200, body)
    status, _, headers = curl(f"{bucket}/folder/key", "--head")
    assert status == 200
    assert re.search(rf"(?im)^content-length: {size_bytes}\r?$", headers)
    if size_bytes:
        assert curl(f"{bucket}/folder/key", "--range", "3-7")[:2] == (206, body[3:8])
    assert curl(f"{bucket}/folder/key", "--request", "DELETE")[0] == 204
    status, document, _ = curl(f"{bucket}/folder/key")
    assert (status, b"<Code>NoSuchKey</Code>" in document) == (404, True)
    assert curl(bucket, "--request", "DELETE")[0] == 204


def test_a_wrong_secret_is_refused(curl, node):
    status, document, _ = curl("/", "--user", f"{node.credentials.access_key}:wrong-secret")
    assert (status, b"<Code>SignatureDoesNotMatch</Code>" in document) == (403, True)
