"""repairer: gives damaged blobs their bytes back from a peer. Only on a node that has peers.

Owns the list of blobs that no peer could give yet; serialises repairs, one at a time. A blob is asked for under the numbers by which the
two nodes know the same bytes: this node's own, which a peer that got them from here has noted, and those under which they came from
elsewhere. Whatever comes is taken only if its keyed hash is the blob's id; then it is stored as every PUT is, and the journal lets the
blob lie there. It deletes nothing. Asks segment-writer, which is below it; nobody waits for it.
"""

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

from blake3 import blake3

from actors import messages as m
from actors.directory import Directory
from actors.extent_writer import ExtentRefused, ExtentWriter
from actors.peer import PeerRefused, PeerUnreachable
from actors.runtime import ActorDeadError, ActorFailure, GeventActor, Ref, ask, offload, spawn_later, tell
from actors.samples import MetricSamples, counter, metric
from fasterstore.errors import DamagedRow, VolumeSuspect
from fasterstore.keyring import Keyring
from fasterstore.metadata.index import IndexView
from fasterstore.model import SMALL_BODY_MAX_BYTES, BlobNumber, BlobRow, PutIntent
from fasterstore.replication.blob_frames import FRAME_BYTES, UNKNOWN_BLOB_ID
from fasterstore.storage.disk import Disk
from fasterstore.storage.open_segments import OpenSegments

logger = logging.getLogger("fasterstore.repair")

AGAIN_SECS = 60.0
"""After so long the blobs that nobody could give are asked for once more."""
WAITING_MAX = 10_000
"""Blobs that are remembered for it; the scrubber's next round finds the others."""
OPEN_SEGMENTS = 4


class BlobName(NamedTuple):
    """How a log calls a blob: its uuid, the number there, and the blob's id there, if known."""

    log_uuid: bytes
    number: int
    blob_id: bytes


class PeerBytes(Protocol):
    """Bytes on their way from a peer; see `web/peer_stream.py`."""

    def read_frame(self, buffer: memoryview) -> int:
        """The next frame, verified, at the beginning of `buffer`; how long it is, 0 at the end. Raises PeerUnreachable."""

    def close(self) -> None:
        """Let go."""


class BlobPeer(Protocol):
    """A peer, as far as bytes are asked of it."""

    @property
    def address(self) -> str:
        """Its URL."""

    def open_blob(self, blob_id: bytes, number: int, log_uuid: bytes, first: int, length: int) -> PeerBytes:
        """Those bytes of the blob that the log of that uuid knows by id and number. Raises PeerUnreachable, PeerRefused."""


class NotRepaired(Exception):
    """Why these bytes could not be had or taken; one line."""


class Repairer(GeventActor):
    """See the module. `view` is this actor's alone; `log_uuid` is this node's; `timeout_secs` bounds each wait for segment-writer."""

    name = "repairer"

    def __init__(
        self,
        directory: Directory,
        view: IndexView,
        disk: Disk,
        segments_dir: str,
        keyring: Keyring,
        log_uuid: bytes,
        peers: Sequence[BlobPeer],
        counts: "RepairCounts",
        *,
        timeout_secs: float,
        again_secs: float = AGAIN_SECS,
    ) -> None:
        super().__init__()
        self._directory = directory
        self._view = view
        self._disk = disk
        self._segments = OpenSegments(disk, segments_dir, OPEN_SEGMENTS)
        self._keyring = keyring
        self._log_uuid = log_uuid
        self._peers = peers
        self._counts = counts
        self._timeout_secs = timeout_secs
        self._again_secs = again_secs
        self._timer: Any = None

    def on_stop(self) -> None:
        """Orderly stop: what is not repaired yet is found again by the scrubber."""
        if self._timer is not None:
            self._timer.kill(block=False)
        self._segments.forget_all()
        self._view.close()

    def on_receive(self, message: Any) -> Any:
        """RepairBlob: try now. RepairWaiting: try what waits again."""
        if isinstance(message, m.RepairBlob):
            self._try([message.blob])
        elif isinstance(message, m.RepairWaiting):
            self._timer = None
            self._try(sorted(self._counts.waiting))
        return None

    def _try(self, blobs: Sequence[BlobNumber]) -> None:
        waiting = self._counts.waiting
        for blob in blobs:
            try:
                trouble = self._repair(blob)
            except (DamagedRow, VolumeSuspect, OSError, ActorFailure, ActorDeadError) as error:
                trouble = str(error)
            if not trouble:
                waiting.discard(blob)
                continue
            self.vitals.record_error(trouble, 0)
            logger.warning("blob %d is not repaired: %s", blob, trouble)
            if len(waiting) < WAITING_MAX:
                waiting.add(blob)
        if waiting and self._timer is None:
            self._timer = spawn_later(self._again_secs, tell, self.actor_ref, m.RepairWaiting())

    def _repair(self, blob: BlobNumber) -> str:
        """Why the blob could not be repaired; "" if it is, or need not be any more."""
        placed = self._view.uploads.blob(blob)
        if placed is None or (blob in self._counts.waiting and not placed.blob.damaged):
            return ""
        troubles = []
        for peer in self._peers:
            for name in self._names(placed.blob):
                try:
                    self._fetch(peer, name, placed.blob)
                except (PeerUnreachable, PeerRefused, ExtentRefused, NotRepaired) as error:
                    troubles.append(str(error))
                    continue
                self._counts.repaired += 1
                logger.warning("blob %d is repaired with the bytes of %s", blob, peer.address)
                return ""
        return "; ".join(dict.fromkeys(troubles)) or "there is no peer"

    def _names(self, row: BlobRow) -> list[BlobName]:
        theirs = [BlobName(name.log_uuid, name.number, UNKNOWN_BLOB_ID) for name in self._view.replication.peer_blobs_of(row.number)]
        return [BlobName(self._log_uuid, row.number, row.blob_id), *theirs]

    def _fetch(self, peer: BlobPeer, name: BlobName, row: BlobRow) -> None:
        length = row.location.plaintext_bytes
        stream = peer.open_blob(name.blob_id, name.number, name.log_uuid, 0, length)
        try:
            answer = self._take_small(stream, row) if length <= SMALL_BODY_MAX_BYTES else self._take_large(stream, row)
        finally:
            stream.close()
        if isinstance(answer, m.Refused):
            raise NotRepaired(f"{answer.error}: {answer.detail}".rstrip(": "))

    def _take_small(self, stream: PeerBytes, row: BlobRow) -> Any:
        body = bytearray(row.location.plaintext_bytes)
        stream.read_frame(memoryview(body))
        hasher = blake3(body, key=self._keyring.blob_key)
        _require(hasher, row)
        put = m.PutObject(_intent(row), row.blob_id, bytes(body), must_append=True)
        return ask(self._directory.get("segment-writer"), put, self._timeout_secs)

    def _take_large(self, stream: PeerBytes, row: BlobRow) -> Any:
        length = row.location.plaintext_bytes
        extent = ExtentWriter(self._directory, self._disk, self._segments, self._keyring, length, timeout_secs=self._timeout_secs)
        hasher = blake3(key=self._keyring.blob_key)
        buffer = memoryview(bytearray(min(FRAME_BYTES, length)))
        position = 0
        try:
            while count := stream.read_frame(buffer):
                offload(hasher.update, buffer[:count])
                extent.write(buffer[:count], position)
                position += count
            _require(hasher, row)
        except BaseException:
            extent.abort()
            raise
        return extent.finish(_intent(row), row.blob_id)


class RepairCounts:
    """What was repaired since the start, and the blobs that wait; written by the repairer, read for metrics and the status."""

    def __init__(self) -> None:
        self.repaired = 0
        self.waiting: set[BlobNumber] = set()

    def samples(self) -> list[MetricSamples]:
        """Both, as metrics."""
        return [
            counter("fasterstore_repaired_blobs", "Damaged blobs that got their bytes back from a peer.", self.repaired),
            metric("fasterstore_repairs_waiting", "gauge", "Damaged blobs that no peer could give yet.", [["", {}, len(self.waiting)]]),
        ]


class RepairByPeers:
    """The scrubber's `Repair`: passes a damaged blob on to the repairer."""

    def __init__(self, repairer: Ref) -> None:
        self._repairer = repairer

    def wanted(self, blob: BlobRow) -> None:
        """That blob's record is damaged."""
        tell(self._repairer, m.RepairBlob(blob.number))


def _intent(row: BlobRow) -> PutIntent:
    return PutIntent("", b"", row.location.plaintext_bytes, "", {}, {}, {}, repairs=row.number)


def _require(hasher: Any, row: BlobRow) -> None:
    if hasher.digest() != row.blob_id:
        raise NotRepaired(f"a peer has other bytes for blob {row.number}")
