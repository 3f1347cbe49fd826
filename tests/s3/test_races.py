"""Twenty clients race on one key: every outcome must be one that some serial order allows."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import md5

import pytest

from tests.node import RunningNode
from tests.s3.linearizability import (
    CREATE,
    DELETE,
    DONE,
    MISSING,
    PUT,
    READ,
    REFUSED,
    REMOVE,
    REPLACE,
    Operation,
    serial_order,
)
from tools.client import Client

CLIENTS = 20
START_TOGETHER_SECS = 60
OUTCOMES = {200: DONE, 204: DONE, 412: REFUSED, 404: MISSING}


def race(node: RunningNode, run: Callable[[int, Client], object]) -> list:
    """run(number, client) of CLIENTS clients at once, each with a connection of its own; their results by number."""
    barrier = threading.Barrier(CLIENTS)

    def start(number: int) -> object:
        with node.client() as own:
            own.request("HEAD")  # connected before the start
            barrier.wait(START_TOGETHER_SECS)
            return run(number, own)

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(start, range(CLIENTS)))


def test_of_twenty_locks_exactly_one_is_taken_and_only_its_owner_frees_it(node, bucket):
    """What Terraform does with its state: If-None-Match: * takes the lock, If-Match on its ETag frees it."""

    def take(number: int, own: Client) -> tuple[int, str]:
        answer = own.request("PUT", bucket, "state.tflock", headers={"if-none-match": "*"}, body=b"client %d" % number)
        return answer.status_code, answer.headers.get("etag", "")

    for _ in range(3):
        outcomes = race(node, take)
        assert sorted(status for status, _ in outcomes) == [200] + [412] * (CLIENTS - 1)
        owner, etag = next((number, etag) for number, (status, etag) in enumerate(outcomes) if status == 200)

        def free(_number: int, own: Client, etag: str = etag) -> int:
            return own.request("DELETE", bucket, "state.tflock", headers={"if-match": etag}).status_code

        with node.client() as client:
            assert client.get(bucket, "state.tflock").content == b"client %d" % owner
        # Whoever comes after the first finds nothing left to delete, which is no failure.
        assert race(node, free) == [204] * CLIENTS
        with node.client() as client:
            assert client.request("GET", bucket, "state.tflock").status_code == 404
            client.put(bucket, "state.tflock", b"taken anew")
        assert race(node, free) == [412] * CLIENTS
        with node.client() as client:
            assert client.get(bucket, "state.tflock").content == b"taken anew"
            client.request("DELETE", bucket, "state.tflock")


def test_no_update_is_lost(node, client, bucket):
    """Each client adds to a counter by If-Match until it has succeeded twice."""
    client.put(bucket, "counter", b"0")

    def add(_number: int, own: Client) -> None:
        for _ in range(2):
            while True:
                found = own.get(bucket, "counter")
                headers = {"if-match": found.headers["etag"]}
                answer = own.request("PUT", bucket, "counter", headers=headers, body=b"%d" % (int(found.content) + 1))
                if answer.status_code == 200:
                    break
                assert answer.status_code == 412, answer.content

    race(node, add)
    assert client.get(bucket, "counter").content == b"%d" % (2 * CLIENTS)


class Actor:
    """One client that does random things to the key, and notes what it saw."""

    def __init__(self, number: int, own: Client, bucket: str, seed: int) -> None:
        self._number = number
        self._client = own
        self._bucket = bucket
        self._choose = random.Random(seed * CLIENTS + number)
        self._seen: str | None = None
        self.history: list[Operation] = []

    def run(self, steps: int) -> list[Operation]:
        """Do that many things; the notes."""
        kinds = [CREATE] * 4 + [REPLACE] * 5 + [REMOVE] * 3 + [READ] * 3 + [PUT, DELETE]
        for step in range(steps):
            kind = self._choose.choice(kinds)
            if self._seen is None and kind in (REPLACE, REMOVE):
                kind = READ
            self._do(kind, step)
        return self.history

    def _do(self, kind: str, step: int) -> None:
        condition = self._seen if kind in (REPLACE, REMOVE) else None
        headers = {"if-none-match": "*"} if kind == CREATE else {} if condition is None else {"if-match": f'"{condition}"'}
        method = {READ: "GET", REMOVE: "DELETE", DELETE: "DELETE"}.get(kind, "PUT")
        body = b""
        if method == "PUT":
            body = b"%d of %d " % (step, self._number)
            # Now and then one that is written into an extent, which takes longer.
            body += bytes(70_000) if self._choose.random() < 0.2 else b""
        value = None if method != "PUT" else md5(body).hexdigest()
        sent = time.monotonic()
        answer = self._client.request(method, self._bucket, "key", headers=headers, body=body)
        answered = time.monotonic()
        assert answer.status_code in OUTCOMES, answer.content
        etag = answer.headers.get("etag", "").strip('"') or None
        outcome = OUTCOMES[answer.status_code]
        if kind == READ:
            value, outcome = etag, DONE
        elif value is not None and outcome == DONE:
            assert etag == value
        self.history.append(Operation(sent, answered, kind, condition, value, outcome))
        if outcome == DONE:
            self._seen = value


@pytest.mark.parametrize("seed", [1, 2])
def test_what_twenty_clients_see_has_a_serial_order(node, bucket, seed):
    notes = race(node, lambda number, own: Actor(number, own, bucket, seed).run(10))
    history = [operation for own in notes for operation in own]
    kinds = {(operation.kind, operation.outcome) for operation in history}
    assert {(CREATE, DONE), (CREATE, REFUSED), (READ, DONE)} <= kinds
    assert serial_order(history) is not None, history
