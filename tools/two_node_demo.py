"""`make demo-two-nodes`: two nodes on this machine, one of them away for a while, and how they come to hold the same again.

Starts two real nodes on free loopback ports in a temporary folder, tells what it does, shows both side by side with how far each one's
peer is behind, and ends by itself: 0 if both held the same in the end. Stops both nodes and removes their data, also when interrupted.
"""

import secrets
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn

import requests

from tools.client import ResponseError
from tools.demo_node import DemoFailed, DemoNode, free_ports
from tools.side_by_side import SideBySide

BUCKET = "demo"
FIRST_KEYS = ("hello", "readme", "photo")
AWAY_WRITES = 300
BODY_BYTES = 16 * 1024
CONVERGE_SECS = 30.0
LOOK_SECS = 0.1
LISTED_KEYS = 6


class Demo:
    """The story, told on `screen` with two running nodes."""

    def __init__(self, one: DemoNode, two: DemoNode, screen: SideBySide) -> None:
        self._one, self._two = one, two
        self._screen = screen

    def tell(self) -> None:
        """From the first write to the last comparison. Raises DemoFailed, and what a client raises."""
        say, one, two = self._screen.say, self._one, self._two
        for node in (one, two):
            say(f"* node {node.name} starts on {node.endpoint}; its peer is the other one")
            node.start()
        say(f"* through {one.name}: make the bucket {BUCKET} and put {', '.join(FIRST_KEYS)}")
        one.client.create_bucket(BUCKET)
        bodies = {key: f"{key}, as it was put through {one.name}".encode() for key in FIRST_KEYS}
        for key, body in bodies.items():
            one.client.put(BUCKET, key, body)
        took_secs = self._wait(lambda: self._alike(one.objects(BUCKET)))
        for key, body in bodies.items():
            if two.client.get(BUCKET, key).content != body:
                raise DemoFailed(f"{two.name} answers with other bytes for {key}")
        say(f"* read from {two.name}: the same bytes, {took_secs:.1f} s after the last put")

        say(f"* node {two.name} stops. Through {one.name}: put {AWAY_WRITES} objects, change {FIRST_KEYS[0]}, delete {FIRST_KEYS[1]}")
        two.stop()
        for number in range(AWAY_WRITES):
            one.client.put(BUCKET, f"while-away/{number:04d}", secrets.token_bytes(BODY_BYTES))
            if number % 10 == 0:
                self._draw()
        one.client.put(BUCKET, FIRST_KEYS[0], b"changed while the other one was away")
        one.client.delete(BUCKET, FIRST_KEYS[1])
        self._pause(1.0)

        say(f"* node {two.name} starts again")
        two.start()
        took_secs = self._wait(lambda: self._alike(one.objects(BUCKET)))
        held = len(two.objects(BUCKET))
        say(f"* both hold the same {held} objects, {took_secs:.1f} s after it was ready; {FIRST_KEYS[1]} is gone from both")
        say(f"* and the other way: through {two.name}, delete {FIRST_KEYS[2]} and put goodbye")
        two.client.delete(BUCKET, FIRST_KEYS[2])
        two.client.put(BUCKET, "goodbye", b"put through the second node")
        self._wait(lambda: self._alike(two.objects(BUCKET)))
        self._pause(0.5)
        if one.client.get(BUCKET, "goodbye").content != b"put through the second node":
            raise DemoFailed(f"{one.name} answers with other bytes for goodbye")
        say("* the two nodes hold the same. The end.")

    def _alike(self, wanted: dict[str, str]) -> bool:
        return bool(wanted) and self._one.objects(BUCKET) == self._two.objects(BUCKET) == wanted

    def _wait(self, holds: Callable[[], bool]) -> float:
        """Draw until it holds; the seconds that it took. Raises DemoFailed after CONVERGE_SECS."""
        started = time.monotonic()
        while not holds():
            if time.monotonic() - started > CONVERGE_SECS:
                raise DemoFailed(f"the nodes do not hold the same after {CONVERGE_SECS:.0f} s")
            self._draw()
            time.sleep(LOOK_SECS)
        self._draw()
        return time.monotonic() - started

    def _pause(self, secs: float) -> None:
        """Let the reader look."""
        ends_at = time.monotonic() + secs
        while time.monotonic() < ends_at:
            self._draw()
            time.sleep(LOOK_SECS)

    def _draw(self) -> None:
        self._screen.show(_column(self._one), _column(self._two))


def _column(node: DemoNode) -> list[str]:
    """What a node shows of itself: its state, how far its peer is behind, and some of its keys."""
    if not node.is_up:
        return [f"node {node.name}: stopped"]
    held, lag = node.objects(BUCKET), node.lag()
    behind = "unknown" if lag is None else f"{lag.entries} entries, {lag.lag_bytes:,} bytes, {lag.secs:.1f} s"
    shown = [f"{key}  {etag[:8]}" for key, etag in list(held.items())[:LISTED_KEYS]]
    more = [f"... and {len(held) - LISTED_KEYS} more"] if len(held) > LISTED_KEYS else []
    return [f"node {node.name}: {len(held)} objects", f"its peer lacks {behind}", *shown, *more]


def _interrupted(_number: int, _frame: object) -> NoReturn:
    sys.exit(130)


def main() -> int:
    """Run the demo; the exit code."""
    signal.signal(signal.SIGTERM, _interrupted)
    signal.signal(signal.SIGINT, _interrupted)
    screen = SideBySide(sys.stdout)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="fasterstore-demo-")))
        ports = free_ports(2)
        own = {"FS_ACCESS_KEY": "demo", "FS_SECRET_KEY": secrets.token_hex(16), "FS_INTERNAL_TOKEN": secrets.token_hex(16)}
        one, two = DemoNode("one", folder, ports[0], ports[1], own), DemoNode("two", folder, ports[1], ports[0], own)
        for node in (one, two):
            stack.callback(node.stop)
        try:
            Demo(one, two, screen).tell()
        except (DemoFailed, ResponseError, requests.RequestException) as error:
            screen.say(f"the demo failed: {error}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
