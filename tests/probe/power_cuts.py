"""Rounds of load and power cut on a node whose data dir is a loop volume; after each the node starts anew and everything is read back.

What is shown besides: after the cut the node acknowledges nothing, says so, and its storage process ends as "volume suspect".
"""

import random
import time

import gevent

from tests.node import NodeEnded, RunningNode
from tests.probe.ledger import Ledger
from tests.probe.load import Load, prepare, verify
from tests.probe.loop_volume import LoopVolume

AFTER_SECS = (0.1, 1.2)
GO_ON_SECS = 0.3
"""How long the writers go on after the cut: nothing of that may be acknowledged."""
SUSPECT_SECS = 5.0
READY_SECS = 10.0


def run_cuts(node: RunningNode, volume: LoopVolume, cuts: int, seed: str, *, stop_at_first: bool = False) -> Ledger:
    """Start the node on `volume` and cut the power `cuts` times; return what was found. The node is dead afterwards."""
    ledger, dice = Ledger(), random.Random(seed)
    node.start()
    prepare(node, ledger)
    for number in range(cuts):
        load = Load(node, ledger, f"{seed} {number}")
        gevent.sleep(dice.uniform(*AFTER_SECS))
        load.cutting_at = time.monotonic()
        volume.cut()
        load.cut_at = time.monotonic()
        gevent.sleep(GO_ON_SECS)
        load.stop()
        _check_suspect(node, ledger, number)
        node.kill()
        volume.remount()
        try:
            node.start(wait_ready=False)
            node.wait_ready(READY_SECS)
        except (NodeEnded, TimeoutError) as error:
            ledger.violations.append(f"cut {number}: the node does not come back: {error}")
            return ledger
        verify(node, ledger, list(ledger.keys.values()), settle=True)
        if ledger.violations and stop_at_first:
            break
    node.kill()
    return ledger


def _check_suspect(node: RunningNode, ledger: Ledger, number: int) -> None:
    """Its next write or witness, at most a second later, fails: the node must be read-only and say why."""
    deadline = time.monotonic() + SUSPECT_SECS
    while time.monotonic() < deadline:
        if "read-only until an operator acts" in node.client().send("GET", "/readyz").text:
            return
        gevent.sleep(0.02)
    ledger.violations.append(f"cut {number}: the node does not say that its volume is suspect")
