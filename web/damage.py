"""What of a running node is damaged, in lines for an operator: the node serves everything else, so none of it makes a probe fail.

The index counts damaged blobs; of what else scrubbing found the scrubber is asked, and not waited for if it is slow.
"""

import contextlib

from actors.messages import ScrubAction
from actors.runtime import ActorDeadError, ActorFailure, AskTimeout
from fasterstore.errors import StoreError
from web.worker import Worker

PATIENCE_SECS = 0.2


def damage(worker: Worker) -> list[str]:
    """One line for each kind of damage; none if all is well as far as one knows. Names no bucket and no key."""
    lines = []
    try:
        count = 0 if worker.index is None else worker.index.damaged_blobs()
        if count:
            others = "" if worker.replication is None else ", and peers are asked for them"
            lines.append(f"degraded: stored bytes of {count} blobs are damaged; putting the same bytes again repairs them{others}")
    except StoreError:
        lines.append("degraded: the index cannot be read")
    scrubber = worker.directory.find("scrubber")
    if scrubber is not None:
        with contextlib.suppress(AskTimeout, ActorDeadError, ActorFailure):
            status = scrubber.ask(ScrubAction(), timeout=PATIENCE_SECS)
            if isinstance(status, dict):
                lines += [f"degraded: {line}" for line in status["degraded"]]
    return lines
