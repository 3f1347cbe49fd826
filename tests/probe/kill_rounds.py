"""Rounds of load, compaction and kill -9 on a node: the storage process, a worker, or all of it, at a random moment; then everything is
read back.

Kills only processes of the node it is given, by pid.
"""

import os
import random
import signal
from collections import Counter

import gevent
import requests

from tests.node import NodeEnded, RunningNode
from tests.probe.ledger import Ledger
from tests.probe.load import Load, prepare, verify

VICTIMS = ("storage", "storage", "worker", "node")
VICTIMS_OF_ONE = ("storage", "node")
"""A single process is storage and worker in one."""
AFTER_SECS = (0.05, 1.5)
GO_ON_SECS = 0.1
"""How long the writers go on after the kill: over the restart of what was killed."""
READY_SECS = 10.0


def run_rounds(node: RunningNode, rounds: int, seed: str, *, stop_at_first: bool = False) -> tuple[Ledger, Counter[str]]:
    """Run `rounds` on a running node; return what was found and how often each victim was killed. `stop_at_first` violation."""
    ledger, killed = Ledger(), Counter[str]()
    dice = random.Random(seed)
    prepare(node, ledger)
    for number in range(rounds):
        victim = dice.choice(VICTIMS if node.workers else VICTIMS_OF_ONE)
        killed[victim] += 1
        load = Load(node, ledger, f"{seed} {number}")
        asking = gevent.spawn(_ask_for_compaction, node, dice.random())
        gevent.sleep(dice.uniform(*AFTER_SECS))
        _kill(node, victim, dice)
        gevent.sleep(GO_ON_SECS)
        load.stop()
        asking.kill()
        settled_before = [key for key in ledger.keys.values() if key.settled]
        try:
            if victim == "node":
                node.start()
            node.wait_ready(READY_SECS)
        except (NodeEnded, TimeoutError) as error:
            ledger.violations.append(f"round {number}: after the end of the {victim}: {error}")
            return ledger, killed
        # An unknown outcome of a lost worker may still wait in the storage process: only that one's end settles it.
        if victim == "worker":
            verify(node, ledger, settled_before, settle=False)
        else:
            verify(node, ledger, list(ledger.keys.values()), settle=True)
        if ledger.violations and stop_at_first:
            break
    return ledger, killed


def _ask_for_compaction(node: RunningNode, pause_secs: float) -> None:
    """Rounds beside those that come by the clock: most kills meet one, at any of its steps."""
    with node.client() as client:
        while True:
            gevent.sleep(pause_secs / 4)
            try:
                client.send("POST", "/_admin/compaction")
            except requests.RequestException:
                continue


def _kill(node: RunningNode, victim: str, dice: random.Random) -> None:
    if victim == "node":
        node.kill()
        return
    pid = node.storage_pid() if victim == "storage" else dice.choice(node.worker_pids())
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
