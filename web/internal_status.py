"""GET /_internal/replicate/status: who this node is, and what it has heard of the caller's log."""

from fasterstore.replication.peer_status import encode_status
from web.context import Request
from web.reply import Reply
from web.worker import Worker


def status(worker: Worker, request: Request) -> Reply:
    """The handler; `log` (hex) in the query names the caller's log. Raises: S3Error ServiceUnavailable."""
    index = worker.reader()
    seen_lsn = worker.heard.get(request.query.get("log", "").lower(), 0)
    return packed_reply(encode_status(worker.node_id, index.log_uuid(), seen_lsn, index.replication.state().horizon_ms))


def packed_reply(body: bytes) -> Reply:
    """A msgpack answer with its length."""
    return Reply(200, [("Content-Type", "application/msgpack"), ("Content-Length", str(len(body)))], (body,))
