"""Bucket rows and their registers under the fold. Part of `fold.py`, which owns the rules.

The registers say what all nodes agree on, the row what this node serves; both are written by the same entry.
"""

from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.replication_schema import RegistersRow
from fasterstore.metadata.stamps import go_on
from fasterstore.metadata.upload_schema import Release, Unused
from fasterstore.model import BucketId, BucketRow
from fasterstore.replication.merge import Registers, created_ms_of, documents_of, highest_stamp, join_registers


def change_registers(index: IndexWriter, name: str, stamp: int, change: Registers, gone_ms: int = 0) -> Registers:
    """Join a change that was made here into the bucket's registers and return them; a delete (`gone_ms`) is kept only for peers."""
    held = index.replication.registers(name)
    registers = join_registers(held, change)
    if gone_ms and not index.replication.state.peers:
        index.replication.delete_registers(name)
    else:
        index.replication.put_registers(RegistersRow(name, registers, gone_ms))
    go_on(index, stamp, highest_stamp(held))
    return registers


def put_bucket(index: IndexWriter, lsn: int, name: str, registers: Registers) -> None:
    """Make the bucket's row what its registers say; one that was not there gets the entry's LSN as its id."""
    row = index.bucket(name)
    created_ms, settings = created_ms_of(registers) or 0, documents_of(registers)
    if row is None:
        index.put_bucket(BucketRow(BucketId(lsn), name, created_ms, settings, lsn))
        index.add_usage(lsn, 0, 0)
    else:
        index.put_bucket(row._replace(created_ms=created_ms, settings=settings, version=lsn))


def remove_bucket(index: IndexWriter, row: BucketRow, now_ms: int) -> None:
    """Take the bucket's row away; uploads that are open are given up bit by bit, however many."""
    index.delete_bucket(row)
    if index.uploads.has_uploads(row.bucket_id):
        index.uploads.put_release(Release(row.bucket_id, now_ms, Unused.UPLOADS))
