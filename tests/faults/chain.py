"""A chain of runs: each goes on from a crash state of the one before it, and each is judged at its power cuts."""

import random

from fasterstore.storage.memory_disk import MemoryDisk
from tests.faults.crash_check import CrashCheck, Survivor, crashes
from tests.faults.engine import CountingClock, laboratory
from tests.faults.memory import SharedMemoryDisk
from tests.faults.timeline import Timeline
from tests.faults.violation import Violation
from tests.faults.workload import IndexFiles, Workload
from tests.memory_folder import memory_folder

GENERATIONS = 3
STEPS = 26
STATES_PER_MOMENT = 3


def judge_chain(seed: int, crash_states: int, disk_class: type[SharedMemoryDisk] = SharedMemoryDisk) -> int:
    """Judge so many crash states, spread over the generations; returns how many it were. Raises Violation, naming the seed."""
    rng = random.Random(seed)
    now_ms = CountingClock()
    disk: MemoryDisk = disk_class()
    index: IndexFiles = {}
    timeline = Timeline()
    judged = 0
    with memory_folder() as folder, laboratory():
        for generation in range(GENERATIONS):
            try:
                run = Workload(disk, folder, rng, now_ms, timeline, index)
                run.run(STEPS)
                run.finish()
            except Violation:
                raise
            except Exception as error:
                raise Violation(f"seed {seed}, generation {generation}: the engine failed before any power cut: {error}") from error
            share = crash_states * (generation + 1) // GENERATIONS - judged
            survivor = _judge(run, CrashCheck(folder, timeline, rng, now_ms), rng, share, f"seed {seed}, generation {generation}")
            judged += share
            disk, index, timeline = survivor.crash.disk, survivor.crash.index_files, timeline.cut(survivor.lsn)
    return judged


def _judge(run: Workload, check: CrashCheck, rng: random.Random, share: int, where: str) -> Survivor:
    survivors: list[Survivor] = []
    while len(survivors) < share:
        for crash in crashes(run, rng, STATES_PER_MOMENT):
            try:
                survivors.append(check.judge(crash))
            except Violation as error:
                error.add_note(f"{where}, power cut after op {crash.at_op} of {len(run.disk.ops)}")
                raise
            except Exception as error:
                # Whatever a survivor does but work is a broken promise, also where nobody thought of looking for one.
                raise Violation(f"{where}, power cut after op {crash.at_op}: {type(error).__name__}: {error}") from error
            if len(survivors) == share:
                break
    return rng.choice(survivors)
