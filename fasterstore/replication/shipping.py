"""The sender's side of one peer, as a state machine: what to read and send next, what is acknowledged, when to try again. No I/O, no clock.

The owner tells it what happened (`head_moved`, `met`, `was_read`, `acked`, `failed`, `tick` ...) with the seconds of a monotonic clock,
and does what it returns: `Meet` (ask the peer who it is), `Read` (read that piece of work, send what it holds, tell how it went), `Save`
(keep `cursor()`). Work is of three kinds: a range of the log (`LogRange`), a piece of everything there is (`ScanPage`), keys that were
refused before or found to differ (`OwedKeys`). One piece is read at a time; up to FLIGHTS_MAX are on their way, acknowledged in any order.

What it promises: the cursor never passes an entry whose change is not on stable storage at the peer, unless that change is in `owed`,
which is kept with the cursor. Work that fails is read again, as things are then. A peer with another log than last time, or one for
which entries of the log are gone, is sent everything: the scan's start is the log's head at that moment, from where on the log is sent
beside it, so that writes do not wait for the scan and the scan does not hold back the log.
"""

from collections.abc import Sequence
from typing import NamedTuple

from fasterstore.replication.board import PeerState
from fasterstore.replication.cursor import START, Address, Cursor, Position
from fasterstore.replication.lag import Lag, Mark, Marks

FLIGHTS_MAX = 4
WINDOW_BYTES = 8 << 20
FULL_ENTRIES = 256
"""So many entries waiting are read at once; fewer only when the oldest has waited for `linger_secs`."""
BACKOFF_MIN_SECS = 0.2
BACKOFF_MAX_SECS = 5.0
HEARTBEAT_SECS = 10.0
"""After so long without a word the peer is asked who it is: one that came back from a backup must not wait for the next write."""
OWED_MAX = 1000


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


class Shipping:
    """See the module. `head_lsn` and `head_stamp` are the log's end now; `cursor` what was kept, None if there is nothing to go by.

    `backlog_bytes` is the length of the log behind the cursor, `behind_secs` for how long the peer has been without it.
    """

    def __init__(
        self,
        node_id: bytes,
        log_uuid: bytes,
        head_lsn: int,
        head_stamp: int,
        cursor: Cursor | None,
        now: float,
        *,
        backlog_bytes: int = 0,
        behind_secs: float = 0.0,
        linger_secs: float = 0.0,
    ) -> None:
        raise NotImplementedError

    # ---- what happened ----

    def start(self, now: float) -> list[Action]:
        """The owner is ready."""
        raise NotImplementedError

    def head_moved(self, lsn: int, stamp: int, log_bytes: int, now: float) -> list[Action]:
        """Entries up to `lsn` are durable. `stamp` and `log_bytes` as in `lag.Mark`."""
        raise NotImplementedError

    def met(self, peer_node: bytes, peer_log: bytes, horizon_stamp: int, now: float) -> list[Action]:
        """The peer answered. `horizon_stamp` is the highest stamp of a tombstone that *this* node has let go."""
        raise NotImplementedError

    def not_met(self, reason: str, now: float, *, refusing: bool = False) -> list[Action]:
        """The peer did not answer, or (`refusing`) would not have it."""
        raise NotImplementedError

    def was_read(self, number: int, reached: int | Position | None, size_bytes: int, changes: int, now: float) -> list[Action]:
        """That work holds so many changes of so many bytes to send; with 0 changes it is done.

        `reached`: the last LSN that was read; the last position, None if the work was read to its end; how many addresses.
        """
        raise NotImplementedError

    def acked(self, number: int, refused: Sequence[Address], why: str, peer_node: bytes, peer_log: bytes, now: float) -> list[Action]:
        """The peer has what was sent, but for what it refused (`why`: the first refusal's name)."""
        raise NotImplementedError

    def failed(self, number: int, reason: str, now: float, *, refusing: bool = False) -> list[Action]:
        """That work could not be read, or got no answer."""
        raise NotImplementedError

    def log_gone(self, number: int, now: float) -> list[Action]:
        """The log begins above that work."""
        raise NotImplementedError

    def resync(self, reason: str, now: float) -> list[Action]:
        """Send everything anew."""
        raise NotImplementedError

    def owe(self, addresses: Sequence[Address], now: float) -> list[Action]:
        """Send these, too: they were found to differ."""
        raise NotImplementedError

    def tick(self, now: float) -> list[Action]:
        """`wake_at` has come."""
        raise NotImplementedError

    # ---- how it stands ----

    wake_at: float | None
    """When `tick` is wanted next."""
    state: PeerState
    reason: str
    """Why the state is what it is, "" if all is well."""

    @property
    def acked_lsn(self) -> int:
        """The peer has what the entries up to here told of, but for what is owed."""
        raise NotImplementedError

    @property
    def acked_stamp(self) -> int:
        """The peer has every change of this node's own up to this stamp; 0 while it is being sent everything."""
        raise NotImplementedError

    def has(self, lsn: int) -> bool:
        """Whether the peer has what that entry told of."""
        raise NotImplementedError

    def lag(self, now: float) -> Lag:
        """How far the peer is behind."""
        raise NotImplementedError

    def cursor(self, now_ms: int) -> Cursor | None:
        """What to keep; None while the peer is not known yet. `now_ms`: Unix time."""
        raise NotImplementedError
