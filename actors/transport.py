"""The node's Unix socket in the data dir: storage listens, each worker keeps one connection to it.

Owns who is connected and what each side knows of the other: worker number, progress of the start, Hello, ready or not. The frames
are `actors.wire`'s, asks and answers `actors.channel`'s. Must never resend, and never decide about a message.
"""

import logging
import os
from collections.abc import Callable
from typing import Any

from gevent import socket

from actors.channel import Channel, RemoteRef
from actors.directory import Directory
from actors.runtime import Event, close_now, sleep, spawn
from actors.wire import HELLO, PROGRESS, Frame, Greeting, Hello, MalformedFrame, Progress

__all__ = ["Hello", "Peer", "Progress", "RemoteRef", "StorageLink", "StorageListener"]

logger = logging.getLogger(__name__)

SOCKET_NAME = "storage.sock"
RECONNECT_SECS = 0.05
BACKLOG = 128


class Peer:
    """A connected worker, as storage sees it."""

    def __init__(self, worker: int, channel: Channel) -> None:
        self.worker = worker
        self.channel = channel

    def ref(self, name: str) -> RemoteRef:
        """A ref to an actor of that worker, for example its "observer"."""
        return RemoteRef(lambda: self.channel, name)


class StorageListener:
    """Storage's end: accepts workers, tells them how the start goes, and lets their asks in once `ready()`.

    `on_connect` and `on_disconnect` get the worker's number; they run in a loop callback and may tell, but not wait.
    """

    def __init__(
        self,
        folder: str,
        directory: Directory,
        hello: Callable[[], Hello],
        *,
        on_connect: Callable[[int], None] | None = None,
        on_disconnect: Callable[[int], None] | None = None,
    ) -> None:
        self._folder = folder
        self._directory = directory
        self._hello = hello
        self._on_connect = on_connect
        self._on_disconnect = on_disconnect
        self._ready = False
        self._progress: Progress | None = None
        self._peers: dict[Channel, Peer] = {}
        self._strangers: set[Channel] = set()
        self._socket: Any = None
        self._acceptor: Any = None

    def start(self) -> None:
        """Bind, mode 0600, and accept. Call with the storage lock held: a socket file in the way is removed. Raises: OSError."""
        folder_fd = os.open(self._folder, os.O_DIRECTORY | os.O_PATH)
        try:
            # sun_path holds 108 bytes; the folder's path may be longer.
            path = f"/proc/self/fd/{folder_fd}/{SOCKET_NAME}"
            if os.path.lexists(path):
                os.unlink(path)
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._socket.bind(path)
            # Nobody can connect before listen(), so there is no moment with a laxer mode.
            os.chmod(path, 0o600)
            self._socket.listen(BACKLOG)
        finally:
            close_now(folder_fd)
        self._acceptor = spawn(self._accept)

    def progress(self, text: str, done: int, total: int) -> None:
        """Tell all workers, present and to come, what the start is busy with."""
        self._progress = Progress(text, done, total)
        for peer in self._peers.values():
            peer.channel.send(PROGRESS, 0, "", self._progress)

    def ready(self) -> None:
        """Let asks in and send Hello to all workers, present and to come. Idempotent: a connection gets one Hello."""
        if self._ready:
            return
        self._ready = True
        for peer in list(self._peers.values()):
            self._welcome(peer.channel)

    def peers(self) -> list[Peer]:
        """The connected workers, longest connection first."""
        return list(self._peers.values())

    def stop(self) -> None:
        """Accept no more, send queued answers as far as they go at once, close every connection, remove the socket file."""
        if self._acceptor is not None:
            self._acceptor.kill()
            self._acceptor = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            os.unlink(os.path.join(self._folder, SOCKET_NAME))
        for channel in [*self._peers, *self._strangers]:
            channel.close("storage stops")

    def _accept(self) -> None:
        while True:
            try:
                connected, _address = self._socket.accept()
            except OSError as error:
                # Out of descriptors, or a peer that was gone before it was accepted.
                logger.error("accept: %s", error)
                sleep(RECONNECT_SECS)
                continue
            channel = Channel(connected, self._directory, self._control, self._closed)
            channel.accepts_asks = False
            self._strangers.add(channel)

    def _control(self, channel: Channel, frame: Frame) -> None:
        if frame.kind != HELLO or type(frame.value) is not Greeting or channel not in self._strangers:
            raise MalformedFrame(f"kind {frame.kind} from a worker")
        worker = frame.value.worker
        for former in [peer for peer in self._peers.values() if peer.worker == worker]:
            former.channel.close("the worker connected anew")
        self._strangers.discard(channel)
        self._peers[channel] = Peer(worker, channel)
        self._tell(self._on_connect, worker)
        if self._ready:
            self._welcome(channel)
        elif self._progress is not None:
            channel.send(PROGRESS, 0, "", self._progress)

    def _welcome(self, channel: Channel) -> None:
        channel.accepts_asks = True
        channel.send(HELLO, 0, "", self._hello())

    def _closed(self, channel: Channel) -> None:
        self._strangers.discard(channel)
        peer = self._peers.pop(channel, None)
        if peer is not None:
            self._tell(self._on_disconnect, peer.worker)

    @staticmethod
    def _tell(callback: Callable[[int], None] | None, worker: int) -> None:
        if callback is not None:
            try:
                callback(worker)
            except Exception:
                logger.exception("defect in a connection callback for worker %d", worker)


class StorageLink:
    """A worker's end: one connection to storage, made again for ever.

    `on_hello` runs in the link's greenlet before the link counts as connected, at each connection: it reopens what belongs to the
    epoch. It may wait, but not ask storage; if it raises, the connection is dropped and made again. `on_lost` runs in a loop callback
    when a connection ends, before any of its askers wakes, and again if `on_hello` was still at work then; it may not wait.
    """

    def __init__(
        self,
        folder: str,
        worker: int,
        directory: Directory,
        on_hello: Callable[[Hello], None],
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self.state = "waiting"
        self.progress = Progress("", 0, 0)
        self.hello: Hello | None = None
        self._folder = folder
        self._worker = worker
        self._directory = directory
        self._on_hello = on_hello
        self._on_lost = on_lost
        self._channel: Channel | None = None
        self._runner: Any = None

    def start(self) -> None:
        """Begin to connect."""
        self._runner = spawn(self._run)

    def stop(self) -> None:
        """Close the connection and make no other; pending asks get OutcomeUnknown."""
        if self._runner is not None:
            self._runner.kill()
            self._runner = None

    def ref(self, name: str, *, exempt: bool = False) -> RemoteRef:
        """A ref to an actor of storage; `exempt` from credit and depth, for introspection."""
        return RemoteRef(lambda: self._channel, name, exempt=exempt)

    def admit(self, size_bytes: int) -> bool:
        """Whether an ask of that size would be let through now; also False while disconnected (see `state`)."""
        return self._channel is not None and self._channel.admits(size_bytes)

    def _run(self) -> None:
        while True:
            try:
                self._session()
            except OSError as error:
                logger.debug("storage is not there: %s", error)
            except Exception:
                logger.exception("defect in the link to storage")
            sleep(RECONNECT_SECS)

    def _session(self) -> None:
        changed = Event()
        greeting: list[Hello] = []

        def control(_channel: Channel, frame: Frame) -> None:
            if frame.kind == PROGRESS and type(frame.value) is Progress:
                self.progress = frame.value
            elif frame.kind == HELLO and type(frame.value) is Hello and not greeting:
                greeting.append(frame.value)
                changed.set()
            else:
                raise MalformedFrame(f"kind {frame.kind} from storage")

        def closed(_channel: Channel) -> None:
            self._channel = None
            self.state = "waiting"
            self._on_lost()
            changed.set()

        channel = Channel(self._connect(), self._directory, control, closed)
        try:
            channel.send(HELLO, 0, "", Greeting(self._worker))
            changed.wait()
            if greeting:
                self._on_hello(greeting[0])
            changed.clear()
            if channel.closed or not greeting:
                self._on_lost()  # once more: what on_hello opened after the connection had gone must not be answered from
                return
            channel.credit_bytes, channel.max_depth = greeting[0].credit_bytes, greeting[0].max_depth
            self.hello, self._channel, self.state = greeting[0], channel, "connected"
            changed.wait()
        finally:
            channel.close("the link ends")

    def _connect(self) -> Any:
        folder_fd = os.open(self._folder, os.O_DIRECTORY | os.O_PATH)
        connecting = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connecting.connect(f"/proc/self/fd/{folder_fd}/{SOCKET_NAME}")
        except BaseException:
            connecting.close()
            raise
        finally:
            close_now(folder_fd)
        return connecting
