"""`/healthz` and `/readyz`, for probes and people: GET and HEAD, without a signature. Says nothing about what is stored.

The same two answer under MinIO's names, which probes and load balancers of its users are set to ask.
"""

from collections.abc import Callable

from web.context import Request
from web.damage import damage
from web.peer_state import peer_lines
from web.reply import Reply, text_reply
from web.worker import Worker


def healthz(worker: Worker, request: Request) -> Reply:
    """200 as long as this process answers at all."""
    return text_reply(200, "ok\n")


def readyz(worker: Worker, request: Request) -> Reply:
    """200 if reads and writes are served, else 503 with what is waited for. What an operator should look at besides has its own line."""
    missing = _waited_for(worker)
    if not missing:
        return text_reply(200, "".join(f"{line}\n" for line in ("ready", *damage(worker), *peer_lines(worker))) + _trouble(worker))
    reply = text_reply(503, missing + "\n")
    reply.headers.append(("Retry-After", "1"))
    return reply


def _waited_for(worker: Worker) -> str:
    if worker.read_only:
        return f"read-only until an operator acts: {worker.read_only}"
    link = worker.link_state()
    if not link.connected:
        return f"waiting for the storage process: {link.text}" if link.text else "waiting for the storage process"
    if worker.index is None:
        return "waiting for the index"
    return ""


def _trouble(worker: Worker) -> str:
    """Of the certificate; why it cannot be served is in the log, with its path, which is nothing for strangers."""
    if worker.certificate is None or not worker.certificate.trouble:
        return ""
    return "the new TLS certificate cannot be served, the one before it still is: see the log\n"


ALIASES: dict[str, Callable[[Worker, Request], Reply]] = {
    "/minio/health/live": healthz,
    "/minio/health/ready": readyz,
    "/minio/health/cluster": readyz,
}
"""Path -> handler. A cluster of one has its write quorum when it is ready."""
