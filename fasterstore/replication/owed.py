"""What a peer refused or was found to lack: sent again, those first that have waited longest. Bounded; no I/O, no clock."""

from collections.abc import Iterable, Sequence

from fasterstore.replication.cursor import Address

OWED_MAX = 1000
PAUSE_MIN_SECS = 0.2
PAUSE_MAX_SECS = 5.0


class Owed:
    """See the module. `due_at` is when they may be tried, by the owner's clock."""

    def __init__(self, addresses: Iterable[Address], now: float) -> None:
        self._addresses = dict.fromkeys(addresses)
        self._pause_secs = PAUSE_MIN_SECS
        self.due_at = now

    def __bool__(self) -> bool:
        return bool(self._addresses)

    @property
    def room(self) -> int:
        """How many more there may be."""
        return max(0, OWED_MAX - len(self._addresses))

    def has_room_for(self, addresses: Iterable[Address]) -> bool:
        """Whether these may be added, those that are there already not counted."""
        return len(self._addresses.keys() | set(addresses)) <= OWED_MAX

    def first(self, count: int) -> tuple[Address, ...]:
        """At most so many, the next to be tried."""
        return tuple(self._addresses)[:count]

    def all(self) -> tuple[Address, ...]:
        """Every one."""
        return tuple(self._addresses)

    def refused(self, addresses: Sequence[Address], now: float) -> None:
        """Add these behind all others: what is refused again and again must not keep the others from being tried."""
        for address in addresses:
            self._addresses.pop(address, None)
            self._addresses[address] = None
        self.due_at = now + self._pause_secs
        self._pause_secs = min(self._pause_secs * 2, PAUSE_MAX_SECS)

    def found(self, addresses: Sequence[Address], now: float) -> None:
        """Add these, to be tried at once."""
        self._addresses.update(dict.fromkeys(addresses))
        self.due_at = now

    def taken(self, addresses: Iterable[Address]) -> None:
        """The peer has these."""
        for address in addresses:
            self._addresses.pop(address, None)
        if not self._addresses:
            self._pause_secs = PAUSE_MIN_SECS

    def clear(self) -> None:
        """All of it is told otherwise."""
        self._addresses.clear()
