"""GET /_internal/replicate/status: who this node is, and what it knows of the caller's log."""

import re

from fasterstore.replication.peer_status import encode_status
from web.context import Request
from web.reply import Reply
from web.worker import Worker

_LOG_UUID = re.compile(r"[0-9a-f]{32}")


def status(worker: Worker, request: Request) -> Reply:
    """The handler; `log` (hex) in the query names the caller's log. Raises: S3Error ServiceUnavailable."""
    index = worker.reader()
    log = request.query.get("log", "").lower()
    known_blob = index.replication.highest_peer_blob(bytes.fromhex(log)) if _LOG_UUID.fullmatch(log) else 0
    return packed_reply(encode_status(worker.node_id, index.log_uuid(), known_blob, index.replication.state().horizon_ms))


def packed_reply(body: bytes) -> Reply:
    """A msgpack answer with its length."""
    return Reply(200, [("Content-Type", "application/msgpack"), ("Content-Length", str(len(body)))], (body,))
