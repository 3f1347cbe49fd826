"""What the journal may be asked: each request says what it will have done, a refused one leaves nothing, damage gives up the batch."""

import hashlib

import pytest

from fasterstore.errors import DamagedRow, NoSuchUpload
from fasterstore.metadata.journal import FoldFailed
from fasterstore.metadata.requests import PutResult
from fasterstore.model import RenameIntent, Slice
from tests.storage_node import change, dump


def etag(body):
    return hashlib.md5(body).hexdigest()


def test_every_request_says_the_lsn_of_its_entry(lab):
    lsn = lab.journal.applied_lsn
    lab.now(lambda: lab.put(b"k", b"one"))
    assert lab.object(b"k").etag == etag(b"one")
    upload = lab.upload()
    steps = (
        lambda: lab.copy(b"k", b"l"),
        lambda: lab.ask.rename(RenameIntent("b", b"l", b"m"), lab.now_ms),
        lambda: lab.ask.amend("b", b"m", {"a": "b"}, None, lab.now_ms),
        lambda: lab.ask.configure("b", "cors", b"<x/>", lab.now_ms),
        lambda: lab.copy_part(upload, 1, (Slice(1, 0, 3),), b"k"),
        lambda: lab.complete(upload, key=b"k"),
        lambda: lab.delete(b"m"),
    )
    assert upload == lsn + 2
    assert lab.batch(*steps) == [upload + number for number in range(1, len(steps) + 1)]


def test_a_put_a_part_and_an_append_say_their_etag_and_whether_they_were_there_already(lab):
    upload = lab.upload()
    now_ms = lab.now_ms
    first, part, appended, repeated = lab.batch(
        lambda: lab.put(b"k", b"one"),
        lambda: lab.part(upload, 1, b"one", blob=1),
        lambda: lab.append(b"k", b"two"),
        lambda: lab.append(b"k", b"one", blob=1, written=False),
    )
    assert first == PutResult(upload + 1, now_ms, False, etag(b"one"))
    assert part == PutResult(upload + 2, now_ms, True, etag(b"one"))
    assert appended == PutResult(upload + 3, now_ms, False, etag(f"{etag(b'one')}{etag(b'two')}".encode()) + "-2")
    assert repeated == PutResult(upload + 4, now_ms, True, lab.object(b"k").etag)


def test_a_refused_request_leaves_nothing_in_its_batch(lab):
    before, head = dump(lab.path), lab.journal.head_lsn
    (answer,) = lab.batch(lambda: lab.part(7, 1, b"one"))
    assert isinstance(answer, NoSuchUpload)
    assert (dump(lab.path), lab.journal.head_lsn) == (before, head)


@pytest.mark.parametrize(
    ("table", "step", "error"),
    [
        ("uploads", lambda lab, upload: lab.part(upload, 1, b"x"), DamagedRow),
        ("parts", lambda lab, upload: lab.part(upload, 1, b"x"), FoldFailed),
        ("manifests", lambda lab, _upload: lab.copy(b"m", b"l"), FoldFailed),
        ("manifests", lambda lab, _upload: lab.delete(b"m"), FoldFailed),
        ("maps", lambda lab, _upload: lab.append(b"m", b"x"), FoldFailed),
        ("releases", lambda lab, _upload: lab.ask.release_parts(lab.now_ms, lab.now_ms), DamagedRow),
    ],
)
def test_a_damaged_row_in_the_way_is_a_refusal_while_judging_and_gives_up_the_batch_while_folding(lab, table, step, error):
    lab.manifest(b"old", key=b"n")
    lab.now(lambda: lab.delete(b"n"))
    lab.manifest(b"one", key=b"m")
    upload = lab.upload()
    lab.now(lambda: lab.part(upload, 1, b"one"))
    change(lab.path, f"UPDATE {table} SET value = zeroblob(40)")
    before = dump(lab.path)
    lab.journal.begin()
    with pytest.raises(error):
        step(lab, upload)
    lab.journal.abandon()
    assert dump(lab.path) == before
