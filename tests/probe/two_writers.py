"""Writers on two nodes at once, and a record of what was acknowledged where (`two_histories`).

On each side three writers: one with keys that only it writes, which does all there is to be done with an object; one with keys that the
other side writes too, which puts, in one piece or in parts, and deletes; one that changes settings of buckets of both. Every body and
mark is new, so that a state names the write that made it. They end after their request in flight when told to, or when their time is over.
"""

import hashlib
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count

import gevent
import requests
from urllib3.exceptions import NewConnectionError

from tests.probe import two_settings
from tests.probe.network import SIDES
from tests.probe.pair import TwoNodes
from tests.probe.two_histories import Histories, Key, Stamp, State, Version
from tests.probe.upload import Upload
from tools.client import Client, ResponseError

BUCKETS = {"a": "made-on-a", "b": "made-on-b"}
"""Each is the home of its side; writers go into both."""
OWN_SLOTS, SHARED_SLOTS = 24, 8
LOAD_MAX_SECS = 25.0
REQUEST_TIMEOUT_SECS = 4.0
PAUSE_SECS = 0.015
_NOTHING_CHANGED = ("SlowDown", "nothing was stored")
"""By code or text of a 503."""

StampOf = Callable[[str, str, str], Stamp | None]
"""The stamp of a key, by side, bucket and key; None if it cannot be had."""
Change = tuple[Key, State]


class Writers:
    """The writers of one round. `stop` ends them."""

    def __init__(self, pair: TwoNodes, histories: Histories, seed: str, stamp_of: StampOf) -> None:
        self._pair = pair
        self._histories = histories
        self._stamp_of = stamp_of
        self._stopping = False
        self._numbers = count()
        self._seed = seed
        steps = (("own", self._own), ("shared", self._shared), ("settings", self._settings))
        self._greenlets = [
            gevent.spawn(self._write, side, step, random.Random(f"{seed} {side} {name}")) for side in SIDES for name, step in steps
        ]

    def stop(self) -> None:
        """Let every writer finish its request and end; raises what a writer raised."""
        self._stopping = True
        gevent.joinall(self._greenlets, timeout=LOAD_MAX_SECS + REQUEST_TIMEOUT_SECS, raise_error=True)
        assert all(greenlet.dead for greenlet in self._greenlets), "a writer hangs: a request was not answered within its timeout"

    def _write(self, side: str, step: Callable[[Client, str, random.Random], None], dice: random.Random) -> None:
        ends_at = time.monotonic() + LOAD_MAX_SECS
        with self._pair.client(side, REQUEST_TIMEOUT_SECS) as client:
            while not self._stopping and time.monotonic() < ends_at:
                step(client, side, dice)
                gevent.sleep(dice.uniform(0.5, 1.5) * PAUSE_SECS)

    # ---- one step of each writer ----

    def _own(self, client: Client, side: str, dice: random.Random) -> None:
        key = self._free(side, f"only-{side}", dice, OWN_SLOTS)
        if key is None:
            return
        state, kind = self._known(key, side), dice.random()
        if kind < 0.1:
            self._read(client, side, key)
        elif kind < 0.22:
            self._delete(client, side, key)
        elif kind < 0.34 and isinstance(state, Version):
            tags = self._tags(dice)
            self._send(side, [(key, state._replace(tags=tags))], partial(two_settings.put_tags, client, *key.name[1:], dict(tags)))
        elif kind < 0.44 and isinstance(state, Version):
            self._copy(client, side, key, state, dice)
        elif kind < 0.5 and isinstance(state, Version):
            self._rename(client, side, key, state, dice)
        elif kind < 0.6:
            self._put_in_parts(client, side, key, dice)
        else:
            self._put(client, side, key, dice)

    def _shared(self, client: Client, side: str, dice: random.Random) -> None:
        key = self._free(side, "both", dice, SHARED_SLOTS)
        if key is None:
            return
        kind = dice.random()
        if kind < 0.3:
            self._delete(client, side, key)
        elif kind < 0.4:
            self._put_in_parts(client, side, key, dice)
        else:
            self._put(client, side, key, dice)

    def _settings(self, client: Client, side: str, dice: random.Random) -> None:
        name = dice.choice(two_settings.NAMES)
        key = self._histories.key("setting", dice.choice(list(BUCKETS.values())), name)
        if self._histories.free(key, side):
            mark = None if dice.random() < 0.25 else self._mark(side)
            self._send(side, [(key, mark)], partial(two_settings.change, client, key.name[1], name, mark))
        gevent.sleep(4 * PAUSE_SECS)

    # ---- the requests ----

    def _put(self, client: Client, side: str, key: Key, dice: random.Random) -> None:
        body, mark, tags = _body(dice), self._mark(side), self._tags(dice)
        headers = {"x-amz-meta-mark": mark, **two_settings.tag_header(dict(tags))}
        made = Version(hashlib.md5(body).hexdigest(), mark, tags)
        self._send(side, [(key, made)], lambda: client.put(*key.name[1:], body, headers))

    def _delete(self, client: Client, side: str, key: Key) -> None:
        self._send(side, [(key, None)], lambda: client.delete(*key.name[1:]))

    def _put_in_parts(self, client: Client, side: str, key: Key, dice: random.Random) -> None:
        body, mark = dice.randbytes(dice.choice((1, 1000, 70_000, 400_000))), self._mark(side)
        first = dice.randbytes(5 << 20) if dice.random() < 0.05 else b""
        upload = Upload(client, *key.name[1:])
        listed: tuple[int, ...] = (1, 2) if first else (2,)
        try:
            upload.begin({"x-amz-meta-mark": mark})
            upload.put(2, body)
            if first:
                upload.put(1, first)
        except ResponseError as error:
            self._judge_error(key, side, error)
            return
        except requests.RequestException:
            return
        made = Version(hashlib.md5(first + body).hexdigest(), mark)
        self._send(side, [(key, made)], lambda: upload.complete(listed))

    def _copy(self, client: Client, side: str, source: Key, state: Version, dice: random.Random) -> None:
        target = self._free(side, f"only-{side}", dice, OWN_SLOTS)
        if target is None or target is source:
            return
        headers = {"x-amz-copy-source": "/".join(("", *source.name[1:]))}
        self._send(side, [(target, state)], lambda: two_settings.checked(client.request("PUT", *target.name[1:], (), headers)))

    def _rename(self, client: Client, side: str, source: Key, state: Version, dice: random.Random) -> None:
        target = self._free(side, f"only-{side}", dice, OWN_SLOTS)
        if target is None or target is source or target.name[1] != source.name[1]:
            return
        headers, query = {"x-amz-rename-source": "/".join(("", *source.name[1:]))}, (("renameObject", ""),)
        send = partial(client.request, "PUT", *target.name[1:], query, headers)
        self._send(side, [(target, state), (source, None)], lambda: two_settings.checked(send()))

    def _read(self, client: Client, side: str, key: Key) -> None:
        try:
            self._histories.read(key, side, two_settings.read_object(client, *key.name[1:]))
        except (ResponseError, requests.RequestException) as error:
            if isinstance(error, ResponseError):
                self._judge_error(key, side, error)

    def _send(self, side: str, changes: Sequence[Change], send: Callable[[], object]) -> None:
        histories = self._histories
        for key, _ in changes:
            histories.begin(key, side)
        try:
            send()
        except (ResponseError, requests.RequestException) as error:
            nothing = _says_nothing_changed(error) if isinstance(error, ResponseError) else _never_sent(error)
            for key, state in changes:
                histories.refused(key, side) if nothing else histories.unknown(key, side, state)
            if isinstance(error, ResponseError):
                self._judge_error(changes[0][0], side, error)
            return
        for key, state in changes:
            histories.acknowledged(key, side, state, self._stamp_of(side, *key.name[1:]) if key.name[0] == "object" else None)

    # ---- what to write, and where ----

    def _free(self, side: str, group: str, dice: random.Random, slots: int) -> Key | None:
        bucket = dice.choice(list(BUCKETS.values()))
        key = self._histories.key("object", bucket, f"{group}/{dice.randrange(slots)}")
        return key if self._histories.free(key, side) else None

    def _known(self, key: Key, side: str) -> State:
        """The one state of a key that only this side writes."""
        (state,) = key.possible()
        return state

    def _mark(self, side: str) -> str:
        return f"{self._seed.replace(' ', '-')}-{side}-{next(self._numbers)}"

    def _tags(self, dice: random.Random) -> tuple[tuple[str, str], ...]:
        return tuple((f"tag-{number}", str(dice.randrange(1000))) for number in range(dice.choice((0, 0, 1, 3))))

    def _judge_error(self, key: Key, side: str, error: ResponseError) -> None:
        # One that was signed before its node's clock was set and came after.
        if error.status != requests.codes.unavailable and error.code != "RequestTimeTooSkewed":
            self._histories.violations.append(f"{key.name}: {side} answered {error}")


def _body(dice: random.Random) -> bytes:
    kind = dice.random()
    if kind < 0.8:
        return dice.randbytes(dice.choice((0, 1, 100, 1000, 4096, 20_000, 65_536)))
    return dice.randbytes(dice.randrange(65_537, 262_145) if kind < 0.95 else dice.randrange(262_145, 2 << 20))


def _says_nothing_changed(error: ResponseError) -> bool:
    """Anything but a 503 is a refusal; it is complained of elsewhere."""
    return error.status != requests.codes.unavailable or any(sign in str(error) for sign in _NOTHING_CHANGED)


def _never_sent(error: requests.RequestException) -> bool:
    cause = error.args[0] if error.args else None
    return isinstance(getattr(cause, "reason", None), NewConnectionError)
