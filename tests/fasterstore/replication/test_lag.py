"""How far a peer is behind: entries, bytes and seconds, also when there are more marks than are kept."""

from fasterstore.replication.lag import MARKS_MAX, Mark, Marks


def test_a_peer_that_has_everything_has_no_lag():
    marks = Marks(10, 100)
    assert marks.lag(5.0) == (0, 0, 0.0)
    marks.add(Mark(12, 40, 120, 1.0))
    marks.ack(12)
    assert marks.lag(5.0) == (0, 0, 0.0)
    assert marks.acked_stamp == 120


def test_the_stamp_is_that_of_the_last_mark_that_is_acknowledged_whole():
    marks = Marks(10, 100)
    marks.add(Mark(14, 40, 140, 1.0))
    marks.add(Mark(18, 80, 180, 2.0))
    marks.ack(13)
    assert (marks.acked_stamp, marks.lag(3.0).entries) == (100, 5)
    marks.ack(16)
    assert (marks.acked_stamp, marks.lag(3.0)) == (140, (2, 40, 1.0))
    marks.ack(5)
    assert marks.acked_lsn == 16


def test_what_an_earlier_process_left_behind_counts_too():
    marks = Marks(10, 100, -500)
    marks.add(Mark(20, 0, 200, 1.0))
    marks.add(Mark(21, 30, 210, 2.0))
    assert marks.lag(2.0) == (11, 530, 1.0)


def test_marks_are_bounded_and_the_lag_stays_true():
    marks = Marks(0, 0)
    for number in range(1, 10 * MARKS_MAX):
        marks.add(Mark(number * 2, number * 100, number, float(number)))
    assert len(marks._marks) <= MARKS_MAX
    last = 10 * MARKS_MAX - 1
    assert marks.lag(float(last)) == (2 * last, 100 * last, last - 1.0)
    marks.ack(2 * last - 1)
    lag = marks.lag(float(last))
    assert lag.entries == 1
    assert marks.acked_stamp <= last - 1
    marks.ack(2 * last)
    assert (marks.acked_stamp, marks.lag(float(last)).entries) == (last, 0)
