"""How far a peer has come, as it is kept across restarts, and what may still be owed to it."""

from typing import NamedTuple


class Position(NamedTuple):
    """A place in the order (bucket name, key) in which everything is sent anew; key b"" is the bucket's own registers."""

    bucket: str
    key: bytes


START = Position("", b"")


class Address(NamedTuple):
    """What a change is about: a key, or with None the bucket itself."""

    bucket: str
    key: bytes | None


class Cursor(NamedTuple):
    """The peer `peer_node` with the log `peer_log` has what the entries up to `lsn` of the log `log_uuid` told of (ids of 16 bytes).

    Except for what is `owed`: it was refused, and is sent again. While `scan_reason` is not "", the peer is being sent everything, and has
    it up to `scan_after` inclusive. `acked_stamp`: it has every change of this node's own up to that stamp, if nothing is being scanned.
    `level_ms`: up to when it has everything (Unix ms).
    """

    log_uuid: bytes
    peer_node: bytes
    peer_log: bytes
    lsn: int
    acked_stamp: int
    level_ms: int
    scan_reason: str = ""
    scan_after: Position = START
    owed: tuple[Address, ...] = ()
