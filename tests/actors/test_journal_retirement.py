"""The journal gives up log files: by an entry first, never the current file, never what index, copies, pins or peers need."""

import errno
from functools import partial

import pytest

from actors import messages as m
from actors.runtime import ActorDeadError
from actors.snapshot_messages import LogState, ReadLogState, RetireLog
from fasterstore.metadata.entries import decode
from fasterstore.metadata.log_entries import LogRetired
from fasterstore.storage.wal import log_files
from fasterstore.storage.wal_recovery import read_from
from fasterstore.storage.wal_recovery import recover as real_recover
from tests.storage_node import audit
from tools import journal_start


@pytest.fixture
def node(make_node, monkeypatch):
    """With a log of files of 8 KiB, more than five of them."""
    monkeypatch.setattr(journal_start, "recover", partial(real_recover, rotate_bytes=1 << 13, step_bytes=1 << 12))
    made = make_node().start()
    made.journal.ask(m.CreateBucket("b"))
    fill(made)
    assert len(firsts(made)) > 5
    return made


def fill(node):
    for number in range(20):
        node.ask_together(node.writer, [node.small(b"key-%d-%d" % (number, n), b"body") for n in range(20)])


def firsts(node):
    return [file.first_lsn for file in log_files(node.disk, node.datadir.journal_dir)]


def state(node):
    return node.journal.ask(ReadLogState())


def retire(node, copy_lsn=None, wanted=(), retention_bytes=0):
    node.journal.tell(RetireLog(state(node).head_lsn if copy_lsn is None else copy_lsn, list(wanted), retention_bytes))
    state(node)  # perhaps of the same batch, after which the files go
    return state(node)


def test_all_but_the_current_file_goes_and_a_logged_entry_says_so(node):
    current = firsts(node)[-1]
    assert state(node).log_start == 1
    assert retire(node).log_start == current
    assert firsts(node)[0] == current
    entries = [decode(data) for _, data in read_from(node.disk, node.datadir.journal_dir, current)]
    assert [entry for entry in entries if isinstance(entry, LogRetired)] == [LogRetired(current)]


def test_what_the_older_copy_a_pin_or_a_peer_needs_stays(node):
    before = firsts(node)
    retire(node, copy_lsn=0)
    assert firsts(node) == before, "fewer than two copies: nothing goes"
    retire(node, copy_lsn=before[2])
    assert firsts(node)[0] == before[2]
    retire(node, wanted=[before[3], before[4]], retention_bytes=1 << 30)
    assert firsts(node)[0] == before[3]
    retire(node, wanted=[before[3]], retention_bytes=0)
    assert firsts(node) == before[-1:]


def test_the_node_goes_on_and_starts_again_from_what_is_left(node):
    retire(node)
    fill(node)
    node.restart()
    audit(node.index_path)
    left = firsts(node)
    assert state(node).log_start == left[0]
    retire(node)
    node.stop()
    node.start()
    audit(node.index_path)
    assert type(state(node)) is LogState


def test_files_whose_removal_was_cut_short_go_the_next_time(node):
    node.settle()
    node.disk.fail_next("unlink", errno.EIO, after=1)
    current = firsts(node)[-1]
    node.journal.tell(RetireLog(state(node).head_lsn, [], 0))
    with pytest.raises(ActorDeadError):
        for _ in range(2):
            state(node)
    assert node.fatals[0][1] is True, "an unlink that fails is a suspect volume"
    assert len(firsts(node)) > 1
    node.fatals.clear()
    node.crash()
    node.start()
    assert state(node).log_start == current
    retire(node)
    assert firsts(node)[0] >= current
    audit(node.index_path)

