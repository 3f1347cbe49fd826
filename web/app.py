"""The WSGI application: the routes, and the one wrapper around every handler.

The wrapper gives each request its id, lets it in or not, calls the handler, and turns what comes back, value or error, into an answer
with the headers, metrics and log line that every answer has. Bottle routes; below the wrapper nobody sees its request and response
objects. Every route declares who may use it (`access`); one that does not cannot be made. Must never look at what a handler does.
"""

import logging
import os
from collections.abc import Callable, Iterable
from functools import partial
from time import perf_counter
from typing import Any

import bottle

from fasterstore.errors import StoreError
from fasterstore.s3.actions import Action, classify
from fasterstore.s3.errors import S3Error, from_store, render_error
from web import (
    acl,
    admin,
    admin_compaction,
    admin_policy,
    admin_replication,
    admin_scrub,
    bucket,
    bucket_encryption,
    bucket_tagging,
    cors,
    delete_objects,
    exposition,
    health,
    internal,
    listing,
    multipart,
    multipart_lists,
    not_configured,
    object,
    object_attributes,
    object_copy,
    ownership,
    part_copy,
    policy,
    post_object,
    public_access_block,
    rename,
    service,
    tagging,
)
from web.authenticate import QUERY_SCHEMES, Access, Gatekeeper
from web.authorise import authorise, is_owner
from web.body import receive_document
from web.client_address import Addressing
from web.context import Request
from web.object_headers import refuse_other_owner
from web.reply import STATUS_LINES, Reply
from web.request_body import RequestBodyError
from web.streamed_body import StreamedBody
from web.worker import Worker

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("fasterstore.access")

Handler = Callable[[Worker, Request], Reply]

_MODULES = (
    service, bucket, bucket_tagging, bucket_encryption, ownership, public_access_block, not_configured,
    object, object_copy, rename, delete_objects, tagging,
    acl, listing, multipart, multipart_lists, part_copy, object_attributes, cors, policy, post_object,
)  # fmt: skip
HANDLERS: dict[str, Handler] = {name: handler for module in _MODULES for name, handler in module.HANDLERS.items()}
"""Handlers by S3 action; the table of actions says which are built."""

EVERYTHING = "<:re:[\\s\\S]*>"
"""Any path, newlines included: `.` would leave out keys that hold one."""
BELOW = "<:re:(?:/[\\s\\S]*)?>"
_TAKES_BODY = ("PUT", "POST")
_UNSIGNED = frozenset(("PreflightBucket", "PreflightObject"))
"""Browsers cannot sign these: a signature in their query is that of the request to follow."""


def s3(worker: Worker, request: Request) -> Reply:
    """Every S3 action: the handler that the action names. Raises: S3Error."""
    authorise(worker, request)
    handler = HANDLERS.get(request.action, not_configured.refuse)
    refuse_other_owner(request)
    if request.method not in _TAKES_BODY:
        # What was signed as the body must be what was sent, also where the body means nothing.
        receive_document(request, worker.blob_key)
    return handler(worker, request)


class StoreApp(bottle.Bottle):
    """The application of one web worker."""

    def __init__(self, worker: Worker) -> None:
        super().__init__()
        self.uninstall(True)
        self._wrapper = Wrapper(worker)
        self.install(self._wrapper)
        self.route("/healthz", "GET", health.healthz, access="open")
        self.route("/readyz", "GET", health.readyz, access="open")
        for path, callback in health.ALIASES.items():
            self.route(path, "GET", callback, access="open")
        self.route("/metrics", "GET", exposition.exposition, access="metrics")
        self.route("/_admin/actors", "GET", admin.actors, access="admin")
        self.route("/_admin/compaction", "ANY", admin_compaction.compaction, access="admin")
        self.route("/_admin/replication", "ANY", admin_replication.replication, access="admin")
        self.route("/_admin/scrub", "ANY", admin_scrub.scrub, access="admin")
        self.route("/_admin/policy/<:re:[^/]+>", "ANY", admin_policy.admin_policy, access="admin")
        self.route(f"/_admin{BELOW}", "ANY", admin.unknown, access="admin")
        for method, path, callback in internal.ROUTES:
            self.route(path, method, callback, access="internal")
        self.route(f"/_internal{BELOW}", "ANY", internal.unknown, access="internal")
        self.route(EVERYTHING, "ANY", s3, access="s3")
        self._s3_route = self.routes[-1]
        domain, proxies = worker.settings.domain, worker.settings.trusted_proxies
        self._addressing = Addressing(domain, proxies) if domain or proxies else None

    def wsgi(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[Any]:
        """PEP 3333, past Bottle's own response object: an answer is a Reply, and its body passes through untouched."""
        reply = self._dispatch(environ)
        if type(reply) is not Reply:
            # No route fits everything but a defect: Bottle has made a page of it that must not be shown.
            logger.error("request outside every handler: %s", getattr(reply, "status_line", reply))
            reply = self._wrapper.refuse(S3Error("InternalError"), "", self._wrapper.next_id())
        start_response(STATUS_LINES[reply.status], reply.headers)
        body = reply.body
        if isinstance(body, StreamedBody):
            return body
        if environ["REQUEST_METHOD"] == "HEAD" or reply.status in (204, 304):
            return []
        if "fs.headers" not in environ:
            # Other servers take byte strings only.
            return [bytes(piece) for piece in body]
        return body

    def _dispatch(self, environ: dict[str, Any]) -> Any:
        """Bottle's `_handle` without what no handler here uses: its request and response objects, hooks and resets."""
        if self._addressing is not None and self._addressing.apply(environ):
            # A virtual host has no routes of its own: /metrics there is an object.
            return self._s3_route.call(environ)
        try:
            route, _arguments = self.router.match(environ)
        except bottle.HTTPResponse as response:
            return response
        return route.call(environ)


def make_app(worker: Worker) -> StoreApp:
    """The application that serves `worker`'s requests."""
    return StoreApp(worker)


class Wrapper:
    """What every request needs, once. A Bottle plugin (interface 2), so that no route can be added without it."""

    name = "wrapper"
    api = 2

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._gatekeeper = Gatekeeper(worker.settings, worker.refusals)
        self._host_header = ("x-amz-id-2", worker.host_id)
        self._id_prefix = os.urandom(4).hex().upper()
        self._requests = 0

    def apply(self, callback: Handler, route: Any) -> Callable[[dict[str, Any]], Reply]:
        """The callback that Bottle calls for `route`. Raises: KeyError for a route that does not say who may use it."""
        access: Access = route.config["access"]
        handle = self._handle_s3 if access == "s3" else self._handle_other

        def wrapped(environ: dict[str, Any]) -> Reply:
            return handle(environ, callback, access)

        return wrapped

    def next_id(self) -> str:
        """A request id: unique in this node's life and hard to mistake for another's, but no secret."""
        self._requests += 1
        return f"{self._id_prefix}{self._requests:08X}"

    def _handle_s3(self, environ: dict[str, Any], callback: Handler, access: Access) -> Reply:
        started_at = perf_counter()
        worker = self._worker
        metrics = worker.metrics
        limit = worker.rate_limit
        request_id = self.next_id()
        request: Request | None = None
        try:
            request = Request(environ, request_id, started_at)
            action = _action_of(request)
            if request.action not in _UNSIGNED:
                request.identity = self._gatekeeper.admit(access, request, worker.now_ms())
            if request.identity.scheme in QUERY_SCHEMES:
                # Headers came out of the URL, and x-amz-copy-source chooses the action.
                action = _action_of(request)
            if limit is not None and request.action != "PostObject":
                # A form's key is known only once its fields are read: `web/post_object.py`.
                limit.count(request, started_at)
            if isinstance(action, S3Error):
                # A stranger is told nothing, not even what is wrong with the request.
                raise action if is_owner(worker, request) else S3Error("AccessDenied")
            reply = callback(worker, request)
        except Exception as error:
            if limit is not None and (request is None or not request.is_counted):
                error = limit.count_refused(error, started_at)
            reply = self._refusal(error, request, environ, request_id)
        else:
            reply.headers += (("x-amz-request-id", request_id), self._host_header)
        if request is not None and "origin" in request.headers and request.action not in _UNSIGNED:
            reply.headers += cors.answer_headers(worker, request)
        now = perf_counter()
        action_name = "Unknown" if request is None else request.action
        metrics.answered(action_name, reply.status, now - started_at)
        body = reply.body
        if isinstance(body, StreamedBody):
            metrics.downloads_open += 1
            body.finished = partial(self._finished, environ, request, action_name, reply.status, started_at)
        else:
            metrics.finished(action_name, now - started_at)
            if worker.access_log:
                self._log(environ, request, action_name, reply.status, now - started_at)
        if request is not None:
            metrics.bytes_in += request.bytes_in
        return reply

    def _handle_other(self, environ: dict[str, Any], callback: Handler, access: Access) -> Reply:
        """Routes that are no S3 actions: the same, without S3's metrics."""
        started_at = perf_counter()
        request_id = self.next_id()
        request: Request | None = None
        try:
            request = Request(environ, request_id, started_at)
            request.identity = self._gatekeeper.admit(access, request, self._worker.now_ms())
            if access in ("admin", "internal") and request.method not in _TAKES_BODY:
                receive_document(request, self._worker.blob_key)
            reply = callback(self._worker, request)
        except Exception as error:
            return self._refusal(error, request, environ, request_id)
        reply.headers += (("x-amz-request-id", request_id), self._host_header)
        return reply

    def refuse(self, error: S3Error, resource: str, request_id: str) -> Reply:
        """The answer for an error: S3's document, with the headers of every answer."""
        document = render_error(error, resource, request_id, self._host_header[1])
        headers = [
            ("Content-Type", "application/xml"),
            ("Content-Length", str(len(document))),
            ("x-amz-request-id", request_id),
            self._host_header,
            *error.headers.items(),
        ]
        return Reply(error.status, headers, (document,))

    def _refusal(self, error: Exception, request: Request | None, environ: dict[str, Any], request_id: str) -> Reply:
        """The one mapping from what a handler raised to an answer."""
        if isinstance(error, S3Error):
            refusal = error
        elif isinstance(error, RequestBodyError):
            # Only what S3 has no words for is said in ours.
            refusal = S3Error(error.code, str(error) if error.code == "InvalidRequest" else "")
        elif isinstance(error, StoreError):
            logger.error("request %s: %s: %s", request_id, error.name, error.detail)
            refusal = from_store(error.name)
        else:
            logger.error("defect while answering request %s", request_id, exc_info=error)
            refusal = S3Error("InternalError")
        resource = request.raw_path if request is not None else str(environ.get("PATH_INFO", ""))
        return self.refuse(refusal, resource, request_id)

    def _finished(self, environ: dict[str, Any], request: Request | None, action: str, status: int, started_at: float) -> None:
        """A streamed answer has left, or was given up."""
        worker = self._worker
        worker.metrics.downloads_open -= 1
        elapsed = perf_counter() - started_at
        worker.metrics.finished(action, elapsed)
        if worker.access_log:
            self._log(environ, request, action, status, elapsed)

    def _log(self, environ: dict[str, Any], request: Request | None, action: str, status: int, elapsed_secs: float) -> None:
        """One line; without the query, which may hold a signature."""
        fields: dict[str, Any] = {"action": action, "status": status, "seconds": round(elapsed_secs, 6)}
        if request is not None:
            fields |= {
                "request_id": request.request_id,
                "peer": request.peer_ip,
                "client": request.client_ip,
                "method": request.method,
                "path": request.raw_path,
                "access_key": request.identity.access_key,
                "bytes_in": request.bytes_in,
            }
        access_logger.info("%s %d", action, status, extra=fields)


def _action_of(request: Request) -> Action | S3Error:
    """Find out what is asked for, before the signature is checked so that refusals are counted by action; its error is raised after."""
    try:
        request.split_resource()
        action = classify(
            request.method, bool(request.bucket), request.key is not None, request.query, "x-amz-copy-source" in request.headers
        )
    except S3Error as error:
        return error
    request.action = action.name
    return action
