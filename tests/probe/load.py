"""Eight writers against a node, each with its own keys, and a record of what was acknowledged (`ledger`).

A writer puts small, collected and streamed bodies, some of them twins of others, overwrites, deletes and reads back. It ends by
itself when told to or when its time is over. Values of other writers' keys are read too: for half-written ones.
"""

import hashlib
import random
import time
from collections.abc import Callable, Iterable

import gevent
import requests
from urllib3.exceptions import NewConnectionError

from tests.node import ACCESS_KEY, SECRET_KEY, RunningNode
from tests.probe.ledger import Key, Ledger
from tools.client import Client, ResponseError

BUCKET = "probe"
WRITERS = 8
SLOTS = 16
"""Keys a writer works on at a time."""
LOAD_MAX_SECS = 20.0
REQUEST_TIMEOUT_SECS = 15.0
READ_AGAIN_SECS = 10.0
_PAUSE_SECS = 0.02
_NOTHING_CHANGED = ("SlowDown", "XMinioStorageFull", "nothing was stored", "read-only until an operator")
"""By code or text of the answer."""
_TWINS = [random.Random(f"twin {number}").randbytes(size) for number, size in enumerate((1, 700, 4096, 40_000, 65_536, 150_000, 400_000))]


class Load:
    """The writers of one round. `stop` ends them after their request in flight."""

    def __init__(self, node: RunningNode, ledger: Ledger, seed: str) -> None:
        self._node = node
        self._ledger = ledger
        self._stopping = False
        self.cutting_at = self.cut_at = float("inf")
        """Between these two (monotonic) the power went: what is asked after the second must not be acknowledged."""
        self._writers = [gevent.spawn(self._write, number, random.Random(f"{seed} {number}")) for number in range(WRITERS)]

    def stop(self) -> None:
        """Let every writer finish its request and end; raises what a writer raised."""
        self._stopping = True
        gevent.joinall(self._writers, timeout=REQUEST_TIMEOUT_SECS + LOAD_MAX_SECS, raise_error=True)
        assert all(writer.dead for writer in self._writers), "a writer hangs: a request was not answered within its timeout"

    def _write(self, number: int, dice: random.Random) -> None:
        ends_at = time.monotonic() + LOAD_MAX_SECS
        with _client(self._node) as client:
            while not self._stopping and time.monotonic() < ends_at:
                if not self._step(client, number, dice):
                    gevent.sleep(_PAUSE_SECS)

    def _step(self, client: Client, number: int, dice: random.Random) -> bool:
        """One request; False if the node was not there or refused."""
        key = self._slot(number, dice.randrange(SLOTS))
        kind = dice.random()
        if kind < 0.15:
            return self._read(client, key, exact=True)
        if kind < 0.2:
            return self._read(client, dice.choice(list(self._ledger.keys.values())), exact=False)
        if kind < 0.32:
            return self._change(client, key, None, lambda: client.delete(BUCKET, key.name))
        body = _body(dice)
        return self._change(client, key, body, lambda: client.put(BUCKET, key.name, body))

    def _slot(self, number: int, slot: int) -> Key:
        """The key at that place; one whose outcome is unknown is left alone and followed by another name."""
        generation = 0
        while not (key := self._ledger.key(f"writer-{number}/{slot}/{generation}")).settled:
            generation += 1
        return key

    def _change(self, client: Client, key: Key, body: bytes | None, send: Callable[[], object]) -> bool:
        ledger = self._ledger
        value = None if body is None else hashlib.md5(body).hexdigest()
        # Such a DELETE changes nothing, so it is answered without the disk, as long as nobody has noticed that the disk is gone.
        changes = body is not None or key.possible != {None}
        started = time.monotonic()
        ledger.begin(key, value)
        try:
            send()
        except ResponseError as error:
            if any(sign in str(error) for sign in _NOTHING_CHANGED):
                ledger.refused(key)
            else:
                ledger.unknown(key, value)
                if error.status != 503 and time.monotonic() < self.cutting_at:
                    ledger.violations.append(f"{key.name}: answered with {error}")
            return False
        except requests.RequestException as error:
            if _never_sent(error):
                ledger.refused(key)
            else:
                ledger.unknown(key, value)
            return False
        ledger.acknowledged(key, value)
        if started > self.cut_at and changes:
            ledger.violations.append(f"{key.name}: {value} was asked {started - self.cut_at:.3f} s after the power cut and acknowledged")
        return True

    def _read(self, client: Client, key: Key, *, exact: bool) -> bool:
        try:
            etag, body = fetch(client, key.name)
        except ResponseError as error:
            if error.status != 503 and time.monotonic() < self.cutting_at:
                self._ledger.violations.append(f"{key.name}: GET answered with {error}")
            return False
        except requests.RequestException:
            return False
        self._ledger.judge(key, etag, body, exact=exact)
        return True


def verify(node: RunningNode, ledger: Ledger, keys: Iterable[Key], *, settle: bool) -> None:
    """Read every key and judge it; each must be readable within seconds of the node being ready.

    `settle`: the storage process of every request has ended, so what an unknown outcome became stays so.
    """
    queue = list(keys)

    def reader() -> None:
        with _client(node) as client:
            while queue:
                key = queue.pop()
                try:
                    etag, body = _fetch_patiently(client, key.name)
                except (ResponseError, requests.RequestException) as error:
                    ledger.violations.append(f"{key.name}: cannot be read after the restart: {error}")
                    continue
                value = ledger.judge(key, etag, body, exact=True)
                ledger.counts.verified += 1
                if settle and value in key.possible:
                    ledger.settle(key, value)

    gevent.joinall([gevent.spawn(reader) for _ in range(4)], raise_error=True)


def fetch(client: Client, key: str) -> tuple[str | None, bytes]:
    """(ETag, body) of a key, (None, b"") if there is none. Raises ResponseError, requests.RequestException."""
    try:
        answer = client.get(BUCKET, key)
    except ResponseError as error:
        if error.status == 404 and error.code == "NoSuchKey":
            return None, b""
        raise
    return answer.headers["ETag"], answer.content


def _fetch_patiently(client: Client, key: str) -> tuple[str | None, bytes]:
    """As `fetch`, but another worker than the one that said ready may still be connecting: it answers 503."""
    deadline = time.monotonic() + READ_AGAIN_SECS
    while True:
        try:
            return fetch(client, key)
        except ResponseError as error:
            if error.status != 503 or time.monotonic() > deadline:
                raise
        gevent.sleep(_PAUSE_SECS)


def _client(node: RunningNode) -> Client:
    """Of the caller alone: a node that is killed closes the clients that it made, in the middle of their requests."""
    return Client(node.endpoint, ACCESS_KEY, SECRET_KEY, timeout_secs=REQUEST_TIMEOUT_SECS)


def _body(dice: random.Random) -> bytes:
    kind = dice.random()
    if kind < 0.25:
        return dice.choice(_TWINS)
    if kind < 0.75:
        return dice.randbytes(dice.choice((0, 1, 100, 1000, 4096, 20_000, 65_536)))
    if kind < 0.9:
        return dice.randbytes(dice.randrange(65_537, 262_145))
    return dice.randbytes(dice.randrange(262_145, 2 << 20))


def _never_sent(error: requests.RequestException) -> bool:
    cause = error.args[0] if error.args else None
    return isinstance(getattr(cause, "reason", None), NewConnectionError)
