"""What the supervisor says to a child: one line a command, through the pipe the child inherited."""

import logging
import os
from collections.abc import Callable
from typing import Any

from actors.runtime import spawn, wait_read

logger = logging.getLogger("fasterstore.commands")


def follow_commands(fd: int, act: Callable[[str], None]) -> Any:
    """Call `act` with each line read from `fd`, in a greenlet of its own; return the greenlet. Ends when the supervisor does."""

    def follow() -> None:
        os.set_blocking(fd, False)
        held = b""
        while True:
            wait_read(fd)
            data = os.read(fd, 4096)
            if not data:
                return
            *lines, held = (held + data).split(b"\n")
            for line in lines:
                try:
                    act(line.decode())
                except Exception:
                    logger.exception("a command of the supervisor failed")

    return spawn(follow)
