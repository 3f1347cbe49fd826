"""Work of one peer that is being read or on its way: bounded in number and bytes. No I/O, no clock."""

from collections.abc import Sequence

from fasterstore.replication.work import Flight, LogRange, OwedKeys, ScanPage, Work

LIGHT_FLIGHTS_MAX = 4
FLIGHTS_MAX = 16
"""Of both kinds; a heavy one is one for which the peer has to fetch many bytes."""
SCAN_FLIGHTS_MAX = 4
WINDOW_BYTES = 8 << 20
"""Of batches on their way: what they hold here."""


class Flights:
    """At most one piece of work is being read."""

    def __init__(self) -> None:
        self.reading: Work | None = None
        self._flights: dict[int, Flight] = {}
        self._last_number = 0

    def next_number(self) -> int:
        """A number that no work had before."""
        self._last_number += 1
        return self._last_number

    def get(self, number: int) -> Flight | None:
        """The flight with that number; None if it has ended, or belongs to what was given up."""
        return self._flights.get(number)

    def all(self) -> Sequence[Flight]:
        """What is on its way."""
        return tuple(self._flights.values())

    def send(self, flight: Flight) -> None:
        """That work is on its way now."""
        self._flights[flight.work.number] = flight

    def take(self, number: int) -> Work | None:
        """Remove and return the work with that number, read or not; None if there is none."""
        if self.reading is not None and self.reading.number == number:
            work, self.reading = self.reading, None
            return work
        flight = self._flights.pop(number, None)
        return None if flight is None else flight.work

    def clear(self) -> None:
        """Give all of it up: whatever comes of it counts no more."""
        self._flights.clear()
        self.reading = None

    @property
    def has_room(self) -> bool:
        """Whether more may be read."""
        flights = self._flights.values()
        light = sum(not flight.heavy for flight in flights)
        return (
            self.reading is None
            and light < LIGHT_FLIGHTS_MAX
            and len(flights) < FLIGHTS_MAX
            and sum(flight.size_bytes for flight in flights) < WINDOW_BYTES
        )

    @property
    def has_scan_room(self) -> bool:
        """Whether another page of a scan may be on its way."""
        return len(self.scanning()) < SCAN_FLIGHTS_MAX

    @property
    def has_owed(self) -> bool:
        """Whether keys that were owed are on their way."""
        return any(isinstance(work, OwedKeys) for work in self._works())

    def scanning(self) -> list[ScanPage]:
        """The pages of a scan."""
        return [work for work in self._works() if isinstance(work, ScanPage)]

    def first_lsns(self) -> list[int]:
        """The first LSN of each range of the log."""
        return [work.first_lsn for work in self._works() if isinstance(work, LogRange)]

    def _works(self) -> list[Work]:
        works = [flight.work for flight in self._flights.values()]
        return works if self.reading is None else [*works, self.reading]
