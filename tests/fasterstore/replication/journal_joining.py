"""What a node of a simulation does with a peer's batch: web's part, over the real journal's requests, in one batch of the journal."""

from fasterstore.errors import BytesMissing, StoreError
from fasterstore.metadata.upload_schema import pack_map
from fasterstore.model import PutIntent, Replica, Slice, UploadIntent
from fasterstore.replication.change import APPLIED, SUPERSEDED, BlobContent, BucketState, ManifestContent, Tombstone, refused
from fasterstore.replication.hidden_upload import SYSTEM_NAME, hidden_token
from fasterstore.replication.received import ReceivedBucket, ReceivedObject, ReceivedRemoval


class JoinsBatches:
    """Part of `JournalStore`, whose journal and index it uses."""

    def apply(self, origin_log, changes, pulled, now_ms):
        """Join a batch, buckets first, as web and journal do; an outcome for each change. `pulled` maps the sender's numbers to bytes."""
        outcomes = {}

        def all_of_them():
            for place, change in sorted(enumerate(changes), key=lambda item: not isinstance(item[1], BucketState)):
                outcomes[place] = self._apply(origin_log, change, pulled, now_ms)

        self._batch(all_of_them)
        return [outcomes[place] for place in range(len(changes))]

    def _apply(self, origin_log, change, pulled, now_ms):
        asks = self.journal.requests.replication
        if isinstance(change, BucketState):
            return _outcome(asks.apply(origin_log, [ReceivedBucket(*change)], [], [], now_ms).buckets[0])
        if isinstance(change, Tombstone):
            return _outcome(asks.apply(origin_log, [], [], [ReceivedRemoval(*change)], now_ms).removals[0])
        content = change.content
        piece = content.piece if isinstance(content, BlobContent) else None
        manifest = content.number if isinstance(content, ManifestContent) else 0
        fields = (*change[:2], *change[4:6], change.modified_ms, *change[7:12], change.stamp, change.origin)
        blob = (piece.number, piece.record_bytes) if piece else (0, 0)
        told = asks.apply(origin_log, [], [ReceivedObject(*fields, *blob, manifest)], [], now_ms).objects[0]
        if told != BytesMissing.__name__:
            return _outcome(told)
        try:
            if piece:
                body = content.inline if content.inline is not None else pulled[piece.number]
                self._store(self._received(change, origin_log, piece.number, 0), body, now_ms)
            else:
                self._adopt(origin_log, change, pulled, now_ms)
        except KeyError:
            return refused(BytesMissing.__name__)
        except StoreError as error:
            return _outcome(error.name)
        return APPLIED

    def _received(self, change, origin_log, blob, manifest, **more):
        return PutIntent(
            change.bucket, change.key, change.size_bytes, change.etag, change.system, change.user, change.checksums, tags=change.tags,
            acl=change.acl, replica=Replica(change.stamp, change.origin, change.modified_ms, origin_log, blob, manifest), **more,
        )  # fmt: skip

    def _adopt(self, origin_log, change, pulled, now_ms):
        """Put a peer's object of parts together in a hidden upload."""
        asks, content = self.journal.requests, change.content
        token = hidden_token(origin_log, content.number)
        intent = UploadIntent(change.bucket, change.key, token, {SYSTEM_NAME: "1"}, {}, {}, "", "", "")
        number = asks.create_upload(intent, now_ms)
        for part in content.parts:
            put = PutIntent(change.bucket, change.key, part.size_bytes, part.etag, {}, {}, part.checksums, upload=number, part=part.number)
            slices = [Slice(piece.number, piece.first, piece.length) for piece in part.pieces]
            if all(self.index.replication.local_blob(origin_log, piece.number) for piece in part.pieces):
                asks.replication.claim_part(put, origin_log, slices, now_ms)
                continue
            bodies = {piece.number: self.body(origin_log, piece.number) or pulled[piece.number] for piece in part.pieces}
            body = b"".join(bodies[piece.number][piece.first : piece.first + piece.length] for piece in part.pieces)
            whole = len(part.pieces) == 1 and part.pieces[0].length == part.pieces[0].record_bytes
            replica = Replica(change.stamp, change.origin, change.modified_ms, origin_log, part.pieces[0].number if whole else 0)
            self._store(put._replace(replica=replica), body, now_ms)
        bucket_id = self.index.bucket(change.bucket).bucket_id
        version = self.index.uploads.upload(bucket_id, change.key, number).version
        part_map = pack_map([(part.number, part.size_bytes) for part in content.parts])
        intent = self._received(change, origin_log, 0, content.number, upload=number)
        asks.replication.adopt(intent, version, part_map, now_ms)


def _outcome(name):
    if name == "":
        return APPLIED
    return SUPERSEDED if name == "Superseded" else refused(name)
