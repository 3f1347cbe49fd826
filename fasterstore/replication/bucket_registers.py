"""What all nodes come to agree on about one bucket name: registers, each of which is joined by itself (`merge.py`).

Kept under the name whether or not there is such a bucket. A register is decided by the higher pair (stamp, origin node id).
"""

from typing import NamedTuple


class Pair(NamedTuple):
    """What decides: a hybrid clock's stamp, and the 16-byte id of the node that gave it. (0, b"") is below all others."""

    stamp: int
    origin: bytes


NEVER = Pair(0, b"")


class Create(NamedTuple):
    """The bucket was made, `created_ms` Unix milliseconds."""

    stamp: int
    origin: bytes
    created_ms: int


class Setting(NamedTuple):
    """A setting's document, None where it was taken away, as of that pair."""

    document: bytes | None
    stamp: int
    origin: bytes


class HomeSet(NamedTuple):
    """An operator moved the bucket's home to the node `node_id` (16 bytes)."""

    stamp: int
    origin: bytes
    node_id: bytes


class Registers(NamedTuple):
    """All there is to know of a bucket name. `creates` are those above `deleted`, in order of their pairs."""

    creates: tuple[Create, ...] = ()
    deleted: Pair = NEVER
    settings: dict[str, Setting] = {}
    home: HomeSet | None = None
