"""A tool's connection to the storage process of a node on this machine, through the socket in its data dir.

It connects as a worker with a negative number, which storage lets ask but counts for none of its own. Whoever may open the data dir may
ask; there is no other check. The socket is only there while a node runs.
"""

import os
from collections.abc import Callable
from typing import Any

from actors.directory import Directory
from actors.messages import Refused
from actors.runtime import sleep
from actors.transport import StorageLink
from tools.verb import NotBegun

CONNECT_SECS = 5.0
POLL_SECS = 0.1


class NoNode(NotBegun):
    """No node serves this data dir, or it is not ready; the text says so."""


class StorageSession:
    """One connection. Use as a context manager. Raises NoNode on entry."""

    def __init__(self, data_dir: str) -> None:
        self._data_dir = data_dir
        self._link = StorageLink(data_dir, -os.getpid(), Directory(), lambda hello: None)

    def __enter__(self) -> "StorageSession":
        if not os.path.exists(os.path.join(self._data_dir, "storage.sock")):
            raise NoNode(f"{self._data_dir}: no node is running on this data dir")
        self._link.start()
        waited = 0.0
        while self._link.state != "connected":
            if waited >= CONNECT_SECS:
                self._link.stop()
                text = self._link.progress.text
                raise NoNode(f"{self._data_dir}: the node does not answer" + (f" ({text})" if text else ""))
            sleep(POLL_SECS)
            waited += POLL_SECS
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._link.stop()

    def ask(self, actor: str, message: Any, meanwhile: Callable[[], None] = lambda: None) -> Any:
        """The actor's answer, however long it takes; `meanwhile` is called again and again until it is there."""
        reply = self._link.ref(actor, exempt=True).ask(message, block=False)
        while not reply.done():
            if self._link.state != "connected":
                return Refused("OutcomeUnknown", "the connection to the node broke")
            meanwhile()
            sleep(POLL_SECS)
        return reply.get()
