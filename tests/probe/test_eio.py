"""A disk that fails once, at each write and each sync of a trace in turn: nothing is acknowledged afterwards, nothing acknowledged is lost.

The trace has some two hundred writes and syncs of the node's own threads: log, segments, index, checkpoint, compaction.
"""

import shutil
from pathlib import Path

import pytest

from tests.probe import eio_trace
from tests.probe.planting import planted

pytestmark = pytest.mark.faults

SHARES = 4
"""Each a test of its own, so that two run at a time."""
PLACES_MIN = 150


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "one"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


@pytest.mark.lasts(110)
@pytest.mark.parametrize("share", range(SHARES))
def test_after_a_failed_write_or_sync_nothing_is_acknowledged_and_nothing_is_lost(share: int, tmp_path: Path) -> None:
    places = eio_trace.measure(_folder(tmp_path))
    assert len(places) > PLACES_MIN, "too short a trace to show anything"
    outcomes = [eio_trace.run(_folder(tmp_path), place) for place in places[share::SHARES]]
    print(f"\n{eio_trace.summary(outcomes)}")
    complaints = [f"{outcome.place} ({outcome.call}): {complaint}" for outcome in outcomes for complaint in outcome.complaints]
    assert not complaints, "\n".join(complaints[:20])
    assert sum(bool(outcome.call) for outcome in outcomes) > 0.8 * len(outcomes), "too few of the faults happened"


def test_the_trace_finds_a_planted_retry_of_a_failed_sync(tmp_path: Path) -> None:
    places = eio_trace.measure(_folder(tmp_path))
    place = next(place for place in places if place.call == "fdatasync" and place.file.endswith(".wal"))
    outcome = eio_trace.run(_folder(tmp_path), place, planted("failed_sync_retried"))
    print(f"\nfailed_sync_retried: {outcome.complaints[:2]}")
    assert outcome.call == f"fdatasync of {place.file}"
    assert outcome.complaints
