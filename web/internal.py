"""`/_internal/*`: what another node may ask, one module a route; who may ask is judged in `web/internal_access.py`.

Every other path below /_internal, and every other method, is not implemented.
"""

from collections.abc import Callable

from fasterstore.s3.errors import S3Error
from web import internal_apply, internal_blob, internal_digest, internal_snapshot, internal_status
from web.context import Request
from web.reply import Reply
from web.worker import Worker

ROUTES: tuple[tuple[str, str, Callable[[Worker, Request], Reply]], ...] = (
    ("POST", "/_internal/replicate/object", internal_apply.objects),
    ("POST", "/_internal/replicate/delete", internal_apply.deletes),
    ("GET", "/_internal/replicate/snapshot", internal_snapshot.snapshot),
    ("POST", "/_internal/replicate/digest", internal_digest.digest),
    ("GET", "/_internal/replicate/status", internal_status.status),
    ("GET", "/_internal/blob/<:re:[^/]+>", internal_blob.blob),
)
"""Method, path, handler."""


def unknown(worker: Worker, request: Request) -> Reply:
    """Every other path and method below /_internal. Raises: S3Error NotImplemented."""
    raise S3Error("NotImplemented", "There is no such internal route.")
