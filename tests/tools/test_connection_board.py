"""The board of open connections: each worker's number is seen by the others, also across a fork."""

import os

from tools.connection_board import ConnectionBoard


def test_a_worker_learns_whether_another_has_fewer():
    board = ConnectionBoard(2)
    board.publish(0, 3)
    assert not board.another_has_fewer(1, 2)
    assert not board.another_has_fewer(1, 3)
    assert board.another_has_fewer(1, 4)


def test_an_absent_worker_is_never_the_one_with_fewer():
    board = ConnectionBoard(3)
    assert not board.another_has_fewer(1, 1000)
    board.publish(0, 0)
    assert board.another_has_fewer(1, 1)
    board.clear(0)
    assert not board.another_has_fewer(1, 1)


def test_a_forked_worker_writes_where_its_parent_reads():
    board = ConnectionBoard(2)
    pid = os.fork()
    if pid == 0:
        board.publish(0, 7)
        os._exit(0)
    os.waitpid(pid, 0)
    assert board.another_has_fewer(1, 8)
    assert not board.another_has_fewer(1, 7)
