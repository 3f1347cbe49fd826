"""What all requests of one web worker share: settings, the way to the storage actors, the index view, open segments, cache, metrics.

The composition root makes one, and replaces `index` (None while disconnected) and `read_only` as the storage process comes and goes.
Owns the rule of when a request may read or write, and the translation of an actor's answer into a value or an S3 error. Holds no
state of a request.
"""

import contextlib
import logging
import os
from collections.abc import Callable, MutableSequence
from typing import Any, NamedTuple

from actors.directory import Directory
from actors.messages import Admit, Refused
from actors.runtime import ActorDeadError, ActorFailure, AskTimeout, Ref, Reply, spawn, tell
from fasterstore.cache import BlobCache
from fasterstore.keyring import Keyring
from fasterstore.metadata.index import IndexView
from fasterstore.model import BlobNumber
from fasterstore.replication.board import ReplicationBoard
from fasterstore.s3.errors import S3Error, from_store
from fasterstore.settings import Settings
from fasterstore.storage.disk import Disk
from fasterstore.storage.open_segments import OpenSegments
from web.home_refusal import not_home
from web.metrics import Metrics
from web.peers import Peers
from web.pulls import Pulls
from web.rate_limit import RateLimit
from web.refusal_log import RefusalLog
from web.served_certificate import ServedCertificate

logger = logging.getLogger(__name__)


_NO_ANSWER = Refused("OutcomeUnknown", "no answer in time")


def _hand_over(reply: Any, too_late: Callable[[Any], None]) -> None:
    """Wait for an answer that nobody waits for any more. What ends without one (a lost connection) needs nothing undone."""
    with contextlib.suppress(ActorDeadError, ActorFailure):
        too_late(reply.get())


class LinkState(NamedTuple):
    """The connection to the storage process: `connected`, and what is waited for while it is not (such as replay progress)."""

    connected: bool
    text: str = ""


def _always_connected() -> LinkState:
    return LinkState(True)


class Worker:
    """One web worker, as its requests see it.

    `number` is the worker's incarnation, as told to ReserveExtent. `now_ms` gives Unix milliseconds. `link_state` is read by /readyz.
    `host_id` goes into `x-amz-id-2` and error documents and names the node. `read_only` is "" or the reason why writes are refused.
    `keyring` opens and seals records; by default all are plain. `access_log`: one line per request at INFO. `certificate` is None where
    HTTP is spoken in the clear. `node_id` is this node's, 16 bytes; `replication` says how it stands with its peers, None without any.
    """

    __slots__ = (
        "access_log", "blob_key", "cache", "cache_ref", "certificate", "directory", "disk", "host_id", "index", "keyring",
        "link_state", "metrics", "node_id", "now_ms", "number", "peers", "pulls", "rate_limit", "read_only", "refusals", "replication",
        "scan_heard_ms", "segments", "segments_dir", "settings", "started_ms", "streamed_uploads", "told_of_plain_keys",
    )  # fmt: skip

    def __init__(
        self,
        *,
        settings: Settings,
        directory: Directory,
        disk: Disk,
        segments_dir: str,
        blob_key: bytes,
        now_ms: Callable[[], int],
        number: int = 0,
        cache: BlobCache | None = None,
        cache_ref: Ref | None = None,
        link_state: Callable[[], LinkState] = _always_connected,
        host_id: str = "",
        access_log: bool = False,
        keyring: Keyring | None = None,
        node_id: bytes = b"",
    ) -> None:
        self.settings = settings
        self.directory = directory
        self.disk = disk
        self.blob_key = blob_key
        self.now_ms = now_ms
        self.number = number
        self.cache = cache
        self.cache_ref = cache_ref
        self.link_state = link_state
        self.host_id = host_id or os.urandom(16).hex()
        self.access_log = access_log
        self.keyring = keyring or Keyring(blob_key)
        self.node_id = node_id
        self.refusals = RefusalLog(now_ms)
        """What other nodes do wrong."""
        self.peers = Peers(settings)
        self.pulls = Pulls()
        self.started_ms = now_ms()
        self.scan_heard_ms: MutableSequence[int] | memoryview = [now_ms()]
        """One time: when a peer last sent this node a piece of all it has, or this node was started."""
        self.index: IndexView | None = None
        self.replication: ReplicationBoard | None = None
        self.read_only = ""
        self.certificate: ServedCertificate | None = None
        self.streamed_uploads = 0
        """How many bodies are being streamed into extents now: each holds two buffers."""
        self.told_of_plain_keys = False
        """Whether the log has it that customers' keys come over plain HTTP."""
        self.segments_dir = segments_dir
        self.segments = OpenSegments(disk, segments_dir)
        self.metrics = Metrics(process=f"worker-{number}")
        self.metrics.cache = cache
        if settings.replication_peers:
            self.metrics.refusals, self.metrics.pulls = self.refusals.counts, self.pulls
        rate_per_sec = settings.rate_limit_per_sec
        self.rate_limit = RateLimit(rate_per_sec, settings.workers, directory, proven_keys=settings.auth_enabled) if rate_per_sec else None
        """None without a limit, which then costs nothing."""
        self.metrics.rate_limit = self.rate_limit

    def reader(self) -> IndexView:
        """The index, for a read. Raises S3Error ServiceUnavailable while there is none."""
        if self.index is None:
            raise from_store("ReadOnly" if self.read_only else "Unavailable")
        return self.index

    def writer(self) -> IndexView:
        """The index, for the early checks of a write. Raises S3Error ServiceUnavailable while writes are refused or disconnected."""
        if self.read_only:
            raise from_store("ReadOnly")
        return self.reader()

    def ask(self, actor: str, message: Any, too_late: Callable[[Any], None] | None = None) -> Any:
        """Ask a storage actor; the answer is a value that is not a refusal. One that comes after the time is over goes to `too_late`.

        Raises: S3Error for a refusal. What an asked actor leaves open (it died, or failed by a defect) is an unknown outcome.
        """
        answer = self.answer_of(actor, message, too_late)
        if type(answer) is Refused:
            if answer.detail:
                logger.info("%s refused %s: %s (%s)", actor, type(message).__name__, answer.error, answer.detail)
            raise self.refusal_of(answer)
        return answer

    def answer_of(self, actor: str, message: Any, too_late: Callable[[Any], None] | None = None) -> Any:
        """The same, a refusal being an answer like another: for who asks on nobody's behalf, and has no use for S3's words."""
        try:
            reply = self.directory.get(actor).ask(message, block=False)
        except (ActorDeadError, ActorFailure) as error:
            logger.error("%s answered %s with %r", actor, type(message).__name__, error)
            return _NO_ANSWER
        return self.awaited(actor, message, reply, too_late)

    def awaited(self, actor: str, message: Any, reply: Reply, too_late: Callable[[Any], None] | None = None) -> Any:
        """The answer to `message` that comes to `reply`, as `answer_of`: several asks may be under way at once."""
        try:
            return reply.get(timeout=self.settings.request_timeout_secs)
        except AskTimeout:
            if too_late is not None:
                spawn(_hand_over, reply, too_late)
        except (ActorDeadError, ActorFailure) as error:
            logger.error("%s answered %s with %r", actor, type(message).__name__, error)
        return _NO_ANSWER

    def refusal_of(self, refused: Refused) -> S3Error:
        """What a client is told of a storage actor's refusal."""
        if refused.error == "NotHome":
            return not_home(self.replication, refused.detail)
        return from_store(refused.error, refused.detail)

    def tell(self, actor: str, message: Any) -> None:
        """Tell a storage actor; that nobody reads it is no error of the request."""
        tell(self.directory.get(actor), message)

    def admit(self, blob: BlobNumber, body: bytes) -> None:
        """Offer verified bytes to the cache."""
        if self.cache_ref is not None:
            tell(self.cache_ref, Admit(blob, body))
