"""A damaged blob is given its bytes back without a new name: only its own bytes, only while it is damaged, and for all who share it."""

import hashlib

import pytest

from fasterstore.errors import DamagedRecord, StaleEpoch
from fasterstore.metadata.entries import BlobRepaired, decode
from fasterstore.model import PutIntent
from fasterstore.storage.record import record_bytes
from fasterstore.storage.wal_recovery import read_from
from tests.storage_node import audit

BODY = b"the same bytes"


def repair(lab, blob, body=BODY, **claim):
    return lab.ask.put(PutIntent("", b"", len(body), "", {}, {}, {}, repairs=blob), lab.claim(body, **claim), lab.now_ms)


def mark(lab, blob):
    place = lab.index.blob(blob).location
    lab.now(lambda: lab.ask.mark_damaged(blob, place.segment_id, place.offset, place.record_id))


@pytest.fixture
def damaged(lab):
    """Blob 1, which two keys share, failed verification; its segment is sealed."""
    lab.now(lambda: lab.put(b"a", BODY), lambda: lab.put(b"b", BODY, 1))
    mark(lab, 1)
    lab.seal_segment()
    return lab


def test_a_repaired_blob_lies_elsewhere_for_every_object_that_shares_it(damaged):
    before = damaged.index.blob(1)
    result = damaged.now(lambda: repair(damaged, 1))
    row = damaged.index.blob(1)
    assert (row.refs, row.damaged, row.location.segment_id) == (2, False, damaged.segment)
    assert (result.deduplicated, result.lsn) == (False, damaged.index.state.applied_lsn)
    assert damaged.index.damaged_blobs == 0
    assert damaged.index.segment(before.location.segment_id).live_bytes == 0
    assert damaged.index.segment(damaged.segment).live_bytes == record_bytes(len(BODY))
    assert [entry for _, data in read_from(damaged.disk, "/journal", 1) if isinstance(entry := decode(data), BlobRepaired)] == [
        BlobRepaired(1, row.location)
    ]
    audit(damaged.path)


def test_what_was_repaired_or_forgotten_meanwhile_is_left_alone_and_the_new_record_is_nobodys(damaged):
    damaged.now(lambda: repair(damaged, 1))
    place = damaged.index.blob(1).location
    for blob in (1, 99):
        result = damaged.now(lambda blob=blob: repair(damaged, blob))
        assert (result.lsn, result.deduplicated) == (0, True)
    assert damaged.index.blob(1).location == place
    audit(damaged.path)


def test_other_bytes_and_those_of_an_older_epoch_are_refused(damaged):
    answers = damaged.batch(lambda: repair(damaged, 1, b"other bytes"), lambda: repair(damaged, 1, epoch=damaged.journal.epoch - 1))
    assert [type(answer) for answer in answers] == [DamagedRecord, StaleEpoch]
    assert damaged.index.blob(1).damaged
    audit(damaged.path)


def test_a_repair_survives_a_replay(damaged):
    damaged.now(lambda: repair(damaged, 1))
    place = damaged.index.blob(1).location
    damaged.close()
    damaged.open()
    damaged.start()
    assert damaged.index.blob(1).location == place
    assert not damaged.index.blob(1).damaged
    assert damaged.index.blob(1).blob_id == hashlib.sha256(BODY).digest()
    audit(damaged.path)
