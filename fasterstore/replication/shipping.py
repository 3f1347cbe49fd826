"""The sender's side of one peer, as a state machine: what to read and send next, what is acknowledged, when to try again. No I/O, no clock.

The owner tells it what happened (`head_moved`, `met`, `was_read`, `acked`, `failed`, `tick` ...) with the seconds of a monotonic clock,
and does what it returns: `Meet` (ask the peer who it is), `Read` (read that piece of work, send what it holds, tell how it went), `Save`
(keep `cursor()`). Work is of three kinds: a range of the log (`LogRange`), a piece of everything there is (`ScanPage`), keys that were
refused before or found to differ (`OwedKeys`). One piece is read at a time; several are on their way, acknowledged in any order, so that
neither small changes nor the log wait for the pulling of a big object.

What it promises: the cursor never passes an entry whose change is not on stable storage at the peer, unless that change is in `owed`,
which is kept with the cursor. Work that fails is read again, as things are then. A peer with another log than last time, or one for
which entries of the log are gone, is sent everything: the scan's start is the log's head at that moment, from where on the log is sent
beside it, so that writes do not wait for the scan and the scan does not hold back the log.
"""

from collections import deque
from collections.abc import Sequence

from fasterstore.replication.board import PeerState
from fasterstore.replication.cursor import START, Address, Cursor, Position
from fasterstore.replication.flights import Flights
from fasterstore.replication.lag import Lag, Mark, Marks
from fasterstore.replication.owed import Owed
from fasterstore.replication.ranges import LsnRanges, ScanRanges
from fasterstore.replication.work import Action, Flight, LogRange, Meet, OwedKeys, Read, Save, ScanPage, Work

FULL_ENTRIES = 256
"""So many entries waiting are read at once; fewer only when the oldest has waited for `linger_secs`."""
BACKOFF_MIN_SECS = 0.2
BACKOFF_MAX_SECS = 5.0
HEARTBEAT_SECS = 10.0
"""After so long without a word the peer is asked who it is: one that came back from a backup must not wait for the next write."""
WITHHELD_MAX = 1000
OF_THE_CHANGE = frozenset(("BatchRefused", "BytesGone", "BytesMissing", "ImpossibleChange", "WrongBytes"))
"""Why a change is refused that another in its place would not be: a batch of nothing else does not say that the peer takes nothing."""
NEW_PEER = "the peer is new"
NEW_LOG_THERE = "the peer has another log than before: it was restored or made anew"
NEW_LOG_HERE = "this node has another log than before: it was restored or made anew"
LOG_GONE = "the peer was behind by more than FS_WAL_RETENTION_MB"
TOO_LATE = "the peer was away for longer than FS_TOMBSTONE_TTL_DAYS"


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
        self._node_id = node_id
        self._log_uuid = log_uuid
        self._head = Mark(head_lsn, 0, head_stamp, now - behind_secs)
        self._linger_secs = linger_secs
        self.peer_node = cursor.peer_node if cursor else b""
        self.peer_log = cursor.peer_log if cursor else b""
        self._level_ms = cursor.level_ms if cursor else 0
        self._log = LsnRanges()
        self._scan: ScanRanges | None = None
        self._owed = Owed((), now)
        self._frozen_stamp = 0
        self._withheld: deque[tuple[int, int]] = deque()
        self._flights = Flights()
        self._scan_turn = False
        self._meeting = False
        self._moved = False
        self._heard_at = self._try_at = self._tail_since = now
        self._backoff_secs = BACKOFF_MIN_SECS
        self.state = PeerState.UNKNOWN
        self.reason = ""
        self.wake_at: float | None = now
        self.shipped_changes = self.shipped_bytes = self.failures = self.scans = self.scanned_changes = 0
        self._take_up(cursor, backlog_bytes)

    def _take_up(self, cursor: Cursor | None, backlog_bytes: int) -> None:
        head = self._head
        known = cursor if cursor is not None and cursor.log_uuid == self._log_uuid and cursor.lsn <= head.lsn else None
        if known is None:
            self._acked_lsn = head.lsn
            self._marks = Marks(0, 0, -backlog_bytes)
            self._scan = ScanRanges(NEW_PEER if cursor is None else NEW_LOG_HERE, head.since_secs)
        else:
            self._acked_lsn = known.lsn
            self._marks = Marks(known.lsn, known.acked_stamp, -backlog_bytes)
            self._log.add(known.lsn + 1, head.lsn)
            self._owed.found(known.owed, head.since_secs)
            self._frozen_stamp = known.acked_stamp
            if known.scan_reason:
                self._scan = ScanRanges(known.scan_reason, head.since_secs)
                self._scan.begin(known.scan_after, head.lsn)
        if self._marks.acked_lsn < head.lsn:
            self._marks.add(head)

    # ---- what happened ----

    def start(self, now: float) -> list[Action]:
        """The owner is ready."""
        return self._next(now)

    def head_moved(self, lsn: int, stamp: int, log_bytes: int, now: float) -> list[Action]:
        """Entries up to `lsn` are durable. `stamp` and `log_bytes` as in `lag.Mark`."""
        if lsn <= self._head.lsn:
            return []
        if not self._log:
            self._tail_since = now
        first, self._head = self._head.lsn + 1, Mark(lsn, log_bytes, stamp, now)
        self._marks.add(self._head)
        if self._scan is not None and not self._scan.begun:
            self._acked_lsn = lsn
        else:
            self._log.add(first, lsn)
        return self._next(now)

    def met(self, peer_node: bytes, peer_log: bytes, horizon_at: float, now: float) -> list[Action]:
        """The peer answered. What was deleted here before `horizon_at`, by the same clock as `now`, may have left no tombstone.

        A time and no stamp: what came from another node may have a stamp far below those that the peer has, and yet be news to it.
        """
        self._meeting = False
        if peer_node == self._node_id:
            return self._not_met("the peer has this node's own id: one is a copy of the other's data dir", now, PeerState.REFUSING)
        self._heard_at = now
        if (peer_node, peer_log) != (self.peer_node, self.peer_log):
            reason = NEW_LOG_THERE if self.peer_log else NEW_PEER
            self.peer_node, self.peer_log = peer_node, peer_log
            self._begin_scan(reason, now)
        elif (lacking_since := self._marks.oldest_secs()) is not None and lacking_since < horizon_at:
            self._begin_scan(TOO_LATE, now)
        elif self._scan is not None and not self._scan.begun:
            self._begin_scan(self._scan.reason, now)
        self._up()
        return self._next(now)

    def not_met(self, reason: str, now: float, *, refusing: bool = False) -> list[Action]:
        """The peer did not answer, or (`refusing`) would not have it."""
        self._meeting = False
        return self._not_met(reason, now, PeerState.REFUSING if refusing else PeerState.UNREACHABLE)

    def was_read(
        self, number: int, reached: int | Position | None, size_bytes: int, changes: int, now: float, *, heavy: bool = False
    ) -> list[Action]:
        """That work holds so many changes of so many bytes to send; with 0 changes it is done.

        `reached`: the last LSN that was read; the last position, None if the work was read to its end; how many addresses. `heavy`: the
        peer will have to fetch many bytes.
        """
        work = self._flights.reading
        if work is None or work.number != number:
            return []
        self._flights.reading = None
        done = self._split(work, reached)
        if changes:
            self._flights.send(Flight(done, size_bytes, changes, heavy))
        else:
            self._complete(done, ())
        return self._next(now)

    def acked(self, number: int, refused: Sequence[Address], why: str, peer_node: bytes, peer_log: bytes, now: float) -> list[Action]:
        """The peer has what was sent, but for what it refused (`why`: the first refusal's name)."""
        flight = self._flights.get(number)
        if flight is None:
            return []
        self._heard_at = now
        if (peer_node, peer_log) != (self.peer_node, self.peer_log):
            self.failed(number, "the peer has changed", now)
            self._try_at = now
            return self._next(now)
        if self._takes_nothing(flight, refused, why) or not self._owed.has_room_for(refused):
            return self.failed(number, f"the peer refuses what it is sent: {why}", now, refusing=True)
        self._flights.take(number)
        self._backoff_secs = BACKOFF_MIN_SECS
        self.shipped_changes += flight.changes - len(refused)
        self.shipped_bytes += flight.size_bytes
        if isinstance(flight.work, ScanPage):
            self.scanned_changes += flight.changes
        if refused:
            self._freeze_stamp()
            self._owed.refused(refused, now)
        self._complete(flight.work, refused)
        return self._next(now)

    def failed(self, number: int, reason: str, now: float, *, refusing: bool = False) -> list[Action]:
        """That work could not be read, or got no answer."""
        work = self._flights.take(number)
        if work is None:
            return []
        self.failures += 1
        self._put_back(work)
        return self._not_met(reason, now, PeerState.REFUSING if refusing else PeerState.UNREACHABLE)

    def log_gone(self, number: int, now: float) -> list[Action]:
        """The log begins above that work."""
        if self._flights.take(number) is None:
            return []
        self._begin_scan(LOG_GONE, now)
        return self._next(now)

    def resync(self, reason: str, now: float) -> list[Action]:
        """Send everything anew."""
        if self._is_up:
            self._begin_scan(reason, now)
        else:
            self._scan = ScanRanges(reason, now)
            self._moved = True
        return self._next(now)

    def owe(self, addresses: Sequence[Address], now: float) -> list[Action]:
        """Send these, too: they were found to differ. No more than fit into `owed_room`."""
        if addresses:
            self._freeze_stamp()
            self._owed.found(addresses, now)
            self._moved = True
        return self._next(now)

    def tick(self, now: float) -> list[Action]:
        """`wake_at` has come."""
        return self._next(now)

    # ---- how it stands ----

    @property
    def acked_lsn(self) -> int:
        """The peer has what the entries up to here told of, but for what is owed or being scanned: the log above is wanted."""
        return self._acked_lsn

    @property
    def acked_stamp(self) -> int:
        """The peer has every change of this node's own up to this stamp; 0 while it is being sent everything."""
        if self._scan is not None:
            return 0
        return self._frozen_stamp if self._owed else self._marks.acked_stamp

    @property
    def scan_reason(self) -> str:
        """Why the peer is being sent everything; "" if it is not."""
        return "" if self._scan is None else self._scan.reason

    @property
    def scan_after(self) -> Position:
        """The peer has everything up to this place of the scan."""
        return START if self._scan is None else self._scan.below(self._flights.scanning())

    @property
    def owed(self) -> tuple[Address, ...]:
        """What was refused or found to differ, and is to be sent again."""
        return self._owed.all()

    @property
    def owed_room(self) -> int:
        """How many more may be owed."""
        return self._owed.room

    @property
    def flights(self) -> Sequence[Flight]:
        """What is on its way."""
        return self._flights.all()

    def has(self, lsn: int) -> bool:
        """Whether the peer has what that entry told of."""
        scan = self._scan
        if lsn > self._acked_lsn or (scan is not None and (not scan.begun or lsn <= scan.since_lsn)):
            return False
        return not any(first <= lsn <= last for first, last in self._withheld)

    def log_lag(self, now: float) -> Lag:
        """How far the peer is behind in the log."""
        return self._marks.lag(now)

    def lag(self, now: float) -> Lag:
        """How far the peer is behind; while it is being sent everything, the seconds count from when that became due."""
        lag = self._marks.lag(now)
        return lag if self._scan is None else lag._replace(secs=max(lag.secs, now - self._scan.since_secs))

    def cursor(self, now_ms: int, now: float) -> Cursor | None:
        """What to keep; None while the peer is not known yet. `now_ms`: Unix time, of the same moment as `now`."""
        if not self.peer_log:
            return None
        if self._scan is None and not self._owed:
            # Not only when it has everything: under load that never ends there is no such moment.
            self._level_ms = now_ms - round(self._marks.lag(now).secs * 1000)
        return Cursor(
            self._log_uuid, self.peer_node, self.peer_log, self._acked_lsn, self._kept_stamp, self._level_ms,
            self.scan_reason, self.scan_after, self.owed,
        )  # fmt: skip

    @property
    def _kept_stamp(self) -> int:
        return self._frozen_stamp if self._owed else self._marks.acked_stamp

    # ---- the peer ----

    @property
    def _is_up(self) -> bool:
        return self.state in (PeerState.SHIPPING, PeerState.RESYNCING)

    def _up(self) -> None:
        self.state = PeerState.SHIPPING if self._scan is None else PeerState.RESYNCING
        self.reason = ""

    def _not_met(self, reason: str, now: float, state: PeerState) -> list[Action]:
        # Several failures of one outage lengthen the pause once.
        if self._is_up or now >= self._try_at:
            self._try_at = now + self._backoff_secs
            self._backoff_secs = min(self._backoff_secs * 2, BACKOFF_MAX_SECS)
        self.state, self.reason = state, reason
        return self._next(now)

    def _begin_scan(self, reason: str, now: float) -> None:
        """From here on only what is told of this scan counts; what is on its way may arrive, and does no harm."""
        self._flights.clear()
        self._log = LsnRanges()
        self._owed.clear()
        self._withheld.clear()
        self._scan = ScanRanges(reason, now if self._scan is None else self._scan.since_secs)
        self._scan.begin(START, self._head.lsn)
        self.scans += 1
        self.scanned_changes = 0
        self._acked_lsn = self._head.lsn
        self._marks = Marks(self._head.lsn, self._head.stamp, self._head.log_bytes)
        self._moved = True
        if self._is_up:
            self._up()

    # ---- work ----

    def _next(self, now: float) -> list[Action]:
        """What is to be done now; sets when to look again."""
        actions: list[Action] = []
        if self._moved:
            self._moved = False
            actions.append(Save())
        self.wake_at = None
        if self._is_up:
            if self._flights.has_room and (work := self._next_work(now)) is not None:
                self._flights.reading = work
                actions.append(Read(work))
            self._meet_at(self._heard_at + HEARTBEAT_SECS, now, actions)
        else:
            self._meet_at(self._try_at, now, actions)
        return actions

    def _meet_at(self, due: float, now: float, actions: list[Action]) -> None:
        if self._meeting:
            return
        if now >= due:
            self._meeting = True
            actions.append(Meet())
        else:
            self._wake(due)

    def _wake(self, due: float) -> None:
        self.wake_at = due if self.wake_at is None else min(self.wake_at, due)

    def _next_work(self, now: float) -> Work | None:
        # The log and the scan take turns, or the one would keep the other from ever getting on.
        self._scan_turn = not self._scan_turn
        if self._scan_turn:
            return self._scan_work() or self._log_work(now) or self._owed_work(now)
        return self._log_work(now) or self._owed_work(now) or self._scan_work()

    def _log_work(self, now: float) -> LogRange | None:
        if not self._log:
            return None
        due = self._tail_since + self._linger_secs
        if now < due and self._log.entries < FULL_ENTRIES:
            self._wake(due)
            return None
        return LogRange(self._flights.next_number(), *self._log.take())

    def _scan_work(self) -> ScanPage | None:
        if self._scan is None or not self._scan.todo or not self._flights.has_scan_room:
            return None
        return ScanPage(self._flights.next_number(), *self._scan.take())

    def _owed_work(self, now: float) -> OwedKeys | None:
        if not self._owed or self._flights.has_owed:
            return None
        if now < self._owed.due_at:
            self._wake(self._owed.due_at)
            return None
        return OwedKeys(self._flights.next_number(), self._owed.first(FULL_ENTRIES))

    def _split(self, work: Work, reached: int | Position | None) -> Work:
        """What of the work was read; the rest is to be read yet."""
        if isinstance(work, LogRange) and isinstance(reached, int):
            self._log.add(reached + 1, work.last_lsn)
            return work._replace(last_lsn=reached)
        if isinstance(work, OwedKeys) and isinstance(reached, int):
            return work._replace(addresses=work.addresses[:reached])
        if isinstance(work, ScanPage) and isinstance(reached, Position) and self._scan is not None:
            self._scan.add(reached, work.upto)
            return work._replace(upto=reached)
        return work

    def _put_back(self, work: Work) -> None:
        if isinstance(work, LogRange):
            self._log.add(work.first_lsn, work.last_lsn)
        elif isinstance(work, ScanPage) and self._scan is not None:
            self._scan.add(work.after, work.upto)

    def _takes_nothing(self, flight: Flight, refused: Sequence[Address], why: str) -> bool:
        """Whether that was refused for the peer's own sake, as by one with a full disk: then nothing is owed, all of it waits."""
        return len(refused) == flight.changes > 1 and why not in OF_THE_CHANGE and not isinstance(flight.work, OwedKeys)

    def _freeze_stamp(self) -> None:
        """Something is about to be owed: until the peer has that, no more counts as had."""
        if not self._owed:
            self._frozen_stamp = self.acked_stamp

    def _withhold(self, first_lsn: int, last_lsn: int) -> None:
        """The peer may lack what one of these entries told of. Too much is withheld rather than too little."""
        if len(self._withheld) == WITHHELD_MAX:
            oldest = self._withheld.popleft(), self._withheld.popleft()
            self._withheld.appendleft((min(first for first, _ in oldest), max(last for _, last in oldest)))
        self._withheld.append((first_lsn, last_lsn))

    def _complete(self, work: Work, refused: Sequence[Address]) -> None:
        """That work is done: the peer has it, or it is owed."""
        if isinstance(work, OwedKeys):
            self._owed.taken(set(work.addresses).difference(refused))
            if not self._owed:
                self._withheld.clear()
        elif isinstance(work, LogRange) and refused:
            self._withhold(work.first_lsn, work.last_lsn)
        elif refused and self._scan is not None:
            self._withhold(1, self._scan.since_lsn)
        firsts = self._flights.first_lsns() + ([self._log.first] if self._log else [])
        self._acked_lsn = max(self._acked_lsn, min(firsts, default=self._head.lsn + 1) - 1)
        self._marks.ack(self._acked_lsn)
        if self._scan is not None and self._scan.begun and not self._scan.todo and not self._flights.scanning():
            self._scan = None
            if self._is_up:
                self._up()
        self._moved = True
