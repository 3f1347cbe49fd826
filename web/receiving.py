"""A batch of a peer's changes at this node: sorted by what each needs, asked of storage all at once, and answered change by change.

    the index already has the same or a later state    superseded, without a message
    bytes that came along                              PutObject, as any small PUT
    all else                                           one ApplyChanges; what it answers BytesMissing to is pulled, then asked for anew

The judge of every change is the journal; here nothing is decided but the way. An outcome is given only for what is on stable storage.
No handler's object exists for each change: a batch of 256 small objects costs messages, and nothing else.
"""

import logging
from collections.abc import Sequence
from functools import partial
from typing import Any

from actors.messages import Refused, Stored
from actors.peer import PeerRefused, PeerUnreachable
from actors.replication_messages import ApplyChanges, ChangesApplied
from fasterstore.customer_key import CHECK_NAME
from fasterstore.errors import DamagedRow
from fasterstore.metadata.index import IndexView
from fasterstore.model import SMALL_BODY_MAX_BYTES, PutIntent, Replica
from fasterstore.replication.change import (
    APPLIED,
    SUPERSEDED,
    Batch,
    BlobContent,
    BucketState,
    ManifestContent,
    ObjectState,
    Outcome,
    Tombstone,
    refused,
)
from fasterstore.replication.merge import wins
from fasterstore.replication.plausible import is_plausible
from fasterstore.replication.received import ReceivedBucket, ReceivedObject, ReceivedRemoval
from fasterstore.s3.errors import S3Error
from web.ask_all import ask_all
from web.hidden_parts import assemble
from web.peer_client import NotThere, PeerClient
from web.peer_stream import WrongBytes
from web.pulled_bytes import PulledBytes, Span
from web.pulled_record import put_message, store_bytes, store_pulled
from web.worker import Worker

logger = logging.getLogger("fasterstore.internal")

ROUNDS_MAX = 4
"""So often bytes that another pull should have brought are asked for before the change is left to the next batch."""
BYTES_MISSING = "BytesMissing"
UNKNOWN = "OutcomeUnknown"


_Object = tuple[int, ObjectState]
"""An object's place in the batch, and the object."""


class Receiving:
    """One batch. `client` reaches its sender."""

    def __init__(self, worker: Worker, batch: Batch, client: PeerClient) -> None:
        self._worker = worker
        self._client = client
        self._log_uuid = batch.log_uuid
        self._changes = batch.changes
        self._outcomes: list[Outcome] = [refused(UNKNOWN)] * len(batch.changes)
        self._inline: list[tuple[int, ObjectState, bytes]] = []
        self._objects: list[_Object] = []
        self._buckets: list[tuple[int, BucketState]] = []
        self._removals: list[tuple[int, Tombstone]] = []
        self._is_left = False
        self._waits_for_pull = False

    def leave(self, work: Any) -> None:
        """Nobody waits for the outcomes any more: begin no further pull, nor wait for one. `work` is the greenlet in `run`."""
        self._is_left = True
        if self._waits_for_pull:
            # It holds nothing there; anywhere else it may, and comes to its end by itself.
            work.kill(block=False)

    def run(self) -> list[Outcome]:
        """Have all of it applied; the outcome of each change, in order. Raises S3Error ServiceUnavailable while there is no storage."""
        self._sort()
        missing = self._apply(self._buckets, self._objects, self._removals)
        self._store_inline()
        for _ in range(ROUNDS_MAX):
            if not missing or self._is_left:
                break
            missing = self._apply([], self._pull(missing), [])
        return self._outcomes

    def _sort(self) -> None:
        index = self._worker.writer()
        index.begin()
        try:
            for place, change in enumerate(self._changes):
                if not is_plausible(change):
                    self._outcomes[place] = refused("ImpossibleChange")
                elif isinstance(change, BucketState):
                    self._buckets.append((place, change))
                elif isinstance(change, Tombstone):
                    self._removals.append((place, change))
                elif is_beaten(index, change):
                    self._outcomes[place] = SUPERSEDED
                elif isinstance(change.content, BlobContent) and change.content.inline is not None:
                    self._inline.append((place, change, change.content.inline))
                else:
                    self._objects.append((place, change))
        finally:
            index.end()

    def _apply(
        self, buckets: Sequence[tuple[int, BucketState]], objects: Sequence[_Object], removals: Sequence[tuple[int, Tombstone]]
    ) -> list[_Object]:
        """Have the journal join these changes; the objects whose bytes are missing. All that it answers is noted."""
        if not (buckets or objects or removals):
            return []
        message = ApplyChanges(
            self._log_uuid,
            [ReceivedBucket(*change) for _, change in buckets],
            [_received(state) for _, state in objects],
            [ReceivedRemoval(*change) for _, change in removals],
        )
        (answer,) = ask_all(self._worker, "metadata-journal", [message])
        if not isinstance(answer, ChangesApplied):
            name = answer.error if isinstance(answer, Refused) else UNKNOWN
            for place, _ in (*buckets, *objects, *removals):
                self._outcomes[place] = refused(name)
            return []
        for (place, _), name in zip((*buckets, *objects, *removals), (*answer.buckets, *answer.objects, *answer.removals), strict=True):
            self._outcomes[place] = outcome_of(name)
        return [held for held, name in zip(objects, answer.objects, strict=True) if name == BYTES_MISSING]

    def _store_inline(self) -> None:
        places: list[int] = []
        messages = []
        for place, state, body in self._inline:
            if len(body) > SMALL_BODY_MAX_BYTES:
                self._outcomes[place] = self._stored_alone(state, body)
            else:
                places.append(place)
                messages.append(put_message(self._worker, body, object_intent(state, self._log_uuid)))
        for place, answer in zip(places, ask_all(self._worker, "segment-writer", messages), strict=True):
            self._outcomes[place] = outcome_of_answer(answer)

    def _stored_alone(self, state: ObjectState, body: bytes) -> Outcome:
        try:
            return outcome_of_answer(store_bytes(self._worker, body, object_intent(state, self._log_uuid)))
        except S3Error as error:
            return refused(error.code)

    def _pull(self, missing: Sequence[_Object]) -> list[_Object]:
        """Pull what is missing, each thing once; the objects that may be asked for again because another's pull brought their bytes."""
        again = []
        tried: set[tuple[bool, int]] = set()
        for place, state in missing:
            thing = _bytes_of(state)
            if thing in tried:
                again.append((place, state))
                continue
            tried.add(thing)
            if self._is_left:
                break
            self._waits_for_pull = True
            try:
                pulled = self._worker.pulls.run(self._client.address, (self._log_uuid, *thing), partial(self._pulled, state))
            finally:
                self._waits_for_pull = False
            if pulled.is_own:
                self._outcomes[place] = pulled.outcome
            else:
                again.append((place, state))
        return again

    def _pulled(self, state: ObjectState) -> Outcome:
        """Pull one object's bytes and have them named; every end is an outcome."""
        worker, content = self._worker, state.content
        try:
            if isinstance(content, ManifestContent):
                return outcome_of_answer(assemble(worker, self._client, self._log_uuid, state))
            assert isinstance(content, BlobContent)
            piece = content.piece
            span = Span(piece.blob_id, piece.number, 0, piece.record_bytes)
            source = PulledBytes(self._client, self._log_uuid, [span], worker.settings.request_timeout_secs)
            return outcome_of_answer(store_pulled(worker, source, object_intent(state, self._log_uuid)))
        except WrongBytes as error:
            worker.refusals.refused("wrong-bytes", str(error))
            return refused("WrongBytes")
        except NotThere:
            # The sender replaced it meanwhile, or could not read it: it tells of the key again, as it is then.
            return refused("BytesGone")
        except (PeerUnreachable, PeerRefused) as error:
            worker.refusals.refused("cannot-pull", str(error))
            return refused(type(error).__name__)
        except S3Error as error:
            return refused(error.code)
        except Exception:
            logger.exception("defect while bytes of a peer were pulled")
            return refused("InternalError")


def is_beaten(index: IndexView, state: ObjectState) -> bool:
    """Does the key stand here as that, or later? A row that cannot be read beats nothing: the journal has the last word on it."""
    try:
        stands = index.replication.key_state(state.bucket, state.key)
    except DamagedRow:
        return False
    held = stands.object or stands.tombstone
    return held is not None and not wins(state.stamp, state.origin, held.stamp, held.origin)


def object_intent(state: ObjectState, log_uuid: bytes) -> PutIntent:
    """What is asked of storage for an object whose record is stored here."""
    content = state.content
    assert isinstance(content, BlobContent)
    overhead_bytes = content.piece.record_bytes - state.size_bytes if CHECK_NAME in state.system else 0
    replica = Replica(state.stamp, state.origin, state.modified_ms, log_uuid, content.piece.number)
    return PutIntent(
        state.bucket, state.key, state.size_bytes, state.etag, state.system, state.user, state.checksums, tags=state.tags, acl=state.acl,
        overhead_bytes=overhead_bytes, replica=replica,
    )  # fmt: skip


def outcome_of(name: str) -> Outcome:
    """What the journal said of one change."""
    if not name:
        return APPLIED
    return SUPERSEDED if name == "Superseded" else refused(name)


def outcome_of_answer(answer: Stored | Refused) -> Outcome:
    """The same of a change that was asked for by itself."""
    return APPLIED if isinstance(answer, Stored) else outcome_of(answer.error)


def _received(state: ObjectState) -> ReceivedObject:
    content = state.content
    blob = record_bytes = manifest = 0
    if isinstance(content, BlobContent):
        blob, record_bytes = content.piece.number, content.piece.record_bytes
    elif isinstance(content, ManifestContent):
        manifest = content.number
    return ReceivedObject(
        state.bucket, state.key, state.size_bytes, state.etag, state.modified_ms, state.system, state.user, state.checksums, state.tags,
        state.acl, state.stamp, state.origin, blob, record_bytes, manifest,
    )  # fmt: skip


def _bytes_of(state: ObjectState) -> tuple[bool, int]:
    """What has to be pulled: whether it is a manifest, and its number in the sender's log."""
    content = state.content
    if isinstance(content, ManifestContent):
        return True, content.number
    return False, content.piece.number if isinstance(content, BlobContent) else 0
