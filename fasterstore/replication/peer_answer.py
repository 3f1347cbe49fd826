"""What a call to a peer came to, as values: its answers that are no states, and the ways in which there is none.

    answer to a batch     msgpack [version, node id (16 bytes), log uuid (16 bytes), [outcome, ...]]: one outcome for each change, in order;
                          "" applied, "superseded", or the name of what refused it. Spaces may come before it: signs of life
    status                msgpack [version, node id, log uuid, the caller's cursor as seen here: [log uuid, LSN] or nil, horizon stamp]

A node that reads a version it does not know says so by PeerFailure "unreadable" and changes nothing.
"""

from typing import Any, Literal, NamedTuple

import msgpack

VERSION = 1
LIFE_SIGN = b" "
UUID_BYTES = 16

Failed = Literal["unreachable", "timeout", "refused", "busy", "unreadable", "wrong-bytes"]


class PeerFailure(NamedTuple):
    """No answer that could be used. Nothing is known of what the peer did; whatever was asked may be asked again.

    `failed`: "unreachable" (no connection, or it broke), "timeout" (no progress), "refused" (4xx: token, clock, not a peer of it),
    "busy" (503, 507, 5xx: try later), "unreadable" (not this protocol), "wrong-bytes" (they are not what their hash says).
    `status` is the HTTP status, 0 without one; `detail` one line for people, without secrets.
    """

    failed: Failed
    status: int = 0
    detail: str = ""


class BatchAnswer(NamedTuple):
    """What became of each change of a batch: on stable storage at the peer, whose node id and log uuid these are."""

    node_id: bytes
    log_uuid: bytes
    outcomes: list[str]


class PeerStatus(NamedTuple):
    """Who the peer is, what it has seen of the caller's log, and up to which stamp it has forgotten tombstones (0: none)."""

    node_id: bytes
    log_uuid: bytes
    seen: tuple[bytes, int] | None
    horizon_stamp: int


def pack_batch_answer(answer: BatchAnswer) -> bytes:
    """The body that answers a batch."""
    return msgpack.packb([VERSION, answer.node_id, answer.log_uuid, answer.outcomes])


def read_batch_answer(body: bytes, change_count: int) -> BatchAnswer | PeerFailure:
    """The answer to a batch of so many changes."""
    fields = _fields(body.lstrip(LIFE_SIGN), 3)
    if isinstance(fields, PeerFailure):
        return fields
    node_id, log_uuid, outcomes = fields
    well_formed = _is_uuid(node_id) and _is_uuid(log_uuid) and isinstance(outcomes, list) and all(type(name) is str for name in outcomes)
    if not well_formed or len(outcomes) != change_count:
        return _unreadable("its fields are not what they should be")
    return BatchAnswer(node_id, log_uuid, outcomes)


def pack_status(status: PeerStatus) -> bytes:
    """The body that answers a question for the status."""
    return msgpack.packb([VERSION, status.node_id, status.log_uuid, status.seen, status.horizon_stamp])


def read_status(body: bytes) -> PeerStatus | PeerFailure:
    """The peer's status."""
    fields = _fields(body, 4)
    if isinstance(fields, PeerFailure):
        return fields
    node_id, log_uuid, seen, horizon_stamp = fields
    if not (_is_uuid(node_id) and _is_uuid(log_uuid) and type(horizon_stamp) is int):
        return _unreadable("its fields are not what they should be")
    if seen is not None:
        if not (isinstance(seen, list) and len(seen) == 2 and _is_uuid(seen[0]) and type(seen[1]) is int):
            return _unreadable("its cursor is none")
        seen = (seen[0], seen[1])
    return PeerStatus(node_id, log_uuid, seen, horizon_stamp)


def _fields(body: bytes, count: int) -> "list[Any] | PeerFailure":
    try:
        fields = msgpack.unpackb(body)
    except (ValueError, msgpack.UnpackException):
        return _unreadable("it is not msgpack")
    if not isinstance(fields, list) or not fields:
        return _unreadable("it is not a list")
    if fields[0] != VERSION:
        return _unreadable("it is of another version: run the same FasterStore on both nodes")
    if len(fields) != count + 1:
        return _unreadable("it has not the fields it should have")
    return fields[1:]


def _is_uuid(value: Any) -> bool:
    return type(value) is bytes and len(value) == UUID_BYTES


def _unreadable(why: str) -> PeerFailure:
    return PeerFailure("unreadable", 200, f"the peer's answer cannot be read: {why}")
