"""Rounds of a fault between two nodes while both take writes; after each, both must hold the same, and nothing acknowledged may be lost.

`python -m tests.probe.two_nodes [--rounds 20]` runs them in network namespaces of their own where those are allowed, else on loopback,
and says which. Prints a JSON line for each round and one for all; ends with 1 if anything was violated. Ends all that it started.
"""

from gevent import monkey

monkey.patch_all()

import argparse
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import gevent

from tests.probe.both_sides import Contents, wait_identical
from tests.probe.command import run_command
from tests.probe.network import SIDES, Loopback, Namespaces, namespaces_refused, other, own_namespaces
from tests.probe.pair import TwoNodes
from tests.probe.planting import planted
from tests.probe.stamps import Stamps
from tests.probe.stepped_clock import SteppedClockUnavailable, compile_library
from tests.probe.two_histories import Histories, State
from tests.probe.two_settings import read_object, read_setting
from tests.probe.two_writers import BUCKETS, Writers

AGREE_SECS = 30.0
BEFORE_SECS = (0.3, 0.8)
HOLD_SECS = (0.8, 2.5)
AFTER_SECS = 0.3
HOUR_SECS = 3600.0
ROUND_MAX_SECS = 60.0
SHOWN_DIFFERENCES = 5
LAG = "fasterstore_replication_lag_entries"


class Fault(NamedTuple):
    """What befalls the node of a side, and how it ends."""

    begin: Callable[[TwoNodes, str], Any]
    end: Callable[[TwoNodes, str], Any]
    sets_clock: bool = False
    cuts: bool = False


def _cut(pair: TwoNodes, side: str, *, connects_only: bool = False) -> None:
    pair.network.cut(side, connects_only=connects_only)


def _cut_both(pair: TwoNodes, side: str) -> None:
    _cut(pair, side)
    _cut(pair, other(side))


def _heal(pair: TwoNodes, _side: str) -> None:
    pair.network.heal()


FAULTS = {
    "partition": Fault(_cut_both, _heal, cuts=True),
    "one-way partition": Fault(_cut, _heal, cuts=True),
    "one-way connects": Fault(lambda pair, side: _cut(pair, side, connects_only=True), _heal, cuts=True),
    "pause": Fault(TwoNodes.pause, TwoNodes.resume),
    "kill -9": Fault(TwoNodes.kill, TwoNodes.start),
    "kill -9 of storage": Fault(TwoNodes.kill_storage, lambda pair, side: pair.nodes[side].wait_ready()),
    "restart": Fault(TwoNodes.stop, TwoNodes.start),
    "clock + 1 h": Fault(lambda pair, side: pair.set_clock(side, HOUR_SECS), lambda pair, side: pair.set_clock(side, 0.0), True),
    "clock - 1 h": Fault(lambda pair, side: pair.set_clock(side, -HOUR_SECS), lambda pair, side: pair.set_clock(side, 0.0), True),
}
_ALONE = {"pause", "kill -9", "kill -9 of storage", "restart"}
"""Not two of these at once on one node."""


class Rounds:
    """A run over one pair of nodes, which is running."""

    def __init__(self, pair: TwoNodes, seed: str, agree_secs: float = AGREE_SECS) -> None:
        self._agree_secs = agree_secs
        self.histories = Histories()
        self.slowest_secs = 0.0
        self._pair = pair
        self._seed = seed
        self._stamps = Stamps({side: pair.nodes[side].data_dir for side in SIDES})
        self._clients = {side: pair.client(side) for side in SIDES}

    def close(self) -> None:
        self._stamps.close()
        for client in self._clients.values():
            client.close()

    def prepare(self) -> None:
        """A bucket of each side, known to both before the first round. Raises ResponseError."""
        for side, bucket in BUCKETS.items():
            self._clients[side].create_bucket(bucket)
        self._agree("the buckets", time.monotonic())

    def run(self, number: int, faults: list[tuple[str, str]]) -> dict[str, Any]:
        """One round: writers on both sides, the faults (name, side) at once, their end, and the comparison."""
        dice = random.Random(f"{self._seed} {number}")
        before = len(self.histories.violations)
        writers = Writers(self._pair, self.histories, f"{self._seed} {number}", self._stamps.of)
        gevent.sleep(dice.uniform(*BEFORE_SECS))
        for name, side in faults:
            FAULTS[name].begin(self._pair, side)
        gevent.sleep(dice.uniform(*HOLD_SECS))
        lacking = {side: self._pair.nodes[side].metric(LAG) for name, side in faults if FAULTS[name].cuts}
        for name, side in reversed(faults):
            FAULTS[name].end(self._pair, side)
        healed_at = time.monotonic()
        gevent.sleep(AFTER_SECS)
        writers.stop()
        agreed_secs = self._agree(f"round {number} ({faults})", healed_at)
        return {
            "round": number, "faults": faults, "lacking": lacking, "agreed_secs": round(agreed_secs, 2),
            "acknowledged": self.histories.counts.acknowledged, "violations": self.histories.violations[before:],
        }  # fmt: skip

    def after_restart(self) -> None:
        """Stop both, look at what lies on their disks, start both: what is there is still the same, to their own comparison too."""
        for side in SIDES:
            self._pair.stop(side)
            self._command(side, "check", "--full", "--data-dir", str(self._pair.nodes[side].data_dir))
        for side in SIDES:
            self._pair.start(side)
            self._stamps.forget(side)
        self._agree("the last restart", time.monotonic())
        for side in SIDES:
            self._command(side, "replication", "status", "--wait", str(self._agree_secs))
            self._command(side, "replication", "diff")
            if "defect" in (log := self._pair.nodes[side].log()):
                self.histories.violations.append(f"{side} logged a defect: {log[log.index('defect') - 500 :][:3000]}")

    def _command(self, side: str, *arguments: str) -> None:
        """What our own command line says against a node must be that all is well."""
        code, said = run_command(self._pair.nodes[side], *arguments)
        if code:
            self.histories.violations.append(f"{side}: fasterstore {' '.join(arguments)} ended with {code}: {said[-2000:]}")

    def _agree(self, after: str, healed_at: float) -> float:
        """Wait until both are alike, then judge every key by what they hold; the seconds that it took."""
        left, seen = wait_identical(self._clients["a"], self._clients["b"], healed_at + self._agree_secs)
        took_secs = time.monotonic() - healed_at
        self.slowest_secs = max(self.slowest_secs, took_secs)
        if left:
            shown = "\n  ".join(left[:SHOWN_DIFFERENCES])
            self.histories.violations.append(f"after {after}: {len(left)} differences {self._agree_secs:.0f} s after the heal:\n  {shown}")
            return took_secs
        self._judge(seen)
        return took_secs

    def _judge(self, seen: Contents) -> None:
        """By one side's answers: the other's are the same."""
        wrote = [key for key in self.histories.keys.values() if key.sides or key.name[0] == "setting"]
        there = {name[1:] for name in seen if name[0] == "object"}
        for key in wrote:
            kind, bucket, name = key.name
            state: State
            if kind == "setting":
                state = read_setting(self._clients["b"], bucket, name)
                self.histories.judge(key, state)
            else:
                state = read_object(self._clients["b"], bucket, name) if (bucket, name) in there else None
                self.histories.judge(key, state, self._stamps.of("b", bucket, name))
        known = {key.name[1:] for key in self.histories.keys.values()}
        self.histories.violations += [f"{name}: is there, and nobody wrote it" for name in there - known]
        # A key that was just judged was read from the same node: for it this says nothing new.
        self.histories.violations += [
            f"{key.name}: {'came back' if key.agreed is None else 'went'} while nobody wrote it"
            for key in self.histories.keys.values()
            if key.name[0] == "object" and (key.agreed is not None) != (key.name[1:] in there)
        ]


def plan(rounds: int, seed: str, *, clocks: bool) -> list[list[tuple[str, str]]]:
    """The faults of each round: every one on either side first, in an order by the seed, then two at a time."""
    dice = random.Random(f"plan {seed}")
    names = [name for name, fault in FAULTS.items() if clocks or not fault.sets_clock]
    single = [[(name, side)] for name in names for side in SIDES]
    dice.shuffle(single)
    doubled = []
    while len(single) + len(doubled) < rounds:
        one, another = dice.sample(names, 2)
        sides = list(SIDES) if {one, another} <= _ALONE else dice.choices(SIDES, k=2)
        doubled.append([(one, sides[0]), (another, sides[1])])
    return (single + doubled)[:rounds]


def run(arguments: argparse.Namespace) -> int:
    """The whole run in this process; 0 if nothing was violated."""
    settings = {"FS_REPLICATION_ACK": arguments.ack} | (planted(arguments.planted) if arguments.planted else {})
    folder = Path(arguments.folder)
    clock_library, no_clock = None, ""
    try:
        clock_library = compile_library(folder)
    except SteppedClockUnavailable as error:
        no_clock = str(error)
    network = Loopback() if arguments.loopback else Namespaces()
    started = time.monotonic()
    pair = TwoNodes(
        folder, network, clock_library=clock_library, settings=settings, workers=arguments.workers, peers=not arguments.strangers
    )
    with pair:
        rounds = Rounds(pair, arguments.seed, arguments.agree_secs)
        try:
            rounds.prepare()
            for number, faults in enumerate(plan(arguments.rounds, arguments.seed, clocks=not no_clock)):
                if rounds.histories.violations:
                    break  # what follows would only follow from it
                print(json.dumps(rounds.run(number, faults)), flush=True)
            if not rounds.histories.violations:
                rounds.after_restart()
        finally:
            rounds.close()
        found = rounds.histories
        print(json.dumps({
            "network": network.kind, "no_clock": no_clock, "took_secs": round(time.monotonic() - started, 1),
            "slowest_secs": round(rounds.slowest_secs, 2), "keys": len(found.keys),
            **{name: getattr(found.counts, name) for name in found.counts.__slots__},
            "violations": found.violations, "logs": {side: pair.nodes[side].log()[-3000:] for side in SIDES} if found.violations else {},
        }), flush=True)  # fmt: skip
    return 1 if found.violations else 0


def main() -> None:
    """Parse the arguments; go into namespaces of our own if that can be; run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seed", default="ci")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--planted", default="", help="a bug of tests/probe/planted/sitecustomize.py, on both nodes")
    parser.add_argument("--ack", choices=("async", "one"), default="async")
    parser.add_argument("--strangers", action="store_true", help="the nodes do not know each other: the first comparison must say so")
    parser.add_argument("--agree-secs", type=float, default=AGREE_SECS, help="within which both must hold the same after a fault's end")
    parser.add_argument("--loopback", action="store_true", help="no namespaces")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--folder", default="")
    arguments = parser.parse_args()
    if arguments.inside or arguments.loopback:
        sys.exit(_in_folder(arguments))
    if refused := namespaces_refused():
        print(json.dumps({"namespaces_refused": refused}), flush=True)
        arguments.loopback = True
        sys.exit(_in_folder(arguments))
    done = own_namespaces("tests.probe.two_nodes", [*sys.argv[1:], "--inside"], 120 + arguments.rounds * ROUND_MAX_SECS)
    sys.exit(done)


def _in_folder(arguments: argparse.Namespace) -> int:
    if arguments.folder:
        return run(arguments)
    with tempfile.TemporaryDirectory(prefix="two-nodes-") as arguments.folder:
        return run(arguments)


if __name__ == "__main__":
    main()
