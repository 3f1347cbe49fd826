"""The judge of two nodes' histories: it finds each kind of loss, and takes nothing lawful for one."""

from tests.probe.two_histories import Histories, Key, State, Version

ONE, TWO, THREE = (Version(name * 32, name) for name in "123")


def _written(*writes: tuple[str, State, int], agreed: State = None) -> tuple[Histories, Key]:
    """A key after acknowledged writes (side, state, stamp)."""
    histories = Histories()
    key = histories.key("object", "bucket", "key")
    key.agreed = agreed
    for side, state, stamp in writes:
        histories.begin(key, side)
        histories.acknowledged(key, side, state, (stamp, b"n"))
    return histories, key


def test_the_last_write_of_the_only_writer_must_be_there() -> None:
    for found, right in ((ONE, False), (TWO, True), (THREE, False), (None, False)):
        histories, key = _written(("a", ONE, 1), ("a", TWO, 2), agreed=THREE)
        histories.judge(key, found)
        assert (not histories.violations) is right, found
        assert key.agreed == found and not key.sides


def test_of_two_writers_the_last_write_of_either_may_be_there_and_no_other() -> None:
    for found, right in ((ONE, False), (TWO, True), (THREE, True), (None, False)):
        histories, key = _written(("a", ONE, 1), ("a", TWO, 2), ("b", THREE, 3))
        histories.judge(key, found)
        assert (not histories.violations) is right, found
        assert histories.counts.contended == 1


def test_a_deleted_key_that_comes_back_is_found() -> None:
    histories, key = _written(("b", None, 5), agreed=ONE)
    histories.judge(key, ONE)
    assert "before" in histories.violations[0]


def test_an_unknown_outcome_may_be_either_but_does_not_bring_back_what_an_acknowledged_write_replaced() -> None:
    for found, right in ((ONE, True), (TWO, True), (THREE, False)):
        histories, key = _written(agreed=ONE)
        histories.begin(key, "a")
        histories.unknown(key, "a", TWO)
        assert not histories.free(key, "a") and histories.free(key, "b")
        histories.judge(key, found)
        assert (not histories.violations) is right, found
    for found, right in ((ONE, False), (TWO, True), (THREE, True)):
        histories, key = _written(("b", THREE, 3), agreed=ONE)
        histories.begin(key, "a")
        histories.unknown(key, "a", TWO)
        histories.judge(key, found)
        assert (not histories.violations) is right, found


def test_a_refused_write_changes_nothing() -> None:
    histories, key = _written(agreed=ONE)
    histories.begin(key, "a")
    histories.refused(key, "a")
    assert histories.free(key, "a")
    histories.judge(key, ONE)
    assert not histories.violations and not histories.counts.contended


def test_what_is_left_has_no_earlier_stamp_than_an_acknowledged_write() -> None:
    histories, key = _written(("a", ONE, 7), ("b", TWO, 5))
    histories.judge(key, TWO, (5, b"n"))
    assert "acknowledged was one under (7, b'n')" in histories.violations[0]
    histories, key = _written(("a", ONE, 7), ("b", TWO, 5))
    histories.judge(key, ONE, (7, b"n"))
    histories.judge(key, ONE, (6, b"n"))
    assert len(histories.violations) == 1, "it went back while nobody wrote"
    histories, key = _written(("a", ONE, 7), ("a", TWO, 5))
    assert "went back" in histories.violations[0]


def test_a_writer_reads_its_own_writes() -> None:
    histories, key = _written(("a", ONE, 1), agreed=TWO)
    histories.read(key, "a", ONE)
    assert not histories.violations
    histories.read(key, "a", TWO)
    assert len(histories.violations) == 1
