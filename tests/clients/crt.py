"""What test_boto3_crt.py runs in the environment of awscrt: `crt.py CASE BUCKET`.

Endpoint, keys and region come from the environment. A case that fails ends with a traceback.
"""

import base64
import os
import sys
from collections.abc import Callable
from typing import Any

import awscrt.checksums
import boto3
import botocore.session
from botocore.config import Config
from s3transfer.crt import BotocoreCRTCredentialsWrapper, BotocoreCRTRequestSerializer, CRTTransferManager, create_s3_crt_client

ENDPOINT, REGION = os.environ["AWS_ENDPOINT_URL"], os.environ["AWS_DEFAULT_REGION"]
ALGORITHMS = ("CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256")
PUBLISHED = {"CRC32": 0xCBF43926, "CRC32C": 0xE3069283, "CRC64NVME": 0xAE8B14860A799888}
"""The checksums of b"123456789"."""


def connect() -> Any:
    """A client with boto3's defaults; no retries, so that no failure is hidden."""
    return boto3.client("s3", config=Config(retries={"total_max_attempts": 1}))


def every_checksum_is_computed(bucket: str) -> None:
    """Each algorithm as a header and as a trailer, returned and verified on reading."""
    s3 = connect()
    for algorithm in ALGORITHMS:
        put = s3.put_object(Bucket=bucket, Key=algorithm, Body=b"123456789", ChecksumAlgorithm=algorithm)
        if algorithm in PUBLISHED:
            expected = PUBLISHED[algorithm].to_bytes(8 if algorithm == "CRC64NVME" else 4, "big")
            assert base64.b64decode(put[f"Checksum{algorithm}"]) == expected
        with open("stream", "wb") as file:
            file.write(os.urandom(3_000_000))
        with open("stream", "rb") as file:
            s3.put_object(Bucket=bucket, Key=algorithm, Body=file, ChecksumAlgorithm=algorithm)
        got = s3.get_object(Bucket=bucket, Key=algorithm, ChecksumMode="ENABLED")
        assert got[f"Checksum{algorithm}"] and "ContentEncoding" not in got
        with open("stream", "rb") as file:
            assert got["Body"].read() == file.read()


def parts_are_checked(bucket: str) -> None:
    """Parts with CRC64NVME make a checksum of the full object, equal to that of the whole."""
    s3 = connect()
    parts = [os.urandom(5 << 20), os.urandom(100)]
    where = {"Bucket": bucket, "Key": "parts"}
    where["UploadId"] = s3.create_multipart_upload(**where, ChecksumAlgorithm="CRC64NVME")["UploadId"]
    done = []
    for number, body in enumerate(parts, 1):
        answer = s3.upload_part(**where, PartNumber=number, Body=body, ChecksumAlgorithm="CRC64NVME")
        done.append({"PartNumber": number, "ETag": answer["ETag"], "ChecksumCRC64NVME": answer["ChecksumCRC64NVME"]})
    answer = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": done})
    whole = awscrt.checksums.crc64nvme(b"".join(parts)).to_bytes(8, "big")
    assert (base64.b64decode(answer["ChecksumCRC64NVME"]), answer["ChecksumType"]) == (whole, "FULL_OBJECT")
    assert s3.get_object(Bucket=bucket, Key="parts", ChecksumMode="ENABLED")["Body"].read() == b"".join(parts)


def large_files_are_transferred(bucket: str) -> None:
    """The library's own transfer client, set up as AWS CLI 2 does: parts and ranges side by side on many connections.

    (boto3's own `preferred_transfer_client="crt"` speaks TLS only.)
    """
    session = botocore.session.get_session()
    serializer = BotocoreCRTRequestSerializer(session, {"region_name": REGION, "endpoint_url": ENDPOINT})
    credentials = BotocoreCRTCredentialsWrapper(session.get_credentials()).to_crt_credentials_provider()
    body = os.urandom(64 << 20)
    with open("up", "wb") as file:
        file.write(body)
    with CRTTransferManager(create_s3_crt_client(REGION, credentials, use_ssl=False), serializer) as manager:
        manager.upload("up", bucket, "large").result()
        manager.upload("up", bucket, "sha", extra_args={"ChecksumAlgorithm": "SHA256"}).result()
        manager.download(bucket, "large", "down").result()
        manager.delete(bucket, "large").result()
    with open("down", "rb") as file:
        assert file.read() == body
    s3 = connect()
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["sha"]
    assert s3.get_object(Bucket=bucket, Key="sha")["Body"].read() == body


CASES: dict[str, Callable[[str], None]] = {
    case.__name__: case for case in (every_checksum_is_computed, parts_are_checked, large_files_are_transferred)
}

if __name__ == "__main__":
    CASES[sys.argv[1]](sys.argv[2])
