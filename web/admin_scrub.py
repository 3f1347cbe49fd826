"""`/_admin/scrub`: how the scrubber stands, and orders to it. Only FS_ADMIN_ACCESS_KEY gets here (`web/authenticate.py`)."""

import json
from typing import Any

from actors.messages import ScrubAction
from fasterstore.s3.errors import S3Error
from web.admin_order import order_of
from web.body import receive_document
from web.context import Request
from web.reply import Reply, json_reply
from web.worker import Worker

ORDERS = ("start", "pause", "resume")


def scrub(worker: Worker, request: Request) -> Reply:
    """GET: the state as JSON (`scrub/report.py`). POST: a round begins now, at full speed; `?action=pause` or `resume`: that instead.

    Raises: S3Error InvalidArgument for another order, MethodNotAllowed, ServiceUnavailable.
    """
    order = ""
    if request.method == "POST":
        receive_document(request, worker.blob_key)
        order = order_of(request, ORDERS)
    elif request.method not in ("GET", "HEAD"):
        raise S3Error("MethodNotAllowed", headers={"Allow": "GET, HEAD, POST"}, Method=request.method, ResourceType="SCRUB")
    status: dict[str, Any] = worker.ask("scrubber", ScrubAction(order))
    status["damaged_blobs"] = worker.reader().damaged_blobs()
    return json_reply(202 if order == "start" else 200, json.dumps(status).encode())
