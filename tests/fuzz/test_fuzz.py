"""The fuzz targets: their seeds pass, their planted bugs are found, and in CI's share of time nothing else is."""

import os
import resource
import time
from pathlib import Path

import pytest

from tests.fuzz.catalog import TARGETS, load
from tests.fuzz.run import fuzz, line_of
from tests.fuzz.watched import MEMORY_MAX_BYTES, SLOW_SECS, Watched, last_input
from tests.fuzz.worker import ENGINES, has_atheris

SECS = float(os.environ.get("FUZZ_SECS", "45"))
PLANTED_SECS = 60.0
"""At most; most planted bugs are found within two."""


@pytest.mark.parametrize("target", TARGETS)
def test_every_seed_passes(target: str) -> None:
    module = load(target)
    seeds = module.seeds()
    assert seeds and len(set(seeds)) == len(seeds)
    for seed in seeds:
        module.one_input(seed)
    for empty in (b"", b"\x00", b"\xff", b"\x00" * 100, b"\xff" * 100):
        module.one_input(empty)


def test_every_target_is_in_the_catalog() -> None:
    modules = {path.stem for path in (Path(__file__).parent / "targets").glob("*.py")}
    assert modules == set(TARGETS)


class TestWatched:
    def test_exceptions_are_told_apart_by_their_place(self, tmp_path: Path) -> None:
        def one_input(data: bytes) -> None:
            if data.startswith(b"a"):
                raise ValueError(data)
            if data.startswith(b"b"):
                raise KeyError(data)

        watched = Watched(one_input, tmp_path / "last")
        for data in (b"a1", b"a2", b"b", b"c"):
            watched(data)
        assert [(kind, data) for kind, _, data in watched.findings.values()] == [("exception", b"a1"), ("exception", b"b")]
        assert watched.executions == 4

    def test_time_and_memory_are_findings(self, tmp_path: Path) -> None:
        held = []

        def one_input(data: bytes) -> None:
            if data == b"memory":
                # Growth of the peak is what counts, and tests before this one may have reached a higher one than is held now.
                peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                held_pages = int(Path("/proc/self/statm").read_text().split()[1])
                held.append(b"x" * (peak_kib * 1024 - held_pages * resource.getpagesize() + MEMORY_MAX_BYTES + (16 << 20)))
            elif data == b"slow":
                end = time.process_time() + 1.1 * SLOW_SECS
                while time.process_time() < end:
                    pass

        watched = Watched(one_input, tmp_path / "last")
        for data in (b"fine", b"memory", b"slow"):
            watched(data)
        assert [(kind, data) for kind, _, data in watched.findings.values()] == [("memory", b"memory"), ("slow", b"slow")]

    def test_the_input_in_progress_is_known_to_others(self, tmp_path: Path) -> None:
        seen = []
        Watched(lambda data: seen.append(last_input(tmp_path / "last")), tmp_path / "last")(b"in progress")
        assert seen == [b"in progress"]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ENGINES)
def test_both_engines_fuzz_and_coverage_guides_one_to_the_planted_bug(engine: str, tmp_path: Path) -> None:
    if engine == "atheris" and not has_atheris():
        pytest.skip("atheris is not installed")
    for planted in (False, True) if engine == "atheris" else (False,):  # without coverage to guide it, finding is a matter of luck
        folder = tmp_path / str(planted)
        folder.mkdir()
        result = fuzz("wire_messages", 3.0 if not planted else PLANTED_SECS, folder, planted=planted, engine=engine)
        print(line_of(result))
        assert result.executions > 10
        assert bool(result.findings) == planted, result.findings


@pytest.mark.faults
@pytest.mark.parametrize("target", TARGETS)
def test_a_planted_bug_is_found_in(target: str, tmp_path: Path) -> None:
    result = fuzz(target, PLANTED_SECS, tmp_path, planted=True)
    print(f"\n{line_of(result)}: {result.findings}")
    assert [finding.kind for finding in result.findings] == ["exception"]


@pytest.mark.lasts(45)
@pytest.mark.faults
@pytest.mark.parametrize("target", TARGETS)
def test_nothing_is_found_in(target: str, tmp_path: Path) -> None:
    result = fuzz(target, SECS, tmp_path)
    print(f"\n{line_of(result)}")
    assert not result.findings, "\n".join(f"{kind}: {text}: {data!r}" for kind, text, data in result.findings)
    assert result.executions > SECS, "too few to show anything"
