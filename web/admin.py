"""`/_admin/*`: what an operator asks of a running node. Only FS_ADMIN_ACCESS_KEY gets here (`web/authenticate.py`)."""

import json
from typing import Any

from actors.messages import CollectVitals
from fasterstore.s3.errors import S3Error
from web.context import Request
from web.peer_state import peer_rows
from web.reply import Reply, json_reply
from web.worker import Worker


def actors(worker: Worker, request: Request) -> Reply:
    """The vitals of every actor of every process as JSON: {"actors": [{"process": ..., "name": ..., ...}, ...]}. Raises: S3Error.

    On a node with peers also {"peers": [{"peer", "state", "lag_entries", "lag_bytes", "lag_secs", "degraded"}, ...]}.
    """
    vitals: list[dict[str, Any]] = worker.ask("observer", CollectVitals())
    document: dict[str, Any] = {"actors": vitals}
    if worker.replication is not None:
        document["peers"] = peer_rows(worker.replication, worker.now_ms())
    return json_reply(200, json.dumps(document).encode())


def unknown(worker: Worker, request: Request) -> Reply:
    """Every other path below /_admin. Raises: S3Error NotImplemented."""
    raise S3Error("NotImplemented", "There is no such admin route.")
