"""The board that all processes read: what is written is what is read, in another process too, and a half-written cell is never believed."""

import os

import pytest

from fasterstore.replication.board import PeerCell, PeerState, ReplicationBoard

A, B = "http://a:9000", "http://b:9000"
CELL = PeerCell(PeerState.RESYNCING, 1_700_000_000_123 << 16, 12, 3456, 1_700_000_000_123, True, bytes(range(16)))


def test_each_peer_has_a_cell():
    board = ReplicationBoard([A, B])
    assert board.cells() == [(A, PeerCell()), (B, PeerCell())]
    board.write(B, CELL)
    assert board.cells() == [(A, PeerCell()), (B, CELL)]
    with pytest.raises(ValueError):
        board.read("http://c:9000")


def test_another_process_sees_what_this_one_writes():
    board = ReplicationBoard([A])
    reading, writing = os.pipe()
    if not (pid := os.fork()):
        os.write(writing, b"y" if os.read(reading, 1) and board.read(A) == CELL else b"n")
        os._exit(0)
    board.write(A, CELL)
    os.write(writing, b"!")
    os.waitpid(pid, 0)
    assert os.read(reading, 1) == b"y"


def test_what_every_peer_has_is_what_the_last_of_them_has():
    board = ReplicationBoard([A, B])
    board.write(A, CELL)
    assert board.acked_stamp() == 0
    board.write(B, CELL._replace(acked_stamp=5))
    assert board.acked_stamp() == 5
    assert ReplicationBoard([]).acked_stamp() == 0


def test_a_cell_that_is_being_written_is_not_believed():
    board = ReplicationBoard([A])
    board.write(A, CELL)
    board._memory[0] |= 1  # as a writer leaves it that dies half-way
    assert board.read(A) == PeerCell()
    board.write(A, CELL)
    assert board.read(A) == CELL


def test_the_lag_in_seconds_counts_from_when_the_peer_began_to_lack_something():
    assert CELL.lag_secs(1_700_000_010_123) == 10.0
    assert CELL.lag_secs(1_600_000_000_000) == 0.0
    assert PeerCell().lag_secs(1_700_000_000_000) == 0.0
