"""boto3's transfer manager with a large file: parts side by side, up, down, and from object to object."""

import os

import pytest

SIZE_MIB = int(os.environ.get("TRANSFER_MIB", "64"))


@pytest.mark.slow
def test_a_large_file_goes_up_down_and_across(s3, bucket, tmp_path):
    block = os.urandom(1 << 20)
    up, down = tmp_path / "up", tmp_path / "down"
    with open(up, "wb") as file:
        for number in range(SIZE_MIB):
            file.write(number.to_bytes(8, "big") + block[8:])
    s3.upload_file(str(up), bucket, "large", ExtraArgs={"ContentType": "application/x-large", "Metadata": {"a": "b"}})
    head = s3.head_object(Bucket=bucket, Key="large")
    assert (head["ContentLength"], head["ContentType"], head["Metadata"]) == (SIZE_MIB << 20, "application/x-large", {"a": "b"})
    assert head["ETag"].endswith(f'-{-(-SIZE_MIB // 8)}"')
    s3.copy({"Bucket": bucket, "Key": "large"}, bucket, "copy")
    s3.delete_object(Bucket=bucket, Key="large")
    s3.download_file(bucket, "copy", str(down))
    with open(up, "rb") as sent, open(down, "rb") as got:
        while expected := sent.read(1 << 20):
            assert got.read(1 << 20) == expected
        assert got.read() == b""
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
