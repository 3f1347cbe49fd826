"""One target, fuzzed in this process: by atheris (coverage-guided, libFuzzer) if it is installed, else by Hypothesis.

`python -m tests.fuzz.worker TARGET SECS FOLDER [--planted] [--engine NAME]` leaves `result.json` in FOLDER. Started by `tests.fuzz.run`:
libFuzzer ends the process it runs in, so each target has its own.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from tests.fuzz.catalog import load
from tests.fuzz.watched import Watched

ENGINES = ("atheris", "hypothesis")
INPUT_MAX_BYTES = 4096
INSTRUMENTED = ["fasterstore", "actors", "web", "tests.fuzz.targets"]


def has_atheris() -> bool:
    """Is the coverage-guided engine there?"""
    return importlib.util.find_spec("atheris") is not None


def main() -> None:
    """Fuzz one target and leave the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("target")
    parser.add_argument("secs", type=float)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--planted", action="store_true")
    parser.add_argument("--engine", choices=ENGINES, default="atheris" if has_atheris() else "hypothesis")
    asked = parser.parse_args()
    run = _atheris if asked.engine == "atheris" else _hypothesis
    run(asked.target, asked.secs, asked.folder, asked.planted)


def _prepare(target: ModuleType, folder: Path, planted: bool) -> Watched:
    if planted:
        target.plant()
    return Watched(target.one_input, folder / "last-input")


def _seeds(target: ModuleType, watched: Watched, planted: bool) -> list[bytes]:
    """The target's seeds; those that show its planted bug by themselves are left out: the fuzzer has to find it."""
    found: list[bytes] = target.seeds()
    return [seed for seed in found if not (planted and watched.raises(seed))]


def _is_over(watched: Watched, deadline: float, planted: bool) -> bool:
    """Is the time up, or has been found what there is to be found?"""
    if watched.findings and (planted or watched.is_full):
        return True
    return time.monotonic() >= deadline


def _leave(watched: Watched, folder: Path) -> None:
    found = [{"kind": kind, "text": text, "data": data.hex()} for kind, text, data in watched.findings.values()]
    temporary = folder / "result.tmp"
    temporary.write_text(json.dumps({"executions": watched.executions, "findings": found}))
    temporary.rename(folder / "result.json")


def _atheris(name: str, secs: float, folder: Path, planted: bool) -> None:
    import atheris

    with contextlib.redirect_stderr(open(os.devnull, "w")), atheris.instrument_imports(include=INSTRUMENTED):
        target = load(name)
    watched = _prepare(target, folder, planted)
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(_seeds(target, watched, planted)):
        (corpus / f"seed-{number:04}").write_bytes(seed)
    dictionary = folder / "dictionary"
    dictionary.write_text("".join(f'"{"".join(f"{chr(92)}x{byte:02x}" for byte in word)}"\n' for word in target.DICTIONARY))
    deadline = time.monotonic() + secs

    def one_input(data: bytes) -> None:
        watched(data)
        if _is_over(watched, deadline, planted):
            _leave(watched, folder)
            os._exit(0)  # libFuzzer's own ending runs nothing of Python either

    options = [f"-max_len={INPUT_MAX_BYTES}", f"-dict={dictionary}", f"-artifact_prefix={folder}/", "-timeout=86400", "-rss_limit_mb=0"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one_input)
    atheris.Fuzz()


def _hypothesis(name: str, secs: float, folder: Path, planted: bool) -> None:
    from hypothesis import HealthCheck, Phase, given, settings
    from hypothesis import strategies as st

    target = load(name)
    watched = _prepare(target, folder, planted)
    seeds = _seeds(target, watched, planted)
    for seed in seeds:
        watched(seed)
    deadline = time.monotonic() + secs
    edits = st.lists(
        st.tuples(st.integers(0, INPUT_MAX_BYTES), st.integers(0, 8), st.sampled_from(target.DICTIONARY) | st.binary(max_size=8)),
        max_size=6,
    )
    inputs = st.one_of(st.binary(max_size=INPUT_MAX_BYTES), st.builds(_spliced, st.sampled_from(seeds), edits))

    @settings(max_examples=500, deadline=None, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(inputs)
    def some(data: bytes) -> None:
        if not _is_over(watched, deadline, planted):
            watched(data)

    repeat: Callable[[], None] = some
    while not _is_over(watched, deadline, planted):
        repeat()
    _leave(watched, folder)


def _spliced(seed: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    for at, drop, insert in edits:
        at %= len(seed) + 1
        seed = seed[:at] + insert + seed[at + drop :]
    return seed


if __name__ == "__main__":
    main()
