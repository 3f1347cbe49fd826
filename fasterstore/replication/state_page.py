"""A page of states of a range, as a peer that compares asks for it. Format version 1, msgpack.

The question is the query of GET /_internal/replicate/snapshot: `scope` (`digest.Scope`), `first_bucket` and `first_key`, from where on,
`end_bucket` and `end_key`, before where, both empty for the end of all, keys in hex; `limit`, how many states at most. The answer is

| field   | type | meaning                                                                                              |
|---------|------|------------------------------------------------------------------------------------------------------|
| version | int  | 1; another is refused by name                                                                        |
| whole   | bool | there are no more states in the range                                                                |
| batch   | bin  | the states in order of place as a batch of no entries (`change.py`), objects without their bytes     |

A page ends early once it is PAGE_BYTES long; one state always fits.
"""

from collections.abc import Mapping

import msgpack

from fasterstore.errors import UnsupportedFormat
from fasterstore.replication.anti_entropy import PAGE_STATES, Page
from fasterstore.replication.change import BATCH_HARD_MAX_BYTES, BATCH_VERSION, Batch, join_batch
from fasterstore.replication.change_reading import MalformedBatch, decode_batch
from fasterstore.replication.digest import KeyRange, Place, Scope

PAGE_VERSION = 1
PAGE_BYTES = 1 << 20
PAGE_HARD_MAX_BYTES = BATCH_HARD_MAX_BYTES + 1024
_FIELDS = 3


class MalformedQuestion(ValueError):
    """The query asks for no page; the message says why."""


def question(asked: KeyRange, limit: int) -> list[tuple[str, str]]:
    """The names and values of the query that asks for at most `limit` states of that range."""
    end_bucket, end_key = asked.end or ("", b"")
    return [
        ("scope", str(int(asked.scope))),
        ("first_bucket", asked.first.bucket),
        ("first_key", asked.first.key.hex()),
        ("end_bucket", end_bucket),
        ("end_key", end_key.hex()),
        ("limit", str(limit)),
    ]


def read_question(query: Mapping[str, str]) -> tuple[KeyRange, int]:
    """The range that a query asks about, from the beginning of all objects by default, and its limit. Raises MalformedQuestion."""
    try:
        first = Place(query.get("first_bucket", ""), bytes.fromhex(query.get("first_key", "")))
        end = Place(query.get("end_bucket", ""), bytes.fromhex(query.get("end_key", "")))
        scope, limit = Scope(int(query.get("scope", "0"))), int(query.get("limit", str(PAGE_STATES)))
    except ValueError as error:
        raise MalformedQuestion(str(error)) from None
    if not 0 < limit <= PAGE_STATES:
        raise MalformedQuestion(f"limit must be 1 to {PAGE_STATES}")
    return KeyRange(scope, first, end if end.bucket else None), limit


def encode_page(node_id: bytes, log_uuid: bytes, changes: list[bytes], whole: bool) -> bytes:
    """The page's bytes; `changes` are encoded (`change.encode_change`)."""
    head = Batch(BATCH_VERSION, node_id, log_uuid, 0, 0, ())
    raw: bytes = msgpack.packb((PAGE_VERSION, whole, join_batch(head, changes)))
    return raw


def decode_page(data: bytes) -> Page:
    """The page of these bytes. Raises UnsupportedFormat for another version, MalformedBatch for all else."""
    try:
        fields = msgpack.unpackb(data, max_bin_len=BATCH_HARD_MAX_BYTES)
    except Exception as error:
        # msgpack documents no closed set of errors for bad input.
        raise MalformedBatch(f"{type(error).__name__}: {error}") from None
    if type(fields) is not list or not fields:
        raise MalformedBatch("not an array")
    if fields[0] != PAGE_VERSION:
        raise UnsupportedFormat(f"pages of states of version {str(fields[0])[:20]}; this build speaks version {PAGE_VERSION}")
    if len(fields) != _FIELDS or type(fields[1]) is not bool or type(fields[2]) is not bytes:
        raise MalformedBatch("not a page of states")
    batch = decode_batch(fields[2])
    return Page(batch.changes, fields[1], batch.node_id, batch.log_uuid)
