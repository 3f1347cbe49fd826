"""`/_admin/compaction`: GET shows what the compactor does, as JSON (`actors/compaction_state.py` names the fields).

POST begins a round; POST with `?action=pause` lets it stand still after the current step, `?action=resume` go on. Each answers as GET.
"""

import json
from typing import Any

from actors.space_messages import CompactionStatus, CompactNow, DescribeCompaction, PauseCompaction
from fasterstore.s3.errors import S3Error
from web.admin_order import order_of
from web.context import Request
from web.reply import Reply, json_reply
from web.worker import Worker

_ACTIONS: dict[str, Any] = {"run": CompactNow(), "pause": PauseCompaction(True), "resume": PauseCompaction(False)}


def compaction(worker: Worker, request: Request) -> Reply:
    """GET, HEAD or POST. Raises: S3Error MethodNotAllowed, InvalidArgument for another action, ServiceUnavailable."""
    if request.method in ("GET", "HEAD"):
        message: Any = DescribeCompaction()
    elif request.method == "POST":
        message = _ACTIONS[order_of(request, tuple(_ACTIONS))]
    else:
        raise S3Error("MethodNotAllowed", headers={"Allow": "GET, HEAD, POST"}, Method=request.method, ResourceType="COMPACTION")
    answer: CompactionStatus = worker.ask("compactor", message)
    return json_reply(200, json.dumps(answer.status).encode())
