"""An object of parts that comes from a peer: put together in a hidden upload, part by part, and then named as the peer names it.

The upload's token says which manifest of which log it becomes, so a transfer that was cut short goes on with the parts that are missing:
those that have arrived are known by number, ETag and size. Parts whose bytes this node has are claimed without pulling anything. Parts
are pulled one after the other; what bounds the speed is the bytes, not the round trips.
"""

from collections.abc import Iterator, Sequence

from actors.messages import AbortUpload, CreateUpload, Refused, Stored, UploadMade
from actors.replication_messages import AdoptUpload, ClaimPart
from actors.runtime import sleep
from fasterstore.customer_key import CHECK_NAME
from fasterstore.metadata.upload_schema import pack_map
from fasterstore.model import ManifestNumber, PutIntent, Replica, Slice, UploadIntent, UploadRow
from fasterstore.replication.change import ManifestContent, ObjectState, PartContent, Piece
from fasterstore.replication.hidden_upload import SYSTEM_NAME, hidden_token
from web.ask_all import ask_all
from web.peer_client import PeerClient
from web.pulled_bytes import PulledBytes, Span
from web.pulled_record import store_pulled
from web.worker import Worker

CLAIMS_IN_A_TURN = 256
ROWS_IN_A_TURN = 250
UPLOADS_IN_A_TURN = 100
LOOKS = 3
_MISSING = "BytesMissing"


def assemble(worker: Worker, client: PeerClient, log_uuid: bytes, state: ObjectState) -> Stored | Refused:
    """Have all parts here, and the object named.

    Raises: PeerUnreachable, PeerRefused, S3Error; the parts that came stay for the next time.
    """
    content = state.content
    assert isinstance(content, ManifestContent)
    token = hidden_token(log_uuid, content.number)
    made = _open(worker, state, token)
    if isinstance(made, Refused):
        return made
    parts = _Parts(worker, client, log_uuid, state, made)
    refusal = parts.bring([part for part in content.parts if part not in parts])
    if refusal is not None:
        return refusal
    answer = _adopt(worker, state, log_uuid, made, content)
    if isinstance(answer, Refused) and answer.error == "Superseded":
        worker.answer_of("metadata-journal", AbortUpload(state.bucket, state.key, made))
    return answer


def _open(worker: Worker, state: ObjectState, token: str) -> ManifestNumber | Refused:
    """The number of the upload with that token, which is begun if there is none."""
    found = _find(worker, state, token)
    if found is not None:
        return found.number
    message = CreateUpload(UploadIntent(state.bucket, state.key, token, {SYSTEM_NAME: token}, {}, {}, "", "", ""))
    answer = worker.answer_of("metadata-journal", message)
    return answer.number if isinstance(answer, UploadMade) else answer


def _find(worker: Worker, state: ObjectState, token: str) -> UploadRow | None:
    index = worker.reader()
    bucket = index.bucket(state.bucket)
    if bucket is None:
        return None
    after = 0
    while True:
        rows = index.uploads.uploads_after(bucket.bucket_id, state.key, after, UPLOADS_IN_A_TURN)
        for row in rows:
            if row.key != state.key:
                return None
            if row.token == token:
                return row
        if len(rows) < UPLOADS_IN_A_TURN:
            return None
        after = rows[-1].number


def _adopt(worker: Worker, state: ObjectState, log_uuid: bytes, upload: ManifestNumber, content: ManifestContent) -> Stored | Refused:
    replica = Replica(state.stamp, state.origin, state.modified_ms, log_uuid, 0, content.number)
    intent = PutIntent(
        state.bucket, state.key, state.size_bytes, state.etag, state.system, state.user, state.checksums, tags=state.tags, acl=state.acl,
        upload=upload, replica=replica,
    )  # fmt: skip
    part_map = pack_map([(part.number, part.size_bytes) for part in content.parts])
    answer: Stored | Refused = Refused("NoSuchUpload")
    for _ in range(LOOKS):
        row = _find(worker, state, hidden_token(log_uuid, content.number))
        if row is None:
            return Refused("NoSuchUpload")
        answer = worker.answer_of("metadata-journal", AdoptUpload(intent, row.version, part_map))
        if not (isinstance(answer, Refused) and answer.error == "UploadChanged"):
            break
    return answer


class _Parts:
    """The parts of one hidden upload."""

    def __init__(self, worker: Worker, client: PeerClient, log_uuid: bytes, state: ObjectState, upload: ManifestNumber) -> None:
        self._worker = worker
        self._client = client
        self._log_uuid = log_uuid
        self._state = state
        self._upload = upload
        self._is_sealed = CHECK_NAME in state.system
        self._here = {(row[0], row[1], row[2]) for row in self._rows()}

    def __contains__(self, part: PartContent) -> bool:
        return (part.number, part.etag, part.size_bytes) in self._here

    def bring(self, parts: Sequence[PartContent]) -> Refused | None:
        """Have these parts here; None if all are. Raises as `assemble`."""
        for first in range(0, len(parts), CLAIMS_IN_A_TURN):
            some = parts[first : first + CLAIMS_IN_A_TURN]
            claims = [ClaimPart(self._intent(part), self._log_uuid, _slices(part)) for part in some]
            for part, claimed in zip(some, ask_all(self._worker, "metadata-journal", claims), strict=True):
                answer = self._pull(part) if isinstance(claimed, Refused) and claimed.error == _MISSING else claimed
                if isinstance(answer, Refused):
                    return answer
        return None

    def _pull(self, part: PartContent) -> Stored | Refused:
        spans = [self._span(piece) for piece in part.pieces]
        source = PulledBytes(self._client, self._log_uuid, spans, self._worker.settings.request_timeout_secs)
        return store_pulled(self._worker, source, self._intent(part))

    def _span(self, piece: Piece) -> Span:
        if self._is_sealed:
            return Span(piece.blob_id, piece.number, 0, piece.record_bytes)
        return Span(piece.blob_id, piece.number, piece.first, piece.length)

    def _intent(self, part: PartContent) -> PutIntent:
        state = self._state
        overhead_bytes = sum(piece.record_bytes - piece.length for piece in part.pieces) if self._is_sealed else 0
        only = part.pieces[0] if len(part.pieces) == 1 else None
        is_whole_record = only is not None and only.first == 0 and (self._is_sealed or only.length == only.record_bytes)
        blob = only.number if only is not None and is_whole_record else 0
        return PutIntent(
            state.bucket, state.key, part.size_bytes, part.etag, {}, {}, part.checksums, upload=self._upload, part=part.number,
            overhead_bytes=overhead_bytes, replica=Replica(state.stamp, state.origin, state.modified_ms, self._log_uuid, blob),
        )  # fmt: skip

    def _rows(self) -> Iterator[tuple[int, str, int]]:
        last = 0
        while True:
            rows = self._worker.reader().uploads.parts_after(self._upload, last, ROWS_IN_A_TURN)
            yield from ((row.number, row.etag, row.size_bytes) for row in rows)
            if len(rows) < ROWS_IN_A_TURN:
                return
            last = rows[-1].number
            sleep(0)


def _slices(part: PartContent) -> list[Slice]:
    return [Slice(piece.number, piece.first, piece.length) for piece in part.pieces]  # type: ignore[arg-type]
