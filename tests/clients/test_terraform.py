"""Terraform's state in S3: its lock by `If-None-Match`, replayed by many at once, its storm of questions, and the program itself."""

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from botocore.exceptions import ClientError

from tests.clients.program import on_path
from tests.clients.refused import refused

CLIENTS = 20
LOCK = "env/prod/terraform.tfstate.tflock"
# What terraform's aws_s3_bucket resource asks for each time it is read.
QUESTIONS = (
    "head_bucket",
    "get_bucket_location",
    "get_bucket_policy",
    "get_bucket_acl",
    "get_bucket_cors",
    "get_bucket_website",
    "get_bucket_versioning",
    "get_bucket_accelerate_configuration",
    "get_bucket_request_payment",
    "get_bucket_logging",
    "get_bucket_lifecycle_configuration",
    "get_bucket_replication",
    "get_bucket_encryption",
    "get_object_lock_configuration",
    "get_bucket_tagging",
    "get_bucket_ownership_controls",
    "get_public_access_block",
    "get_bucket_policy_status",
    "get_bucket_notification_configuration",
)


def at_once(clients, do):
    """[do(client)] of all, started together."""
    ready = Barrier(len(clients))

    def start(client):
        ready.wait()
        return do(client)

    with ThreadPoolExecutor(len(clients)) as threads:
        return list(threads.map(start, clients))


@pytest.mark.slow
def test_of_twenty_clients_exactly_one_gets_the_lock(connect, s3, bucket):
    clients = [(number, connect()) for number in range(CLIENTS)]

    def lock(numbered):
        number, client = numbered
        try:
            client.put_object(Bucket=bucket, Key=LOCK, Body=json.dumps({"ID": number}).encode(), IfNoneMatch="*")
        except ClientError as error:
            assert error.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412), error
            return None
        return number

    for _ in range(5):
        winners = [number for number in at_once(clients, lock) if number is not None]
        assert len(winners) == 1
        assert json.loads(s3.get_object(Bucket=bucket, Key=LOCK)["Body"].read()) == {"ID": winners[0]}
        with refused("PreconditionFailed", 412):
            s3.put_object(Bucket=bucket, Key=LOCK, Body=b"late", IfNoneMatch="*")
        s3.delete_object(Bucket=bucket, Key=LOCK)


def test_a_storm_of_questions_is_answered(connect, bucket):
    clients = [connect() for _ in range(4)]

    def ask(client):
        statuses = set()
        for question in QUESTIONS:
            try:
                getattr(client, question)(Bucket=bucket)
            except ClientError as error:
                statuses.add((question, error.response["ResponseMetadata"]["HTTPStatusCode"]))
        return statuses

    for statuses in at_once(clients, ask):
        assert {status for _, status in statuses} == {404}, statuses


@pytest.mark.slow
def test_terraform_itself(program, node, s3, bucket, tmp_path):
    terraform = program(on_path("terraform"), CHECKPOINT_DISABLE="1", TF_IN_AUTOMATION="1")
    version = json.loads(terraform("version", "-json"))["terraform_version"]
    if tuple(int(number) for number in version.split(".")[:2]) < (1, 10):
        pytest.skip("terraform is older than its lock file in S3 (1.10)")
    (tmp_path / "main.tf").write_text(
        """
terraform {
  backend "s3" {}
}
variable "input" {}
resource "terraform_data" "one" { input = var.input }
output "one" { value = terraform_data.one.output }
"""
    )
    settings = {
        "bucket": bucket,
        "key": "env/state",
        "region": "us-east-1",
        "use_path_style": "true",
        "use_lockfile": "true",
        "skip_credentials_validation": "true",
        "skip_requesting_account_id": "true",
    }
    (tmp_path / "settings").write_text(
        "".join(f'{name} = "{value}"\n' for name, value in settings.items()) + f'endpoints = {{ s3 = "{node.endpoint}" }}\n'
    )
    terraform("init", "-input=false", "-backend-config=settings")
    apply = ["apply", "-input=false", "-auto-approve"]
    terraform(*apply, "-var", "input=first")
    assert json.loads(s3.get_object(Bucket=bucket, Key="env/state")["Body"].read())["outputs"]["one"]["value"] == "first"
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    held = {"ID": "6b1a5c80-0000-4000-8000-000000000000", "Operation": "OperationTypeApply", "Info": "", "Who": "test", "Version": "1.11.4"}
    s3.put_object(Bucket=bucket, Key="env/state.tflock", Body=json.dumps({**held, "Created": "2026-01-02T03:04:05Z", "Path": ""}).encode())
    assert "Error acquiring the state lock" in terraform.fails(*apply, "-var", "input=second")
    terraform("force-unlock", "-force", held["ID"])
    terraform(*apply, "-var", "input=second")
    assert terraform("output", "-raw", "one") == "second"
    terraform("workspace", "new", "other")
    assert "other" in terraform("workspace", "list")
    terraform(*apply, "-var", "input=third")
    assert terraform("state", "list").split() == ["terraform_data.one"]
    terraform("destroy", "-input=false", "-auto-approve", "-var", "input=third")
    terraform("workspace", "select", "default")
    terraform("workspace", "delete", "other")
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["env/state"]
