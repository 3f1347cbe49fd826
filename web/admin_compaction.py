"""`/_admin/compaction`: GET shows what the compactor does, as JSON (`actors/compaction_state.py` names the fields).

POST begins a round; POST with `?action=pause` lets it stand still after the current step, `?action=resume` go on. Each answers as GET.
Any other query is refused: `?pause`, as the scrubber takes it, must not begin a round.
"""

import json
from typing import Any

from actors.space_messages import CompactionStatus, CompactNow, DescribeCompaction, PauseCompaction
from fasterstore.s3.errors import S3Error
from web.context import Request
from web.reply import Reply, json_reply
from web.worker import Worker

_OF_A_SIGNATURE = "x-amz-"
_ACTIONS: dict[str, Any] = {"run": CompactNow(), "pause": PauseCompaction(True), "resume": PauseCompaction(False)}


def compaction(worker: Worker, request: Request) -> Reply:
    """GET, HEAD or POST. Raises: S3Error MethodNotAllowed, InvalidArgument for another action, ServiceUnavailable."""
    if request.method in ("GET", "HEAD"):
        message: Any = DescribeCompaction()
    elif request.method == "POST":
        action = request.query.get("action", "run")
        message = _ACTIONS.get(action)
        if message is None or any(name != "action" and not name.lower().startswith(_OF_A_SIGNATURE) for name in request.query):
            raise S3Error("InvalidArgument", "The action is run, pause or resume.", ArgumentName="action", ArgumentValue=action)
    else:
        raise S3Error("MethodNotAllowed", headers={"Allow": "GET, HEAD, POST"}, Method=request.method, ResourceType="COMPACTION")
    answer: CompactionStatus = worker.ask("compactor", message)
    return json_reply(200, json.dumps(answer.status).encode())
