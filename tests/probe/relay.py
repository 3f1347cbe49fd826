"""A TCP relay on loopback that can stand still in either direction: connections stay open, bytes do not pass."""

import contextlib
import socket

import gevent
from gevent.event import Event

_PIECE_BYTES = 65536


class Relay:
    """Listens from the start on `port`; what comes is passed on to `target` once that is set."""

    def __init__(self) -> None:
        self.target: tuple[str, int] | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._calls_pass, self._answers_pass = Event(), Event()
        self.heal()
        self._open: set[socket.socket] = set()
        self._accepting = gevent.spawn(self._accept)

    def cut(self) -> None:
        """Nothing that the callers send arrives any more, nor do new calls."""
        self._calls_pass.clear()

    def cut_answers(self) -> None:
        """Nothing that the target sends arrives any more."""
        self._answers_pass.clear()

    def heal(self) -> None:
        """Everything passes, also what has come meanwhile."""
        self._calls_pass.set()
        self._answers_pass.set()

    def close(self) -> None:
        """Break every connection and listen no more."""
        self._accepting.kill()
        self._listener.close()
        for connection in list(self._open):
            connection.close()

    def _accept(self) -> None:
        while True:
            caller, _ = self._listener.accept()
            self._open.add(caller)
            gevent.spawn(self._serve, caller)

    def _serve(self, caller: socket.socket) -> None:
        self._calls_pass.wait()
        try:
            if self.target is None:
                return
            called = socket.create_connection(self.target, 10)
        except OSError:
            return
        finally:
            if not self.target:
                self._drop(caller)
        called.settimeout(None)
        self._open.add(called)
        both = [
            gevent.spawn(self._pass_on, caller, called, self._calls_pass),
            gevent.spawn(self._pass_on, called, caller, self._answers_pass),
        ]
        gevent.joinall(both)
        self._drop(caller)
        self._drop(called)

    def _pass_on(self, source: socket.socket, sink: socket.socket, passes: Event) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(_PIECE_BYTES):
                passes.wait()
                sink.sendall(piece)
        passes.wait()
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _drop(self, connection: socket.socket) -> None:
        self._open.discard(connection)
        connection.close()
