"""bucket.domain over HTTP: boto3 with its virtual addressing, and paths that are routes elsewhere."""

import boto3
import pytest
from botocore.client import Config

from tests.node import RunningNode
from tests.raw_connection import RawConnection, request_bytes, signed_request
from tests.refusal import assert_refused

DOMAIN = "s3.fasterstore.test"


@pytest.fixture(scope="module")
def hosted(tmp_path_factory):
    """A node with two workers and FS_DOMAIN."""
    with RunningNode(tmp_path_factory.mktemp("hosted") / "data", {"FS_DOMAIN": DOMAIN}, workers=2) as running:
        running.client().create_bucket("box")
        yield running


@pytest.fixture
def s3(hosted, monkeypatch):
    """boto3 as it addresses buckets by default, with every name below the domain resolved to the node."""
    import socket

    real = socket.getaddrinfo

    def resolve(host, *arguments, **options):
        return real(hosted.host if str(host).endswith(DOMAIN) else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    monkeypatch.setenv("NO_PROXY", "*")
    return boto3.client(
        "s3",
        endpoint_url=f"http://{DOMAIN}:{hosted.port}",
        aws_access_key_id=hosted.credentials.access_key,
        aws_secret_access_key=hosted.credentials.secret_key,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "virtual"}, retries={"max_attempts": 0}),
    )


def test_boto3_speaks_virtual_hosted_style(hosted, s3):
    hosts = []
    s3.meta.events.register("before-send.s3", lambda request, **_: hosts.append(request.url.split("/")[2]))
    s3.create_bucket(Bucket="by-host")
    body = b"x" * 400_000
    s3.put_object(Bucket="by-host", Key="a b/ü", Body=body)
    assert s3.get_object(Bucket="by-host", Key="a b/ü")["Body"].read() == body
    s3.copy_object(Bucket="by-host", Key="copy", CopySource={"Bucket": "by-host", "Key": "a b/ü"})
    assert {entry["Key"] for entry in s3.list_objects_v2(Bucket="by-host")["Contents"]} == {"a b/ü", "copy"}
    upload = s3.create_multipart_upload(Bucket="by-host", Key="parts")["UploadId"]
    etag = s3.upload_part(Bucket="by-host", Key="parts", UploadId=upload, PartNumber=1, Body=body)["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    s3.complete_multipart_upload(Bucket="by-host", Key="parts", UploadId=upload, MultipartUpload=parts)
    assert s3.get_object(Bucket="by-host", Key="parts")["Body"].read() == body
    assert set(hosts) == {f"by-host.{DOMAIN}:{hosted.port}"}
    assert "by-host" in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]
    with hosted.client() as path_style:
        assert path_style.get("by-host", "a b/ü").content == body


def test_paths_that_are_routes_elsewhere_are_keys_there(hosted):
    host = {"host": f"box.{DOMAIN}:{hosted.port}"}
    with RawConnection(hosted) as connection:
        for path in ("/metrics", "/healthz", "/readyz", "/_admin/actors", "/_internal/entries", "/minio/health/ready"):
            connection.send(request_bytes("GET", path, host))
            assert_refused(connection.answer(), 403, "AccessDenied")
            connection.send(signed_request(hosted, "GET", path, host))
            assert_refused(connection.answer(), 404, "NoSuchKey")
            connection.send(signed_request(hosted, "PUT", path, host, b"body of " + path.encode()))
            assert connection.answer().status == 200
            connection.send(signed_request(hosted, "GET", path, host))
            assert connection.answer().content == b"body of " + path.encode()
        connection.send(request_bytes("GET", "/healthz", {"host": DOMAIN}))
        assert connection.answer().content == b"ok\n"
    assert hosted.is_ready()


@pytest.mark.parametrize("path", ["/minio/health/live", "/minio/health/ready", "/minio/health/cluster"])
def test_health_answers_under_minios_names_too(node, path):
    with RawConnection(node) as connection:
        connection.send(request_bytes("GET", path, {"host": "probe"}))
        assert connection.answer().status == 200
        connection.send(request_bytes("HEAD", path, {"host": "probe"}))
        assert connection.answer(to_head=True).status == 200
        for method in ("PUT", "POST", "DELETE"):
            connection.send(request_bytes(method, path, {"host": "probe", "content-length": "0"}))
            assert connection.answer().status >= 400


def test_minios_readiness_is_ours(start_node):
    node = start_node()
    node.kill()
    node.start(wait_ready=False)
    node.wait_ready()
    with RawConnection(node) as connection:
        connection.send(request_bytes("GET", "/minio/health/ready", {"host": "probe"}))
        assert connection.answer().content == b"ready\n"
