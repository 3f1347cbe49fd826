"""observer: answers what this process's actors are doing and what it has counted; in storage, also for every worker.

Reads vitals and counters that their owners write; changes nothing, so its answer never waits for another actor's mailbox. One worker
that does not answer in time is reported as such and holds nobody up for longer; several wait at the same time.
"""

import os
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

from actors import vitals
from actors.messages import CollectMetrics, CollectVitals
from actors.process_samples import process_samples
from actors.runtime import GeventActor, Ref
from actors.samples import MetricSamples, metric

PEER_TIMEOUT_SECS = 1.0


class Observer(GeventActor):
    """`process` names this process; `peers` gives (name, ref of its observer) of the processes to ask along."""

    name = "observer"

    def __init__(
        self,
        process: str,
        samples: Callable[[], list[MetricSamples]],
        peers: Callable[[], Iterable[tuple[str, Ref]]] = tuple,
    ) -> None:
        super().__init__()
        self._process = process
        self._samples = samples
        self._peers = peers

    def on_receive(self, message: Any) -> list[dict[str, Any]]:
        """CollectVitals: one dict an actor, with `process` and `pid`. CollectMetrics: one dict a metric and process."""
        if isinstance(message, CollectVitals):
            own = [{"process": self._process, "pid": os.getpid(), **row} for row in vitals.snapshot()]
        elif isinstance(message, CollectMetrics):
            own = self._samples() + self._vitals_samples() + process_samples(self._process)
        else:
            return []
        return own + self._ask_peers(message)

    def _ask_peers(self, message: Any) -> list[dict[str, Any]]:
        asked = [(name, ref.ask(message, block=False)) for name, ref in self._peers()]
        found: list[dict[str, Any]] = []
        deadline = perf_counter() + PEER_TIMEOUT_SECS
        for name, reply in asked:
            try:
                answer = reply.get(timeout=max(0.0, deadline - perf_counter()))
            except Exception as error:  # a worker that ends or hangs is what an operator wants to see here, not an error of ours
                answer = None
                text = repr(error)
            else:
                text = repr(answer)
            if isinstance(answer, list):
                found.extend(answer)
            elif isinstance(message, CollectVitals):
                found.append({"process": name, "name": "?", "state": "no answer", "last_error": text})
        return found

    def _vitals_samples(self) -> list[MetricSamples]:
        rows = vitals.snapshot()

        def gauge(field: str, name: str, text: str) -> MetricSamples:
            return metric(name, "gauge", text, [["", {"process": self._process, "actor": row["name"]}, row[field]] for row in rows])

        def total(field: str, name: str, text: str) -> MetricSamples:
            return metric(name, "counter", text, [["_total", {"actor": row["name"]}, row[field]] for row in rows])

        return [
            gauge("mailbox", "fasterstore_actor_mailbox_depth", "Messages waiting in an actor's mailbox."),
            total("handled", "fasterstore_actor_messages", "Messages an actor has handled."),
            total("failed", "fasterstore_actor_failures", "Messages that an actor failed by a defect."),
            total("busy_secs", "fasterstore_actor_busy_seconds", "Time an actor spent handling messages."),
        ]
