"""Pacing and the place of a round: never more than the share, unless the days would not suffice, and never a busy loop then."""

from pathlib import Path

import pytest

from fasterstore.scrub.progress import Counts, LastRound, Position, Progress, pack, pause_secs, unpack

GOLDEN = Path(__file__).parents[2] / "golden" / "scrub_v1.json"
MIB = 1 << 20
PROGRESS = Progress(
    3, 90_000, Position("records", "17", 4096), False, Counts(5 * MIB, 100, 7, 1),
    LastRound(Counts(9 * MIB, 200, 70, 2), 1_700_000_000_123, 604_000), "0000000000000001.wal: offset 128: the frame fails its hash",
)  # fmt: skip


def test_a_piece_is_followed_by_nineteen_times_its_time_at_five_percent():
    assert pause_secs(0.05, 0.01, MIB, 1000 * MIB, 1e6) == pytest.approx(0.19)
    assert pause_secs(0.05, 0.2, MIB, 0, -5) == pytest.approx(3.8), "nothing is left, so nothing can be late"
    assert pause_secs(1.0, 0.2, MIB, 1000 * MIB, 0) == 0.0


def test_it_rests_less_only_if_the_round_would_end_too_late():
    # 1,000 pieces in 100 s: 0.1 s each.
    assert pause_secs(0.05, 0.01, MIB, 999 * MIB, 100) == pytest.approx(0.09)
    assert pause_secs(0.05, 0.01, MIB, 999 * MIB, 1000) == pytest.approx(0.19)


def test_however_late_it_is_half_of_the_time_is_left_to_others():
    assert pause_secs(0.05, 0.01, MIB, 999 * MIB, -100) == pytest.approx(0.01)
    assert pause_secs(0.05, 0.3, MIB, 999 * MIB, 100) == pytest.approx(0.3)
    assert pause_secs(0.8, 0.01, MIB, 999 * MIB, 0) == pytest.approx(0.0025), "a share that is larger anyway stays"


@pytest.mark.parametrize("secs_per_piece", [0.0001, 0.002, 0.01, 0.1])
@pytest.mark.parametrize("pieces", [100, 10_000])
def test_a_whole_round_takes_its_share_or_ends_in_time(secs_per_piece, pieces):
    week = 604_800.0
    elapsed = busy = 0.0
    for done in range(1, pieces + 1):
        busy += secs_per_piece
        elapsed += secs_per_piece + pause_secs(0.05, secs_per_piece, MIB, (pieces - done) * MIB, week - elapsed)
    assert elapsed <= week
    assert busy / elapsed == pytest.approx(0.05)


def test_a_round_too_large_for_its_share_ends_in_time_all_the_same():
    limit, pieces, elapsed = 1000.0, 10_000, 0.0
    for done in range(1, pieces + 1):
        elapsed += 0.04 + pause_secs(0.05, 0.04, MIB, (pieces - done) * MIB, limit - elapsed)
    assert elapsed == pytest.approx(limit, rel=0.01)


def test_the_file_is_the_golden_one():
    assert pack(PROGRESS) == GOLDEN.read_bytes()
    assert unpack(GOLDEN.read_bytes()) == PROGRESS
    assert unpack(pack(Progress())) == Progress()


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[1]", b"\xff", pack(PROGRESS)[:-20], pack(PROGRESS).replace(b'"records"', b'"sideways"', 1),
             pack(PROGRESS).replace(b'"version": 1', b'"version": 9')],
)  # fmt: skip
def test_a_file_that_makes_no_sense_is_no_progress(data):
    assert unpack(data) is None


def test_the_next_round_keeps_what_the_last_one_found():
    ended = PROGRESS.ended(5)
    assert (ended.finished, ended.last, ended.position) == (True, LastRound(PROGRESS.counts, 5, 90_000), Position())
    following = ended.next()
    assert (following.round, following.counts, following.last, following.log_damage) == (4, Counts(), ended.last, PROGRESS.log_damage)
