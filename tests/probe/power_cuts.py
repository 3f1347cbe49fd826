"""Rounds of load and power cut on a store whose data lies on a loop volume; after each it starts anew and everything is read back.

Any S3 store that can be started and killed will do: `scripts/power_cut.py` puts others through the same rounds.
"""

import random
import time
from collections.abc import Callable
from typing import Any, Protocol

import gevent

from scripts.measure.servers import NotReady
from tests.node import NodeEnded, RunningNode
from tests.probe.ledger import Ledger
from tests.probe.load import Load, Store, prepare, verify
from tests.probe.loop_volume import LoopVolume

AFTER_SECS = (0.1, 1.2)
GO_ON_SECS = 0.3
"""How long the writers go on after the cut: nothing of that may be acknowledged."""
SUSPECT_SECS = 5.0


class Victim(Store, Protocol):
    """What the power is cut of. `start` returns when it is ready, or raises NodeEnded, NotReady or TimeoutError."""

    def start(self) -> Any: ...

    def kill(self) -> Any: ...


AfterCut = Callable[[Ledger, int], None]


def run_cuts(
    victim: Victim,
    volume: LoopVolume,
    cuts: int,
    seed: str,
    *,
    stop_at_first: bool = False,
    kill_first: bool = False,
    after_cut: AfterCut | None = None,
) -> Ledger:
    """Start the store on `volume` and cut the power `cuts` times; return what was found. It is dead afterwards.

    `kill_first`: kill it under load, have it start and read everything back, and cut the power then: what it read was perhaps only in the
    page cache. `after_cut` is called after each cut, with the number of the cut, while the processes still run.
    """
    ledger, dice = Ledger(), random.Random(seed)
    victim.start()
    prepare(victim, ledger)
    for number in range(cuts):
        load = Load(victim, ledger, f"{seed} {number}")
        gevent.sleep(dice.uniform(*AFTER_SECS))
        if kill_first:
            victim.kill()
            load.stop()
            if not _restart(victim, ledger, f"kill {number}"):
                break
            verify(victim, ledger, list(ledger.keys.values()), settle=True)
            volume.cut()
        else:
            load.cutting_at = time.monotonic()
            volume.cut()
            load.cut_at = time.monotonic()
            gevent.sleep(GO_ON_SECS)
            load.stop()
            if after_cut is not None:
                after_cut(ledger, number)
        victim.kill()
        volume.remount()
        if not _restart(victim, ledger, f"cut {number}"):
            break
        verify(victim, ledger, list(ledger.keys.values()), settle=True)
        if ledger.violations and stop_at_first:
            break
        if ledger.counts.lost:
            prepare(victim, ledger)  # a store that loses what it acknowledged may have lost the bucket
    victim.kill()
    return ledger


def suspect_check(node: RunningNode) -> AfterCut:
    """A node's next write or witness, at most a second after the cut, fails: it must be read-only and say why."""

    def check(ledger: Ledger, number: int) -> None:
        deadline = time.monotonic() + SUSPECT_SECS
        while time.monotonic() < deadline:
            if "read-only until an operator acts" in node.client().send("GET", "/readyz").text:
                return
            gevent.sleep(0.02)
        ledger.violations.append(f"cut {number}: the node does not say that its volume is suspect")

    return check


def _restart(victim: Victim, ledger: Ledger, after: str) -> bool:
    try:
        victim.start()
    except (NodeEnded, NotReady, TimeoutError) as error:
        ledger.violations.append(f"{after}: the store does not come back: {error}")
        return False
    return True
