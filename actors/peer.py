"""The other node as the replicator sees it: what can be asked of it, and how that fails. Implemented by web (HTTP), and by tests.

Every call blocks the calling greenlet only, several may be under way at once, and each ends by itself: a peer that makes no progress is
`PeerUnreachable`. Nothing is tried again inside: the replicator decides when.
"""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from fasterstore.replication.anti_entropy import Page
from fasterstore.replication.change import BatchAnswer
from fasterstore.replication.digest import KeyRange, RangeDigest


class PeerUnreachable(Exception):
    """No answer: refused connection, timeout, broken off half-way, 5xx. Whether anything was applied is unknown. The message is short."""


class PeerRefused(Exception):
    """The peer answered and will not: token, source, version, or an answer that is none. Trying again soon is no use; an operator is."""


class PeerStatus(NamedTuple):
    """Who the peer is, and what it knows of this node.

    `node_id` and `log_uuid` are 16 bytes. `known_blob` is the highest number of this node's log under which it has a blob (0: none);
    `horizon_ms`: what it deleted by then (Unix time) may have left no tombstone (0: none).
    """

    node_id: bytes
    log_uuid: bytes
    known_blob: int
    horizon_ms: int


class PeerClient(Protocol):
    """One peer. `address` is its entry of FS_REPLICATION_PEERS. Every method raises PeerUnreachable or PeerRefused."""

    @property
    def address(self) -> str:
        """The peer's URL."""

    def status(self) -> PeerStatus:
        """GET /_internal/replicate/status."""

    def send_objects(self, body: bytes, changes: int) -> BatchAnswer:
        """POST /_internal/replicate/object: `body` is an encoded Batch of so many objects and buckets. Returns when it is there."""

    def send_deletes(self, body: bytes, changes: int) -> BatchAnswer:
        """POST /_internal/replicate/delete: the same with tombstones and buckets."""

    def digest(self, ranges: Sequence[KeyRange]) -> list[RangeDigest]:
        """POST /_internal/replicate/digest: the peer's digests of these ranges."""

    def snapshot_page(self, asked: KeyRange, limit: int) -> Page:
        """GET /_internal/replicate/snapshot: at most `limit` of the peer's states of a range, in order, without bytes."""

    def close(self) -> None:
        """End what is under way and let go of connections."""
