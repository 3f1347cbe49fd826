"""Uploads take room for what they hold: small pieces where there is little, nothing kept at their end, and the bytes are the same."""

import os
from base64 import b64encode
from io import BytesIO

import pytest

from actors.runtime import sleep
from tests.customer_keys import A, bring
from web.body_memory import PIECE_MIN_BYTES, Account, BodyMemory

BODY = os.urandom(3_000_001)
MASTER_KEY = b64encode(bytes(range(32))).decode()
ROOM = 1 << 20


class Watched(BytesIO):
    """A body that notes what its request holds while it is received, and how large a piece it is asked for."""

    def __init__(self, body, account):
        super().__init__(body)
        self.account = account
        self.held, self.pieces = [], []

    def readinto(self, buffer):
        self.held.append(self.account.memory.used_bytes)
        self.pieces.append(len(buffer))
        return super().readinto(memoryview(buffer)[:40_000])


def put(store, memory, body=BODY, headers=None):
    account = Account(memory)
    source = Watched(body, account)
    answer = store.send("PUT", "/box/k", headers={"content-length": str(len(body)), **(headers or {})}, source=source, account=account)
    account.close()  # as the connection does
    return answer, source


@pytest.fixture(params=["plain", "encrypted"])
def kept(request, new_store):
    store = new_store(**({"FS_ENCRYPTION_KEY_BASE64": MASTER_KEY} if request.param == "encrypted" else {}))
    store.send("PUT", "/box")
    return store


@pytest.mark.parametrize("headers", [{}, bring(A)], ids=["", "customer's key"])
@pytest.mark.parametrize("size", [70_000, 250_000, 300_000, len(BODY)])
def test_bodies_of_every_way_are_stored_whole_with_little_room(kept, size, headers):
    memory = BodyMemory(ROOM, 5.0)
    answer, source = put(kept, memory, BODY[:size], headers)
    assert answer.status == 200, answer.body
    assert 0 < max(source.held) <= ROOM
    sleep(0.01)
    assert memory.used_bytes == 0
    assert kept.send("GET", "/box/k", headers=headers).body == BODY[:size]


def test_a_crowd_is_given_small_pieces_and_a_lone_upload_large_ones(kept):
    memory = BodyMemory(16 << 20, 5.0)
    _, alone = put(kept, memory)
    assert max(alone.pieces) == 1 << 20
    memory.take((16 << 20) - 4 * PIECE_MIN_BYTES)
    _, crowded = put(kept, memory)
    assert max(crowded.pieces) == PIECE_MIN_BYTES
    assert max(crowded.held) <= 16 << 20
    assert kept.send("GET", "/box/k").body == BODY


def test_what_could_be_collected_is_streamed_while_there_is_no_room_for_all_of_it(new_store):
    store = new_store(FS_SMALL_OBJECT_THRESHOLD_BYTES=str(len(BODY)))
    store.send("PUT", "/box")
    _, roomy = put(store, BodyMemory(2 * len(BODY), 5.0))
    _, short = put(store, BodyMemory(ROOM, 5.0))
    assert (max(roomy.pieces), max(short.pieces)) == (len(BODY), ROOM // 4)
    assert store.send("GET", "/box/k").body == BODY


def test_an_upload_that_fails_gives_its_room_back(kept):
    memory = BodyMemory(ROOM, 5.0)
    for size in (100_000, 250_000, 2_000_000):
        account = Account(memory)
        source = Watched(BODY[: size // 2], account)
        answer = kept.send("PUT", "/box/k", headers={"content-length": str(size)}, source=source, account=account)
        assert answer.status == 400 and b"<Code>IncompleteBody<" in answer.body
        account.close()
        sleep(0.01)
        assert memory.used_bytes == 0


def test_without_room_for_too_long_an_upload_is_told_to_slow_down_unread(kept):
    memory = BodyMemory(ROOM, 0.01)
    memory.take(ROOM)
    for size in (70_000, 250_000, len(BODY)):
        answer, source = put(kept, memory, BODY[:size])
        assert (answer.status, b"<Code>SlowDown<" in answer.body, source.pieces) == (503, True, [])
    assert (memory.used_bytes, memory.wanted_bytes) == (ROOM, 0)
