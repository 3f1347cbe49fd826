"""A web worker process: HTTP in front, storage behind its socket. The first statement of the process was gevent's `patch_all`."""

import logging
import socket
from functools import partial

from actors.directory import Directory
from actors.runtime import Event
from actors.transport import StorageLink
from actors.wire import Hello
from fasterstore.keyring import Keyring
from fasterstore.replication.board import ReplicationBoard
from fasterstore.settings import Settings
from fasterstore.storage.datadir import DataDir
from tools.address_board import AddressBoard, SlotBoard
from tools.commands import follow_commands
from tools.connection_board import ConnectionBoard
from tools.internal_board import InternalBoard
from tools.supervisor import Child
from tools.web_process import WebProcess
from web.worker import LinkState

logger = logging.getLogger("fasterstore.worker")

ACCEPT_ANYWAY_SECS = 0.5


class WorkerProcess:
    """One life of a worker. A connection to storage gives it the epoch's index and segments; without one it answers 503."""

    def __init__(
        self,
        settings: Settings,
        datadir: DataDir,
        keyring: Keyring,
        child: Child,
        listener: socket.socket,
        board: ConnectionBoard,
        addresses: AddressBoard | None,
        peers: ReplicationBoard | None,
        internal: InternalBoard,
    ) -> None:
        self._child = child
        self._stop = Event()
        self._settled = Event()
        """Set once this worker can answer more than 503."""
        local, remote = Directory(), Directory()
        self._link = StorageLink(datadir.path, child.number, local, self._connected, on_lost=self._lost)
        for name in ("segment-writer", "metadata-journal", "compactor"):
            remote.register(name, self._link.ref(name))
        # Small messages that must get through when bodies have used up the credit.
        for name in ("observer", "scrubber", "rate-limiter", "replicator"):
            remote.register(name, self._link.ref(name, exempt=True))
        self._web = WebProcess(settings, datadir, keyring, listener, number=child.number, directory=remote, link_state=self._state)
        self._web.worker.replication = peers
        self._web.worker.refusals.last_logged_ms = internal.last_logged_ms
        self._web.worker.scan_heard_ms = internal.scan_heard_ms
        self._web.server.another_has_fewer = partial(board.another_has_fewer, child.slot)
        if addresses is not None:
            self._web.limit_addresses(SlotBoard(addresses, child.slot))
        self._web.observe(local)

    def serve(self) -> None:
        """Serve until the supervisor says stop; then drain.

        The workers share the listener, so one that accepted before it can answer would refuse what another was ready for. Where storage
        takes longer (a replay), it accepts all the same: somebody must say on /readyz what is waited for.
        """
        follow_commands(self._child.commands_fd, self._command)
        self._link.start()
        self._settled.wait(ACCEPT_ANYWAY_SECS)
        self._web.server.start()
        self._stop.wait()
        self._web.drain()
        self._link.stop()

    def _connected(self, hello: Hello) -> None:
        self._web.open_index()
        self._settled.set()
        logger.debug("connected to epoch %d", hello.epoch)

    def _lost(self) -> None:
        self._web.close_index()

    def _state(self) -> LinkState:
        if self._link.state == "connected":
            return LinkState(True)
        text, done, total = self._link.progress
        return LinkState(False, f"{text}: {done} of {total}" if total else text or "waiting for the storage process")

    def _command(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "stop":
            self._stop.set()
        elif word == "reload":
            self._web.reload()
        elif word == "read-only":
            self._web.become_read_only(rest)
            self._settled.set()


def run(
    settings: Settings,
    datadir: DataDir,
    keyring: Keyring,
    child: Child,
    listener: socket.socket,
    board: ConnectionBoard,
    addresses: AddressBoard | None,
    peers: ReplicationBoard | None,
    internal: InternalBoard,
) -> None:
    """The worker process from its imports to its orderly stop."""
    WorkerProcess(settings, datadir, keyring, child, listener, board, addresses, peers, internal).serve()
