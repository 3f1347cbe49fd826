"""Checking the rows of replication: tombstones against objects, registers against buckets, peers' numbers against blobs, stamps and counts.

Rows are put in table by table, as into `references.py`, whose conventions hold.
"""

from collections.abc import Iterator

from fasterstore.check.finding import Finding, Kind
from fasterstore.check.references import References
from fasterstore.digests import crc32c
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.replication_schema import PeerBlobRow, RegistersRow, TombstoneRow
from fasterstore.model import BucketRow, ObjectRow
from fasterstore.replication.merge import bucket_exists, created_ms_of, documents_of, highest_stamp

Subject = tuple[str, int]
TOMBSTONES: Subject = ("tombstones", 0)
"""What findings about tombstones are about: all of them together, since they are counted in one number."""


def registers_subject(name: str) -> Subject:
    """What findings about a bucket's registers are about."""
    return "registers", crc32c(name.encode())


class ReplicationRows:
    """See the module."""

    def __init__(self, view: IndexView, references: References) -> None:
        self._view = view
        self._references = references
        self._tombstones = 0
        self._highest_stamp = 0
        self._described: set[str] = set()

    def object(self, row: ObjectRow) -> None:
        """An object."""
        self._highest_stamp = max(self._highest_stamp, row.stamp)

    def tombstone(self, row: TombstoneRow) -> Iterator[Finding]:
        """A tombstone: no object is where one is."""
        self._tombstones += 1
        self._highest_stamp = max(self._highest_stamp, row.stamp)
        if self._view.replication.key_state(row.bucket, row.key).object is not None:
            where = f"tombstone {row.bucket}/{row.key.decode(errors='backslashreplace')}"
            yield Finding(Kind.STRAY_ROW, where, "the key has an object", TOMBSTONES)

    def registers(self, row: RegistersRow) -> Iterator[Finding]:
        """A bucket's registers: they and its row say the same."""
        self._described.add(row.name)
        self._highest_stamp = max(self._highest_stamp, highest_stamp(row.registers))
        reason = _difference(row, self._view.bucket(row.name))
        if reason:
            yield Finding(Kind.REGISTERS, f"registers of bucket {row.name}", reason, registers_subject(row.name))

    def peer_blob(self, row: PeerBlobRow) -> Iterator[Finding]:
        """A number of another log: the blob that it means is there."""
        if self._references.blob_bytes(row.blob) is None:
            where = f"blob {row.number} of the log {row.log_uuid.hex()}"
            yield Finding(Kind.DANGLING, where, f"there is no blob {row.blob}", ("blob", row.blob))

    def sums(self) -> Iterator[Finding]:
        """What is left to say once every row has been put in."""
        for name in self._references.buckets.values():
            if name not in self._described and self._view.bucket(name) and self._view.replication.registers(name) is None:
                yield Finding(Kind.REGISTERS, f"bucket {name}", "it has no registers", registers_subject(name))
        state, last_stamp = self._view.replication.state(), self._view.state().last_stamp
        if state.tombstones != self._tombstones:
            detail = f"{state.tombstones} tombstones are stored, {self._tombstones} counted"
            yield Finding(Kind.TOMBSTONE_COUNT, "count of tombstones", detail, TOMBSTONES, (state.tombstones,), (self._tombstones,))
        if max(last_stamp, state.ahead_stamp) < self._highest_stamp:
            detail = f"{max(last_stamp, state.ahead_stamp)} is stored, {self._highest_stamp} is in use"
            yield Finding(Kind.COUNTER, "last stamp", detail, ("counter", 0))


def _difference(held: RegistersRow, row: BucketRow | None) -> str:
    if row is None:
        return "" if held.gone_ms and not bucket_exists(held.registers, False) else "the bucket exists by them, and has no row"
    if held.gone_ms or not bucket_exists(held.registers, False):
        return "the bucket is gone by them, and has a row"
    if documents_of(held.registers) != row.settings:
        return "they have other settings than the bucket's row"
    return "" if created_ms_of(held.registers) == row.created_ms else "they have another time of creation than the bucket's row"
