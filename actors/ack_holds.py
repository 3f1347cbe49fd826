"""Answers that wait for a peer (FS_REPLICATION_ACK=one): given when one peer has the change on stable storage too, or at the deadline.

Owns the waiting envelopes and their timer. When every peer has been without something for FS_ACK_DEGRADE_SECS, answers stop waiting until
one is back: whoever waits then is answered at once, after the local commit.
"""

from collections.abc import Callable, Sequence
from typing import Any

from actors.messages import Refused
from actors.peer_shipping import PeerShipping
from actors.replicator_messages import HoldForAck
from actors.runtime import Envelope, spawn_later

TOO_LATE = Refused("ReplicationTimeout", "the change is on stable storage here; no peer has confirmed it in time")
EARLY_SECS = 0.5
"""So much before web gives up by itself, and could not say why."""
BACK_SECS = 1.0
"""A peer counts as back when it lacks nothing for longer than this."""


class AckHolds:
    """See the module. `timeout_secs` is FS_REQUEST_TIMEOUT_SECS; `degrade_secs` 0: answers always wait."""

    def __init__(
        self, peers: Sequence[PeerShipping], *, timeout_secs: float, degrade_secs: float, monotonic: Callable[[], float]
    ) -> None:
        self._peers = peers
        self._timeout_secs = timeout_secs - min(EARLY_SECS, timeout_secs / 10)
        self._degrade_secs = degrade_secs
        self._monotonic = monotonic
        self._waiting: list[tuple[float, Envelope]] = []
        self._timer: Any = None
        self.timeouts = 0
        """Answers that were not confirmed in time."""

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def degraded(self) -> bool:
        """Whether answers do not wait at present."""
        return bool(self._peers) and all(peer.degraded for peer in self._peers)

    def take(self, envelope: Envelope) -> bool:
        """Hold that HoldForAck, and return True; or answer it at once."""
        if self._has(envelope.message) or self.degraded:
            envelope.reply(envelope.message.answer)
            return False
        self._waiting.append((self._monotonic() + self._timeout_secs, envelope))
        self._arm()
        return True

    def look(self) -> None:
        """Something has been acknowledged, or time has passed: answer whoever need not wait any more."""
        now = self._monotonic()
        for peer in self._peers:
            self._judge(peer, now)
        if not self._waiting:
            return
        everybody = self.degraded
        waiting = []
        for due, envelope in self._waiting:
            if everybody or self._has(envelope.message):
                envelope.reply(envelope.message.answer)
            elif due <= now:
                self.timeouts += 1
                envelope.reply(TOO_LATE)
            else:
                waiting.append((due, envelope))
        self._waiting = waiting
        self._arm()

    def stop(self) -> None:
        """The node stops: nobody confirms anything any more."""
        if self._timer is not None:
            self._timer.kill(block=False)
        for _, envelope in self._waiting:
            envelope.reply(TOO_LATE)
        self._waiting = []

    def _has(self, hold: HoldForAck) -> bool:
        return any(peer.machine.has(hold.lsn) for peer in self._peers)

    def _judge(self, peer: PeerShipping, now: float) -> None:
        """Whether the peer has lacked something of the log for too long."""
        if not self._degrade_secs:
            return
        lag_secs = peer.machine.log_lag(now).secs
        was = peer.degraded
        peer.degraded = lag_secs >= self._degrade_secs or (was and lag_secs > min(BACK_SECS, self._degrade_secs / 2))
        if peer.degraded != was:
            peer.show()

    def _arm(self) -> None:
        """Look again at the next deadline, or when a peer has been away for long enough."""
        if not self._waiting or self._timer is not None:
            return
        wait_secs = self._waiting[0][0] - self._monotonic()
        if self._degrade_secs:
            wait_secs = min(wait_secs, self._degrade_secs / 4)
        self._timer = spawn_later(max(0.01, wait_secs), self._ring)

    def _ring(self) -> None:
        self._timer = None
        self.look()
