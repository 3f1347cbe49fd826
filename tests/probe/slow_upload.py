"""A PUT whose body stops half-way until it is told to go on: a request in flight for as long as a test wants."""

from collections.abc import Iterator

import gevent
import requests
from gevent.event import Event

from tests.node import ACCESS_KEY, SECRET_KEY, RunningNode
from tools.client import Client

ANSWER_SECS = 15.0
_PIECE_BYTES = 64 * 1024


class SlowUpload:
    """One PUT in a greenlet of its own. `body` is sent up to its middle at once, the rest after `go_on`."""

    def __init__(self, node: RunningNode, bucket: str, key: str, body: bytes) -> None:
        self._client = Client(node.endpoint, ACCESS_KEY, SECRET_KEY, timeout_secs=ANSWER_SECS)
        self._body = body
        self._half_sent, self._go_on = Event(), Event()
        headers = {"content-length": str(len(body))}
        self._greenlet = gevent.spawn(self._client.request, "PUT", bucket, key, (), headers, self._pieces())

    def _pieces(self) -> Iterator[bytes]:
        middle = len(self._body) // 2
        for start in range(0, middle, _PIECE_BYTES):
            yield self._body[start : min(start + _PIECE_BYTES, middle)]
        self._half_sent.set()
        self._go_on.wait()
        yield self._body[middle:]

    def wait_half_sent(self) -> None:
        """Return once the node has had time to take the first half in."""
        assert self._half_sent.wait(ANSWER_SECS)
        gevent.sleep(0.2)

    def go_on(self) -> None:
        """Send the rest."""
        self._go_on.set()

    def answer(self) -> requests.Response:
        """The answer. Raises requests.RequestException if the connection was lost."""
        try:
            answer: requests.Response = self._greenlet.get(timeout=ANSWER_SECS)
            return answer
        finally:
            self._client.close()
