"""Eight writers against a node, each with its own keys, and a record of what was acknowledged (`ledger`).

A writer puts small, collected and streamed bodies, some of them twins of others, in one piece or in parts, copies what it has stored,
overwrites, deletes and reads back. It ends by itself when told to or when its time is over. Values of other writers' keys are read too:
for half-written ones.
"""

import hashlib
import random
import time
from collections.abc import Callable, Iterable
from functools import cache
from typing import Protocol

import gevent
import requests
from urllib3.exceptions import NewConnectionError

from fasterstore.s3.signer import Credentials
from tests.probe.ledger import Key, Ledger
from tests.probe.upload import Upload, checked
from tools.client import Client, ResponseError

BUCKET = "probe"
BASE_KEY = "base"
LARGE_SHARE = 0.1
"""Of those that might have a large part: each has to be read back after each round."""
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


class Store(Protocol):
    """Where the load goes."""

    @property
    def endpoint(self) -> str: ...

    @property
    def credentials(self) -> Credentials: ...


class Load:
    """The writers of one round. `stop` ends them after their request in flight."""

    def __init__(self, node: Store, ledger: Ledger, seed: str) -> None:
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
            return self._change(key, None, (), lambda: client.delete(BUCKET, key.name))
        if kind < 0.4:
            return self._copy(client, key, self._slot(number, dice.randrange(SLOTS)))
        if kind < 0.48:
            return self._put_in_parts(client, key, dice)
        body = _body(dice)
        return self._change(key, hashlib.md5(body).hexdigest(), (), lambda: client.put(BUCKET, key.name, body))

    def _copy(self, client: Client, key: Key, source: Key) -> bool:
        """A copy of one of the writer's own objects, onto itself perhaps."""
        value = next(iter(source.possible))
        if value is None:
            return False
        headers = {"x-amz-copy-source": f"/{BUCKET}/{source.name}"}
        if key is source:
            headers["x-amz-metadata-directive"] = "REPLACE"
        etags = source.sent[value] | {value}  # of a copy of parts S3 makes a new ETag, we keep the old one
        done = self._change(key, value, etags, lambda: checked(client.request("PUT", BUCKET, key.name, (), headers)))
        self._ledger.counts.copied += done
        return done

    def _put_in_parts(self, client: Client, key: Key, dice: random.Random) -> bool:
        """An object of one small part, of two with one replaced and one left out, or of a large copied one and a small one."""
        body = dice.randbytes(dice.choice((1, 1000, 70_000)))
        upload = Upload(client, BUCKET, key.name)
        try:
            upload.begin()
            upload.put(2, body)
            if kind := dice.randrange(3):
                upload.put(1, dice.choice(_TWINS))
            if kind == 2 and dice.random() < LARGE_SHARE:
                upload.copy(1, BASE_KEY)
                etag, body = upload.etag((1, 2)), base_body() + body
                listed: tuple[int, ...] = (1, 2)
            else:
                etag, listed = upload.etag((2,)), (2,)
        except ResponseError as error:
            if error.status != 503 and not _refused(error) and time.monotonic() < self.cutting_at:
                self._ledger.violations.append(f"{key.name}: an upload was answered with {error}")
            return False
        except requests.RequestException:
            return False
        done = self._change(key, hashlib.md5(body).hexdigest(), {etag}, lambda: upload.complete(listed))
        self._ledger.counts.in_parts += done
        return done

    def _slot(self, number: int, slot: int) -> Key:
        """The key at that place; one whose outcome is unknown is left alone and followed by another name."""
        generation = 0
        while not (key := self._ledger.key(f"writer-{number}/{slot}/{generation}")).settled:
            generation += 1
        return key

    def _change(self, key: Key, value: str | None, etags: Iterable[str], send: Callable[[], object]) -> bool:
        ledger = self._ledger
        # Such a DELETE changes nothing, so it is answered without the disk, as long as nobody has noticed that the disk is gone.
        changes = value is not None or key.possible != {None}
        started = time.monotonic()
        ledger.begin(key, value, etags)
        try:
            send()
        except ResponseError as error:
            if _refused(error):
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


def prepare(node: Store, ledger: Ledger) -> None:
    """Make the bucket, and in it the object of which parts are copied."""
    key, value = ledger.key(BASE_KEY), hashlib.md5(base_body()).hexdigest()
    with _client(node) as client:
        if BUCKET not in client.list_buckets():
            client.create_bucket(BUCKET)
        ledger.begin(key, value)
        client.put(BUCKET, BASE_KEY, base_body())
        ledger.acknowledged(key, value)
        key.settled = key.judged = True


@cache
def base_body() -> bytes:
    """The least that S3 takes for a part that is not the last."""
    return random.Random("base").randbytes(5 << 20)


def verify(node: Store, ledger: Ledger, keys: Iterable[Key], *, settle: bool) -> None:
    """Read every key and judge it; each must be readable within seconds of the node being ready.

    `settle`: the storage process of every request has ended, so what an unknown outcome became stays so.
    """
    queue = [key for key in keys if key.judged]

    def reader() -> None:
        with _client(node) as client:
            while queue:
                key = queue.pop()
                try:
                    etag, body = _fetch_patiently(client, key.name)
                except (ResponseError, requests.RequestException) as error:
                    ledger.unreadable(key, error)
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


def _client(node: Store) -> Client:
    """Of the caller alone: a node that is killed closes the clients that it made, in the middle of their requests."""
    access_key, secret_key, region = node.credentials
    return Client(node.endpoint, access_key, secret_key, region=region, timeout_secs=REQUEST_TIMEOUT_SECS)


def _body(dice: random.Random) -> bytes:
    kind = dice.random()
    if kind < 0.25:
        return dice.choice(_TWINS)
    if kind < 0.75:
        return dice.randbytes(dice.choice((0, 1, 100, 1000, 4096, 20_000, 65_536)))
    if kind < 0.9:
        return dice.randbytes(dice.randrange(65_537, 262_145))
    return dice.randbytes(dice.randrange(262_145, 2 << 20))


def _refused(error: ResponseError) -> bool:
    return any(sign in str(error) for sign in _NOTHING_CHANGED)


def _never_sent(error: requests.RequestException) -> bool:
    cause = error.args[0] if error.args else None
    return isinstance(getattr(cause, "reason", None), NewConnectionError)
