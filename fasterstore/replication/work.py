"""What the sender's state machine (`shipping.py`) wants done: pieces of work, and actions. Immutable values."""

from typing import NamedTuple

from fasterstore.replication.cursor import Address, Position


class LogRange(NamedTuple):
    """The entries first_lsn .. last_lsn of the log, or as many from the first on as fit."""

    number: int
    first_lsn: int
    last_lsn: int


class ScanPage(NamedTuple):
    """What lies behind `after` up to `upto` inclusive (None: to the end), or as much of it as fits."""

    number: int
    after: Position
    upto: Position | None


class OwedKeys(NamedTuple):
    """These addresses, or as many from the first on as fit."""

    number: int
    addresses: tuple[Address, ...]


Work = LogRange | ScanPage | OwedKeys


class Meet(NamedTuple):
    """Ask the peer for its status; answer with `met` or `not_met`."""


class Read(NamedTuple):
    """Read that work; answer with `was_read` (or `log_gone`, `failed`), send what it held, answer with `acked` or `failed`."""

    work: Work


class Save(NamedTuple):
    """The cursor has moved: keep it, when convenient."""


Action = Meet | Read | Save


class Flight(NamedTuple):
    """Work that was read and is on its way; `work` says exactly what was read."""

    work: Work
    size_bytes: int
    changes: int
    heavy: bool
