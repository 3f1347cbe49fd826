"""Policies over HTTP on a node of two workers: granted and revoked at the 200, kept over a restart, and the administrator's way in."""

import json
import time

import pytest

from tests.node import RunningNode
from tests.raw_connection import RawConnection, request_bytes, signed_request
from tests.refusal import assert_refused

ROUNDS = 24
WORKERS_WITHIN_SECS = 60.0


def policy(bucket, **changes):
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{bucket}/*", **changes}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}).encode()


def set_policy(client, bucket, document):
    answer = client.request("PUT", bucket, query=[("policy", "")], body=document)
    assert answer.status_code == 204, answer.content


@pytest.fixture
def both_workers(node):
    """Four connections, two to each worker of the shared node: the id of an answer begins with its worker's."""
    by_worker, opened = {}, []
    deadline = time.monotonic() + WORKERS_WITHIN_SECS
    while not (len(by_worker) == 2 and all(len(held) >= 2 for held in by_worker.values())):
        assert time.monotonic() < deadline, {worker: len(held) for worker, held in by_worker.items()}
        # Several at once: whichever worker is awake takes all that come one by one.
        batch = [RawConnection(node, timeout_secs=30) for _ in range(8)]
        opened += batch
        for connection in batch:
            connection.send(request_bytes("GET", "/healthz", {"host": "localhost"}))
            by_worker.setdefault(connection.answer().headers["x-amz-request-id"][:8], []).append(connection)
    chosen = [connection for held in by_worker.values() for connection in held[:2]]
    for connection in opened:
        if connection not in chosen:
            connection.close()
    yield chosen
    for connection in chosen:
        connection.close()


def test_what_is_granted_or_revoked_is_so_on_every_worker_at_the_answer(node, client, bucket, both_workers):
    client.put(bucket, "key", b"body")
    asked = request_bytes("GET", f"/{bucket}/key", {"host": "localhost"})

    def statuses():
        for connection in both_workers:
            connection.send(asked)
        return [connection.answer().status for connection in both_workers]

    for turn in range(ROUNDS):
        changer = both_workers[turn % 4]
        changer.send(signed_request(node, "PUT", f"/{bucket}?policy", {}, policy(bucket)))
        assert changer.answer().status == 204
        assert statuses() == [200] * 4
        changer.send(
            signed_request(node, "DELETE", f"/{bucket}?policy")
            if turn % 2
            else signed_request(node, "PUT", f"/{bucket}?policy", {}, policy(bucket, Effect="Deny"))
        )
        assert changer.answer().status == 204
        assert statuses() == [403] * 4


def test_the_owner_is_denied_and_let_in_again_on_every_worker_at_the_answer(node, client, bucket, both_workers):
    client.put(bucket, "key", b"body")
    for turn in range(ROUNDS):
        set_policy(client, bucket, policy(bucket, Effect="Deny"))
        for connection in both_workers:
            connection.send(signed_request(node, "GET", f"/{bucket}/key"))
        assert [connection.answer().status for connection in both_workers] == [403] * 4, turn
        assert client.request("DELETE", bucket, query=[("policy", "")]).status_code == 204
        for connection in both_workers:
            connection.send(signed_request(node, "GET", f"/{bucket}/key"))
        assert [connection.answer().status for connection in both_workers] == [200] * 4, turn


def test_a_policy_outlives_the_node(start_node):
    node = start_node()
    client = node.client()
    client.create_bucket("box")
    client.put("box", "key", b"body")
    set_policy(client, "box", policy("box"))
    node.restart()
    with node.client("none") as stranger:
        assert stranger.get("box", "key").content == b"body"
    with node.client() as owner:
        assert owner.request("GET", "box", query=[("policy", "")]).content == policy("box")


def test_a_bucket_deleted_and_made_again_has_no_policy(client, bucket, node):
    set_policy(client, bucket, policy(bucket, Action=["s3:ListBucket"], Resource=f"arn:aws:s3:::{bucket}"))
    with node.client("none") as stranger:
        assert stranger.request("GET", bucket).status_code == 200
        client.delete_bucket(bucket)
        assert_refused(stranger.request("GET", bucket), 404, "NoSuchBucket")
        client.create_bucket(bucket)
        assert_refused(stranger.request("GET", bucket), 403, "AccessDenied")
    assert_refused(client.request("GET", bucket, query=[("policy", "")]), 404, "NoSuchBucketPolicy")


def test_time_passes_for_conditions(client, bucket, node):
    client.put(bucket, "key", b"body")
    over = int(time.time()) - 1
    with node.client("none") as stranger:
        set_policy(client, bucket, policy(bucket, Condition={"NumericLessThan": {"aws:EpochTime": over}}))
        assert_refused(stranger.request("GET", bucket, "key"), 403, "AccessDenied")
        set_policy(client, bucket, policy(bucket, Condition={"NumericGreaterThan": {"aws:EpochTime": over - 1}}))
        assert stranger.get(bucket, "key").content == b"body"


OPERATED = {"FS_ADMIN_ACCESS_KEY": "operator", "FS_ADMIN_SECRET_KEY": "operators-own-secret"}


def test_the_administrator_cannot_be_locked_out(tmp_path):
    with RunningNode(tmp_path / "data", OPERATED) as node:
        owner = node.client()
        operator = node.client(access_key="operator", secret_key="operators-own-secret")
        owner.create_bucket("box")
        everything = ["arn:aws:s3:::box", "arn:aws:s3:::box/*"]
        set_policy(owner, "box", policy("box", Effect="Deny", Action="s3:*", Resource=everything))
        assert_refused(owner.request("PUT", "box", "key", body=b"body"), 403, "AccessDenied")
        assert json.loads(operator.send("GET", "/_admin/policy/box").content)["Statement"][0]["Effect"] == "Deny"
        assert operator.send("PUT", "/_admin/policy/box", body=policy("box")).status_code == 204
        assert owner.request("PUT", "box", "key", body=b"body").status_code == 200
        assert node.client("none").get("box", "key").content == b"body"
        assert operator.send("DELETE", "/_admin/policy/box").status_code == 204
        assert_refused(node.client("none").request("GET", "box", "key"), 403, "AccessDenied")
        assert_refused(owner.send("GET", "/_admin/policy/box"), 403, "InvalidAccessKeyId")


def test_a_bucket_of_fs_buckets_is_made_public_once(start_node):
    node = start_node(FS_BUCKETS="closed,open:public")
    client = node.client()
    for name in ("closed", "open"):
        client.put(name, "key", b"body")

    def strangers_see():
        with node.client("none") as stranger:
            answers = [stranger.request("GET", name, key) for name in ("closed", "open") for key in ("key", "")]
            return [answer.status_code for answer in answers], stranger.request("PUT", "open", "new", body=b"x").status_code

    assert strangers_see() == ([403, 403, 200, 200], 403)
    node.restart()
    assert strangers_see() == ([403, 403, 200, 200], 403)
    assert node.client().request("DELETE", "open", query=[("policy", "")]).status_code == 204
    node.restart()
    assert strangers_see() == ([403, 403, 403, 403], 403)
    assert "bucket open of FS_BUCKETS exists and has no policy" in node.log()
