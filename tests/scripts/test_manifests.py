"""The measurement of objects of many parts at a tiny scale: what it times has happened, and it can fail."""

import pytest

from scripts.measure import manifests


@pytest.mark.slow
def test_every_step_is_measured_and_the_parts_are_gone_at_the_end(tmp_path) -> None:
    row = manifests.measure(tmp_path, 200, 3, 2)
    assert (row["parts"], row["completed_parts"]) == (200, 3)
    for name in ("complete_hold", "copy_hold", "delete_hold", "release_hold", "complete_http"):
        assert 0 < row[f"{name}_p50_ms"] <= row[f"{name}_max_ms"], name


def test_a_figure_above_its_limit_is_named() -> None:
    row = {"copy_hold_p50_ms": 1.0, "copy_hold_max_ms": 5.1, "release_hold_max_ms": 5.0, "complete_http_p50_ms": 20.1}
    assert manifests.failures(row) == ["copy_hold_max_ms: 5.1 ms", "complete_http_p50_ms: 20.1 ms"]
    assert manifests.failures({"copy_hold_max_ms": 0.1, "complete_http_p50_ms": 1.0}) == []


def test_a_refusal_ends_the_measurement(tmp_path) -> None:
    engine = manifests.Engine(tmp_path / "data")
    try:
        with pytest.raises(RuntimeError, match="NoSuchBucket"):
            engine.ask(manifests.m.DeleteObject("nothing", manifests.DeleteIntent(b"k")))
    finally:
        engine.stop()
