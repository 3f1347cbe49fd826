"""A check beside a running node: no finding that is only the node at work, and every planted one all the same."""

import pytest

from actors import messages as m
from fasterstore.check import store as check_store
from fasterstore.check.confirm import split, touched_between
from fasterstore.check.finding import Finding, Kind
from fasterstore.check.index_rows import IndexCheck
from fasterstore.metadata import schema
from fasterstore.metadata.index import IndexView
from fasterstore.model import DeleteIntent
from fasterstore.storage.disk import RealDisk
from tests.storage_node import rows

A = Finding(Kind.REFS, "blob 1", "2 stored, 1 counted", ("blob", 1), (2,), (1,))
B = Finding(Kind.REFS, "blob 2", "2 stored, 1 counted", ("blob", 2), (2,), (1,))


def test_what_two_looks_say_alike_and_nobody_touched_is_confirmed():
    assert split([A, B], [B, A], set()) == ([A, B], [])
    assert split([A, B], [A._replace(stored=(3,)), B], set()) == ([B], [])
    assert split([A, B], [A, B], {("blob", 1)}) == ([B], [A])
    assert split([A, B], [A, B], None) == ([], [A, B]), "the log does not tell any more"


def mix(node, number):
    """A few changes that move references about."""
    body = b"shared body %d" % (number % 3) * 30
    node.put(b"mix-%d" % (number % 7), body)
    node.put(b"mix-%d" % (number % 5 + 10), body)
    node.journal.ask(m.DeleteObject("b", DeleteIntent(b"mix-%d" % ((number + 3) % 7))))
    node.put(b"busy", b"%d" % (number % 4) * 100)  # few different bodies, or the node would write faster than one reads


def interleave(monkeypatch, node, every):
    """Between two slices of a look the node works: as bad a moment as there is."""
    plain = IndexCheck._slices
    count = [0]

    def slices(self, part):
        for found in plain(self, part):
            count[0] += 1
            if count[0] % every == 0:
                mix(node, count[0])
            yield found

    monkeypatch.setattr(IndexCheck, "_slices", slices)
    monkeypatch.setattr("fasterstore.check.index_rows.ROWS", 2)
    return count


@pytest.mark.parametrize("every", [1, 3, 10])
def test_a_node_at_work_gives_no_finding(running, monkeypatch, every):
    node, store = running
    for number in range(20):
        mix(node, number)
    interleave(monkeypatch, node, every)
    found, _open = store.check(running=True)
    assert [one for one in found if not one.is_note] == []


def test_without_confirmation_the_same_node_would_look_broken(running, monkeypatch):
    """The test above could not fail otherwise."""
    node, store = running
    for number in range(20):
        mix(node, number)
    interleave(monkeypatch, node, 1)
    view = IndexView(store.index_path)
    assert [found for found in IndexCheck(view, whole=False).run() if isinstance(found, Finding)]
    view.close()


@pytest.mark.parametrize("every", [3, 10])
def test_a_planted_finding_is_confirmed_while_the_node_works(running, monkeypatch, every):
    node, store = running
    number = rows(store.index_path, "SELECT blob FROM objects WHERE key = x'6b65792d33'")[0][0]
    row = schema.unpack_blob(*rows(store.index_path, "SELECT number, prefix, segment, value FROM blobs WHERE number = ?", (number,))[0])
    store.change("UPDATE blobs SET value = ? WHERE number = ?", schema.pack_blob(row._replace(refs=9)), number)
    interleave(monkeypatch, node, every)
    found, _open = store.check(running=True)
    assert [(one.kind, one.subject, one.stored, one.counted) for one in found if not one.is_note] == [
        (Kind.REFS, ("blob", number), (9,), (2,))
    ]


def test_what_the_node_keeps_changing_is_told_as_undecided(running, monkeypatch):
    node, store = running
    view = IndexView(store.index_path)
    wrong = Finding(Kind.USAGE, "bucket b", "always", ("bucket", view.bucket("b").bucket_id), (1, 1), (2, 2))
    view.close()

    class Always:
        def __init__(self, view, *, whole):
            pass

        def run(self):
            mix(node, 1)
            yield wrong

    monkeypatch.setattr(check_store, "IndexCheck", Always)
    found, unconfirmed = store.check(running=True)
    assert wrong not in found
    assert unconfirmed == [wrong]


def test_a_reader_is_never_old_enough_to_hold_back_a_checkpoint(running, monkeypatch):
    node, store = running
    plain = IndexCheck._slices
    busy = []

    def slices(self, part):
        for found in plain(self, part):
            node.put(b"dirt", b"%d" % (len(busy) % 3))
            busy.append(node.journal.ask(m.Checkpoint()).busy)
            yield found

    monkeypatch.setattr(IndexCheck, "_slices", slices)
    store.check(running=True)
    assert len(busy) > 10
    assert not any(busy)


def test_the_log_names_what_was_touched(running):
    node, store = running
    view = IndexView(store.index_path)
    before = view.applied_lsn()
    node.put(b"new", b"a new body")
    blob = view.locate("b", b"new").blob
    after = view.applied_lsn()
    touched = touched_between(RealDisk(), store.datadir.journal_dir, view, before, after)
    assert {("blob", blob.number), ("segment", blob.location.segment_id), ("bucket", view.bucket("b").bucket_id)} <= touched
    assert touched_between(RealDisk(), store.datadir.journal_dir, view, after, after) == set()
    assert touched_between(RealDisk(), store.datadir.journal_dir, view, -1000, after) is None
    view.close()
