"""Which stamp a change made here gets, and how the log's clock goes on. The judges' side and the fold's side of one rule.

A local stamp is above every stamp that its key has had here. Almost always `last_stamp` alone sees to that, since a peer's stamp advances
it. A peer whose clock is far ahead does not: such stamps stand in rows above `last_stamp` (`ahead_stamp` is the highest of them), and as
long as there may be one, the judge looks at the key and goes one above what it finds there. A stamp made so does not advance the clock
either, or one wrong clock would become everybody's.
"""

from fasterstore.clock import advance
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.model import ObjectRow
from fasterstore.replication.merge import highest_stamp


def key_stamp(index: IndexWriter, bucket: str, keys: tuple[bytes, ...], now_ms: int, after: int = 0) -> int:
    """Return the stamp of a change of these keys: above all they have had, the log's last, and `after`. Raises DamagedRow."""
    stamp = advance(max(index.state.last_stamp, after), now_ms)
    if index.replication.state.ahead_stamp < stamp:
        return stamp
    return max(stamp, *(held_stamp(index, bucket, key) + 1 for key in keys))


def bucket_stamp(index: IndexWriter, bucket: str, now_ms: int) -> int:
    """Return the stamp of a change of the bucket's registers: above all of them and the log's last. Raises DamagedRow."""
    stamp = advance(index.state.last_stamp, now_ms)
    if index.replication.state.ahead_stamp < stamp:
        return stamp
    return max(stamp, highest_stamp(index.replication.registers(bucket)) + 1)


def held_stamp(index: IndexWriter, bucket: str, key: bytes) -> int:
    """Return the stamp of what stands under the key, an object or a tombstone; 0 if nothing does. Raises DamagedRow."""
    row = index.bucket(bucket)
    held = None if row is None else index.object(row.bucket_id, key)
    return tombstone_stamp(index, bucket, key) if held is None else held.stamp


def tombstone_stamp(index: IndexWriter, bucket: str, key: bytes) -> int:
    """Return the stamp of the key's tombstone, 0 if it has none. Raises DamagedRow."""
    tombstone = index.replication.tombstone(bucket, key)
    return 0 if tombstone is None else tombstone.stamp


def replaced_stamp(index: IndexWriter, bucket: str, key: bytes, old: ObjectRow | None) -> int:
    """The fold's: return the stamp of what a local put replaces, 0 where that is not above the log's last. Raises DamagedRow."""
    if index.replication.state.ahead_stamp <= index.state.last_stamp:
        return 0
    return tombstone_stamp(index, bucket, key) if old is None else old.stamp


def go_on(index: IndexWriter, stamp: int, replaced: int = 0) -> None:
    """The fold's: a change made here has that stamp; `replaced` is the highest of what it replaced, if that may be above the log's last."""
    state = index.state
    if replaced > state.last_stamp and stamp == replaced + 1:
        stay(index, stamp)
    elif stamp > state.last_stamp:
        index.state = state._replace(last_stamp=stamp)


def stay(index: IndexWriter, stamp: int) -> None:
    """The fold's: a row has that stamp, and the clock does not follow it."""
    held = index.replication.state
    if stamp > held.ahead_stamp:
        index.replication.state = held._replace(ahead_stamp=stamp)


def follow(index: IndexWriter, stamp: int, advances_clock: bool) -> None:
    """The fold's: a peer's change has that stamp."""
    if not advances_clock:
        stay(index, stamp)
    elif stamp > index.state.last_stamp:
        index.state = index.state._replace(last_stamp=stamp)
