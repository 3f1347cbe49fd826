"""Time and the network of a simulation: one seed decides everything, so a failing seed fails again, step by step.

Calls between nodes are request and answer, each of which may be lost, doubled, late and overtaken; a link may be cut, in one direction
only. Whoever calls learns of silence by its own timeout and of nothing else.
"""

import heapq
import itertools
import random

CALL_TIMEOUT_MS = 2_000
CALLS_MAX = 1_500
REPLAY_MAX_MS = 20_000
"""A call that comes a second time comes within so much: long enough to meet another life of either node."""


class Endless(Exception):
    """The nodes talk and talk: many times as many calls as any run takes that ends."""


class World:
    """Virtual time, the events to come, and the network. `trace` is kept so that a failure can be read."""

    def __init__(self, seed, *, drops=0.1, doubles=0.1, delay_ms=40):
        self.rng = random.Random(seed)
        self.now_ms = 1_700_000_000_000
        self.drops, self.doubles, self.delay_ms = drops, doubles, delay_ms
        self.cut = set()  # (from, to): nothing passes
        self.trace = []
        self.calls = 0
        self._events = []
        self._order = itertools.count()

    def note(self, *what):
        self.trace.append((self.now_ms - 1_700_000_000_000, *what))

    def after(self, delay_ms, event):
        """Run `event` so many milliseconds from now; events of the same time run in the order in which they were made."""
        heapq.heappush(self._events, (self.now_ms + delay_ms, next(self._order), event))

    def run_until(self, time_ms):
        while self._events and self._events[0][0] <= time_ms:
            due_ms, _, event = heapq.heappop(self._events)
            self.now_ms = max(self.now_ms, due_ms)
            event()
        self.now_ms = max(self.now_ms, time_ms)

    def jump(self, pause_ms):
        """So much time passes in which nothing happens; what was due is late."""
        self.now_ms += pause_ms

    def call(self, source, target, question, on_answer, on_silence):
        """Ask `target.answer(question, reply)`. Exactly one of `on_answer(answer)` and `on_silence()` runs, if `source` lives on."""
        self.calls += 1
        if self.calls > CALLS_MAX:
            raise Endless
        life = source.life
        waiting = [True]

        def end(then, *what):
            if waiting[0] and source.life == life:
                waiting[0] = False
                then(*what)

        def arrive():
            if target.up:
                target_life = target.life
                target.answer(
                    source.name,
                    question,
                    lambda answer: target.life == target_life and self._carry(target.name, source.name, lambda: end(on_answer, answer)),
                )

        self._carry(source.name, target.name, arrive)
        self.after(CALL_TIMEOUT_MS, lambda: end(on_silence))

    def _carry(self, source, target, arrive):
        """One direction of the way. What was under way when a link is cut is lost as well."""

        def deliver():
            if (source, target) not in self.cut:
                arrive()

        if (source, target) in self.cut or self.rng.random() < self.drops:
            return
        self.after(self._delay(), deliver)
        if self.rng.random() < self.doubles:
            self.after(self._delay() if self.rng.random() < 0.8 else self.rng.randrange(REPLAY_MAX_MS), deliver)

    def _delay(self):
        return self.rng.randrange(1, self.delay_ms * (20 if self.rng.random() < 0.1 else 1))
