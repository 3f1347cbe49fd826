"""A node's store in a simulation, made of the real parts: journal, judges, fold, index, log. Only segment files are a dict of bytes.

The log lies on a memory disk, the index in a file. A restart finds the log as it is and the index as it is or as it was at an earlier
copy, and replays. Everything is reached through what the actors and the replicator use.
"""

import hashlib
import os
import shutil

from fasterstore.digests import blob_id_of
from fasterstore.errors import StoreError
from fasterstore.metadata import index_file
from fasterstore.metadata.entries import SegmentOpened
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.journal import Journal
from fasterstore.metadata.judge import Claim, ClaimGone, Identity
from fasterstore.metadata.upload_schema import pack_map
from fasterstore.model import BlobLocation, CompleteIntent, CopyIntent, DeleteIntent, PutIntent, RenameIntent, UploadIntent
from fasterstore.replication.change import (
    INLINE_MAX_BYTES,
    BlobContent,
    BucketState,
    ManifestContent,
    ObjectState,
)
from fasterstore.replication.cursor import Address
from fasterstore.replication.merge import join_registers
from fasterstore.replication.outgoing import Outgoing
from fasterstore.replication.state_reading import StateReader
from fasterstore.storage import wal_format
from fasterstore.storage.memory_disk import MemoryDisk
from fasterstore.storage.record import record_bytes
from fasterstore.storage.wal_recovery import list_files, recover
from fasterstore.storage.wal_tail import WalTail
from fasterstore.storage.witness import Witness
from tests.fasterstore.replication.journal_joining import JoinsBatches
from tests.fasterstore.replication.simulated_store import Refused

PEERS = ("https://peer:9000",)


class RecordsInMemory(StateReader):
    """Reads rows as the replicator does, and records from a dict instead of segment files."""

    def __init__(self, view, store):
        super().__init__(view, None, None, None)
        self._store = store

    def bodies(self, places):
        return {place: self._store.places[place] for place in places if place.plaintext_bytes <= INLINE_MAX_BYTES}

    def _inline(self, placed):
        body = self._store.bodies[placed.blob.blob_id]
        return body if len(body) <= INLINE_MAX_BYTES else None

    def forget_all(self):
        pass


class JournalStore(JoinsBatches):
    """See the module. `folder` is the node's own; `rng` is the simulation's."""

    keeps_tombstones = True

    def __init__(self, node_id, log_uuid, folder, rng):
        self.node_id, self.log_uuid, self.folder, self.rng = node_id, log_uuid, str(folder), rng
        self.blob_key = node_id * 2
        self.bodies, self.numbers = {}, {}  # by blob id: what was ever written, and the number of a blob with it
        self.places = {}  # what was ever written, by where it lies
        self.copies = 0
        self.disk = MemoryDisk()
        self.disk.mkdir("/journal")
        self.disk.mkdir("/quarantine")
        self.path = self._new_path()
        self._open()
        self._batch(lambda: self.journal.requests.replication.set_peers(PEERS, 0))

    def _new_path(self):
        self.copies += 1
        return os.path.join(self.folder, f"{self.node_id[:1].decode()}-{self.copies}.db")

    def _open(self):
        random_bytes = self.rng.randbytes
        recovered = recover(
            self.disk, "/journal", self.log_uuid, 0, random_bytes, quarantine="/quarantine", rotate_bytes=1 << 12, step_bytes=1 << 12
        )
        self.index = IndexWriter(self.path, self.log_uuid, random_bytes)
        who = Identity(self.node_id, self.log_uuid)
        witness = Witness(self.disk, "/journal/witness")
        self.journal = Journal(self.index, recovered.writer, witness, who, free_reserve=lambda: False, timer=lambda: 0.0)
        list(self.journal.replay(self.disk, "/journal"))
        self.journal.start_epoch(0, lambda _id: 4096)
        self.journal.begin()
        self.segment = self.journal.requests.lease_segment_ids(1).first
        self.journal.requests.segment_opened(SegmentOpened(self.segment, self.journal.epoch, random_bytes(16)))
        self.journal.write()
        self.end = 64
        self.view = IndexView(self.path)
        self.states = RecordsInMemory(self.view, self)
        self.outgoing = Outgoing(self.node_id, self.log_uuid, self.view, self.states, WalTail(self.disk, "/journal"))

    def close(self):
        self.outgoing.close()
        self.journal.close()

    def _batch(self, step):
        """One batch of the journal; a refusal leaves what was judged before it, and is raised once the batch is written."""
        self.journal.begin()
        try:
            return step()
        except StoreError as error:
            raise Refused(error.name) from error
        finally:
            self.journal.write()

    # ---- the process, snapshots

    def restarted(self):
        """The store as the next process finds it: the index may be older than the log."""
        if self.journal is not None:
            old = None
            if self.rng.random() < 0.3 and self.index.log_start == 1:
                old = self._keep_copy()
            self.close()
            if old is not None and self.older is not None:
                self.path = self.older
            self.older = old
            self._open()
        return self

    older = None

    def _keep_copy(self):
        path = self._new_path()
        for _ in index_file.back_up(self.path, path):
            pass
        return path

    def pin(self):
        return Pinned(self, self._keep_copy(), self.head_lsn)

    # ---- what clients ask

    def run(self, op, now_ms):
        """Carry out a request; the addresses that it changed. Raises Refused."""
        head = self.head_lsn
        changed = self._batch(lambda: getattr(self, f"_{op.kind}")(op, now_ms))
        if self.head_lsn == head:
            raise Refused("nothing to do")
        return changed

    def _put(self, op, now_ms):
        made = self.index.bucket(op.bucket) is None
        self._store(self._intent(op.bucket, op.key, op.body, create_bucket=op.other[0]), op.body, now_ms)
        return [Address(op.bucket, None)] * made + [Address(op.bucket, op.key)]

    def _append(self, op, now_ms):
        row = self._row(op.bucket, op.key)
        self._store(self._intent(op.bucket, op.key, op.body, append_at=row.size_bytes), op.body, now_ms)
        return [Address(op.bucket, op.key)]

    def _multipart(self, op, now_ms):
        asks = self.journal.requests
        intent = UploadIntent(op.bucket, op.key, f"token-{self.head_lsn}", {"content-type": "a/b"}, {}, {"t": "u"}, "", "", "")
        number = asks.create_upload(intent, now_ms)
        bodies = {1: op.body, 2: b"the same everywhere", 4: op.body + b"|"}
        for part, body in bodies.items():
            self._store(self._intent(op.bucket, op.key, body, upload=number, part=part), body, now_ms)
        left_out = 2 if op.key.endswith(b"1") else 0
        listed = [(part, len(body)) for part, body in bodies.items() if part != left_out]
        bucket_id = self.index.bucket(op.bucket).bucket_id
        version = self.index.uploads.upload(bucket_id, op.key, number).version
        etag = hashlib.md5(op.body).hexdigest() + f"-{len(listed)}"
        asks.complete_upload(CompleteIntent(op.bucket, op.key, number, version, pack_map(listed), etag, {}), now_ms)
        return [Address(op.bucket, op.key)]

    def _copy(self, op, now_ms):
        source, source_key = op.other
        row = self._row(source, source_key)
        target = PutIntent(op.bucket, op.key, row.size_bytes, row.etag, row.system, row.user, row.checksums, tags=row.tags, acl="")
        self.journal.requests.copy(CopyIntent(target, source, source_key, row.stamp), now_ms)
        return [Address(op.bucket, op.key)]

    def _rename(self, op, now_ms):
        (new_key,) = op.other
        self.journal.requests.rename(RenameIntent(op.bucket, op.key, new_key), now_ms)
        return [Address(op.bucket, op.key), Address(op.bucket, new_key)]

    def _amend(self, op, now_ms):
        self.journal.requests.amend(op.bucket, op.key, *op.other, now_ms)
        return [Address(op.bucket, op.key)]

    def _delete(self, op, now_ms):
        self.journal.requests.delete(op.bucket, DeleteIntent(op.key), now_ms)
        return [Address(op.bucket, op.key)]

    def _create_bucket(self, op, now_ms):
        self.journal.requests.create_bucket(op.bucket, now_ms)
        return [Address(op.bucket, None)]

    def _delete_bucket(self, op, now_ms):
        self.journal.requests.delete_bucket(op.bucket, now_ms)
        return [Address(op.bucket, None)]

    def _configure(self, op, now_ms):
        self.journal.requests.configure(op.bucket, op.other[0], op.document, now_ms)
        return [Address(op.bucket, None)]

    def _set_home(self, op, now_ms):
        self.journal.requests.replication.set_home(op.bucket, op.other[0], now_ms)
        return [Address(op.bucket, None)]

    def _intent(self, bucket, key, body, **more):
        return PutIntent(bucket, key, len(body), hashlib.md5(body).hexdigest(), more.pop("system", {}), {}, {}, **more)

    def _store(self, intent, body, now_ms):
        """A put whose bytes were claimed or, if the journal finds that they are gone, written first."""
        blob_id = blob_id_of(body, self.blob_key)
        self.bodies[blob_id] = body
        claimed = self.numbers.get(blob_id, 0)
        answer = self.journal.requests.put(intent, Claim(self.journal.epoch, blob_id, None, claimed), now_ms) if claimed else ClaimGone()
        if isinstance(answer, ClaimGone):
            place = BlobLocation(self.segment, self.end, len(body), len(body), self.rng.randbytes(16))
            self.places[place] = body
            self.end += record_bytes(len(body))
            answer = self.journal.requests.put(intent, Claim(self.journal.epoch, blob_id, place, 0), now_ms)
            self.numbers[blob_id] = self.index.state.last_blob
        return answer

    def _row(self, bucket, key):
        found = self.index.bucket(bucket)
        row = None if found is None else self.index.object(found.bucket_id, key)
        if row is None:
            raise Refused("no such key")
        return row

    # ---- what peers ask

    def beaten(self, change):
        """Whether what is here is as late as the change, or later."""
        if isinstance(change, BucketState):
            row = self.view.replication.registers(change.name)
            return row is not None and join_registers(row.registers, change.registers) == row.registers
        state = self.view.replication.key_state(change.bucket, change.key)
        held = state.object or state.tombstone
        return held is not None and (held.stamp, held.origin) >= (change.stamp, change.origin)

    def missing(self, change, origin_log):
        """The pieces of the change whose bytes are not here."""
        content = change.content if isinstance(change, ObjectState) else None
        if isinstance(content, BlobContent):
            pieces = [] if content.inline is not None else [content.piece]
        else:
            pieces = [piece for part in content.parts for piece in part.pieces] if isinstance(content, ManifestContent) else []
        return [piece for piece in pieces if self.view.replication.local_blob(origin_log, piece.number) is None]

    def body(self, log_uuid, number):
        """The bytes that the log knows under that number, None if they are not here."""
        local = number if log_uuid == self.log_uuid else self.index.replication.local_blob(log_uuid, number)
        row = None if local is None else self.index.blob(local)
        return None if row is None else self.bodies[row.blob_id]

    # ---- what the replicator reads

    head_lsn = property(lambda self: self.journal.head_lsn)
    head_stamp = property(lambda self: self.index.state.last_stamp)
    horizon_ms = property(lambda self: self.index.replication.state.horizon_ms)

    def ship(self, work, peer_node):
        return self.outgoing.read(work, peer_node)

    def state(self, address):
        """What the key or bucket is now; None if there is nothing to tell."""
        return self.states.change_at(address)

    def addresses(self):
        """Everything there is to tell, in order of (bucket, key), each bucket before its keys."""
        found = [Address(row.name, None) for row in self.view.replication.registers_after("", 1_000)]
        found += [Address(state.bucket, state.key) for state in self.view.replication.states_after("", None, 1_000)]
        return sorted(found, key=lambda address: (address.bucket, address.key or b""))

    # ---- upkeep

    @property
    def log_start(self):
        return self.index.log_start

    def retire_log(self, _below_lsn):
        """Give up all files but the last."""
        self.journal.checkpoint()
        first = list_files(self.disk, "/journal")[-1]
        if first > self.index.log_start:
            self._batch(lambda: self.journal.retire_log(first))
            self.journal.remove_retired()
            self.older = None

    def expire_tombstones(self, before_ms, now_ms):
        self._batch(lambda: self.journal.requests.replication.expire_tombstones(before_ms, now_ms))

    def tidy(self, now_ms):
        """Let go of what nothing uses: parts of given-up uploads, blobs and with them their numbers at peers."""
        self._batch(lambda: self.journal.requests.release_parts(now_ms, now_ms))
        self._batch(lambda: self.journal.requests.forget_blobs(now_ms, 10, now_ms))

    # ---- looked at by the checks

    def exists(self, bucket):
        return self.view.bucket(bucket) is not None

    def read(self, bucket, key):
        """The object's bytes, put together from rows."""
        content = self.state(Address(bucket, key)).content
        if isinstance(content, BlobContent):
            return self.bodies[content.piece.blob_id]
        pieces = [piece for part in content.parts for piece in part.pieces] if isinstance(content, ManifestContent) else []
        return b"".join(self.bodies[piece.blob_id][piece.first : piece.first + piece.length] for piece in pieces)


class Pinned:
    """A snapshot: the index as of one LSN. `bodies` are shared: content is never another under the same id."""

    leaps_when_restored = True

    def __init__(self, store, path, lsn):
        self.store, self.path, self.head_lsn = store, path, lsn

    def restored(self, log_uuid, now_ms):
        """The store that a restore makes of it: the index under a new identity, a new log that begins behind it."""
        old = self.store
        old.close()
        store = JournalStore.__new__(JournalStore)
        store.__dict__ |= {name: old.__dict__[name] for name in ("node_id", "folder", "rng", "blob_key", "bodies", "places", "copies")}
        store.log_uuid, store.numbers, store.journal = log_uuid, {}, None
        store.path = store._new_path()
        shutil.copyfile(self.path, store.path)
        now_ms = now_ms if self.leaps_when_restored else None
        index_file.adopt(store.path, index_uuid=old.rng.randbytes(16), log_uuid=log_uuid, log_start=self.head_lsn + 1, restored_ms=now_ms)
        store.disk = MemoryDisk()
        store.disk.mkdir("/journal")
        store.disk.mkdir("/quarantine")
        header = wal_format.make_file_header(log_uuid, old.rng.randbytes(wal_format.SALT_BYTES), self.head_lsn + 1, wal_format.NO_HASH, 0)
        fd = store.disk.open(f"/journal/{wal_format.file_name(self.head_lsn + 1)}", create=True, exclusive=True)
        store.disk.pwrite(fd, wal_format.pack_file_header(header), 0)
        store.disk.fsync(fd)
        store.disk.close(fd)
        store.disk.fsync_dir("/journal")
        store._open()
        return store
