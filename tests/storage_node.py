"""What the tests of the metadata layer and of the storage actors share: a node on a disk of the test, and an audit of its index.

The audit recomputes every counter from the rows it counts, so a test that ends with it holds for refs, live bytes and usage at once.
"""

import gc
import hashlib
import os
import random
from collections import Counter, defaultdict

import apsw
from blake3 import blake3

from actors import messages as m
from actors.directory import Directory
from actors.runtime import GreenletExit
from fasterstore.metadata import replication_schema as replication
from fasterstore.metadata import schema
from fasterstore.metadata import upload_schema as uploads
from fasterstore.metadata.index import open_connection
from fasterstore.metadata.replication_schema import ReplicationState
from fasterstore.metadata.upload_schema import Unused
from fasterstore.model import PutIntent
from fasterstore.replication.merge import bucket_exists, created_ms_of, documents_of, highest_stamp, join_registers
from fasterstore.sealed_body import blob_bytes_of
from fasterstore.storage.datadir import open_datadir
from fasterstore.storage.memory_disk import MemoryDisk
from fasterstore.storage.record import record_bytes
from tools.storage_actors import StorageActors

TABLES = (
    "meta", "buckets", "objects", "blobs", "segments", "usage", "uploads", "parts", "manifests", "maps", "releases",
    "tombstones", "bucket_registers", "peer_blobs",
)  # fmt: skip


def rows(path, statement, values=()):
    """All rows of a statement, read through a connection of its own."""
    connection = open_connection(path, apsw.SQLITE_OPEN_READONLY, 1024)
    try:
        return connection.execute(statement, values).fetchall()
    finally:
        connection.close()


def change(path, statement, values=()):
    """Change the index behind the program's back."""
    connection = open_connection(path, apsw.SQLITE_OPEN_READWRITE, 1024)
    try:
        connection.execute(statement, values)
    finally:
        connection.close()


def dump(path):
    """Every row of every table, in key order, without the file's own uuid."""
    found = {table: sorted(rows(path, f"SELECT * FROM {table}")) for table in TABLES}
    found["meta"] = [row for row in found["meta"] if row[0] != "identity"]
    return found


def audit(path):
    """Recompute refs, live bytes and usage from the rows they count; every row's checksum is verified on the way."""
    blobs = {row[0]: schema.unpack_blob(*row) for row in rows(path, "SELECT number, prefix, segment, value FROM blobs")}
    unused = {number: since for number, since in rows(path, "SELECT number, unused_ms FROM blobs") if since is not None}
    assert unused == {number: row.zero_since_ms for number, row in blobs.items() if not row.refs}
    segments = {number: schema.unpack_segment(number, value) for number, value in rows(path, "SELECT * FROM segments")}
    usage = {number: schema.unpack_usage(number, value) for number, value in rows(path, "SELECT * FROM usage")}
    buckets = {number for _, number, _ in rows(path, "SELECT * FROM buckets")}
    refs, live, counts = Counter(), Counter(), {number: (0, 0) for number in buckets}
    users = Counter()
    manifests = {number: uploads.unpack_manifest(number, value) for number, value in rows(path, "SELECT * FROM manifests")}
    for bucket_id, key, blob, value in rows(path, "SELECT * FROM objects"):
        row = schema.unpack_object(bucket_id, key, blob, value)
        refs[row.blob] += 1
        objects, size_bytes = counts[bucket_id]
        counts[bucket_id] = (objects + 1, size_bytes + row.size_bytes)
        if row.manifest:
            users[row.manifest] += 1
            assert row.blob == 0
            assert row.size_bytes == manifests[row.manifest].size_bytes
        else:
            assert (row.blob == 0) == (row.size_bytes == 0)
            assert row.blob == 0 or blob_bytes_of(row) == blobs[row.blob].location.plaintext_bytes
    assert usage == counts
    assert {number: row.refs for number, row in manifests.items() if row.refs} == users
    refs.update(_audit_parts(path, buckets, blobs, manifests))
    for number, row in blobs.items():
        assert row.refs == refs.pop(number, 0), f"refs of blob {number}"
        assert (row.zero_since_ms > 0) == (row.refs == 0)
        live[row.location.segment_id] += record_bytes(row.location.stored_bytes)
    refs.pop(0, None)
    assert not refs
    assert {number: row.live_bytes for number, row in segments.items()} == {number: live[number] for number in segments}
    assert live.keys() <= segments.keys()
    _audit_replication(path, blobs)


def _audit_replication(path, blobs):
    """Check that tombstones, registers and peers' numbers fit to the other rows, and that no stamp is above what the log says."""
    meta = dict(rows(path, "SELECT * FROM meta"))
    state = replication.unpack_replication_state(meta["replication"]) if "replication" in meta else ReplicationState()
    names = {}
    for name, number, value in rows(path, "SELECT * FROM buckets"):
        names[name] = schema.unpack_bucket(name, number, value)
    objects = [schema.unpack_object(*row) for row in rows(path, "SELECT * FROM objects")]
    tombstones = [replication.unpack_tombstone(*row) for row in rows(path, "SELECT * FROM tombstones")]
    assert state.tombstones == len(tombstones)
    held = {(row[0], row[1]) for row in rows(path, "SELECT b.name, o.key FROM objects o JOIN buckets b ON b.bucket_id = o.bucket_id")}
    assert not held & {(row.bucket.encode(), row.key) for row in tombstones}
    stamps = [row.stamp for row in (*objects, *tombstones)]
    registers = {row[0]: replication.unpack_registers(*row) for row in rows(path, "SELECT * FROM bucket_registers")}
    assert names.keys() <= registers.keys()
    for name, row in registers.items():
        stamps.append(highest_stamp(row.registers))
        assert join_registers(row.registers, row.registers) == row.registers
        assert (row.gone_ms == 0) == bucket_exists(row.registers, False) == (name in names)
        if name in names:
            held_row = names[name]
            assert (held_row.settings, held_row.created_ms) == (documents_of(row.registers), created_ms_of(row.registers))
    assert max(stamps, default=0) <= max(schema.unpack_state(meta["state"]).last_stamp, state.ahead_stamp)
    known = [replication.unpack_peer_blob(*row) for row in rows(path, "SELECT * FROM peer_blobs")]
    assert {row.blob for row in known} <= blobs.keys()
    assert state.has_peer_blobs or not known


def _audit_parts(path, buckets, blobs, manifests):
    """Check that every part belongs to something, and to one thing only; return how often the slices of all of them use each blob."""
    opened = [uploads.unpack_upload(*row) for row in rows(path, "SELECT * FROM uploads")]
    releases = {row[0]: uploads.unpack_release(*row) for row in rows(path, "SELECT * FROM releases")}
    maps = {number: uploads.unpack_map(uploads.unseal_map(number, value)) for number, value in rows(path, "SELECT * FROM maps")}
    parts, refs = defaultdict(dict), Counter()
    for number, part, value in rows(path, "SELECT * FROM parts"):
        row = parts[number][part] = uploads.unpack_part(number, part, value)
        assert row.size_bytes == sum(piece.length for piece in row.slices)
        for piece in row.slices:
            assert piece.first >= 0
            assert 0 < piece.length <= blobs[piece.blob].location.plaintext_bytes - piece.first
            refs[piece.blob] += 1
    upload_numbers = {row.number for row in opened}
    assert maps.keys() == manifests.keys()
    assert not upload_numbers & (manifests.keys() | releases.keys())
    assert parts.keys() <= upload_numbers | manifests.keys() | releases.keys()
    for row in opened:
        assert row.bucket_id in buckets or releases[row.bucket_id].what is Unused.UPLOADS
        assert row.version >= row.number
    for number, row in manifests.items():
        release = releases.get(number)
        assert (row.refs == 0) == (release is not None and release.what is Unused.PARTS)
        ends = [0, *(item.end for item in maps[number])]
        assert (row.size_bytes, row.part_count) == (ends[-1], len(maps[number]))
        if row.refs:
            sizes = {part: end - start for (part, end), start in zip(maps[number], ends, strict=False)}
            assert list(sizes) == sorted(sizes)
            assert sizes.items() <= {part: held.size_bytes for part, held in parts[number].items()}.items()
            left_out = parts[number].keys() - sizes.keys()
            assert not left_out or (release is not None and release.after < min(left_out))
    for number, release in releases.items():
        if release.what is Unused.UNLISTED:
            assert manifests[number].refs
        elif release.what is Unused.PARTS:
            assert all(part > release.after for part in parts[number])
        else:
            assert number not in buckets
    return refs


class Node:
    """The real storage actors on `disk`, with the index at the same path on the real one."""

    def __init__(self, path, disk=None, *, segment_target_bytes=1 << 20, min_free_bytes=0, checkpoint_interval_secs=3600.0, **more):
        self.disk = MemoryDisk() if disk is None else disk
        self.settings = {
            "segment_target_bytes": segment_target_bytes, "min_free_bytes": min_free_bytes,
            "checkpoint_interval_secs": checkpoint_interval_secs, **more,
        }  # fmt: skip
        self.fatals = []
        self._ended = False
        self.now_ms = 1_700_000_000_000
        self.monotonic_secs = 0.0
        self.batches = []
        self._random = random.Random(os.path.basename(path))
        self.datadir = open_datadir(self.disk, str(path), self.random_bytes)
        os.makedirs(os.path.dirname(self.datadir.index_path), exist_ok=True)
        self.actors = None

    def random_bytes(self, size):
        return self._random.randbytes(size)

    def fatal(self, reason, suspect):
        """Ends the actor in place of the process. A process ends once: what the dying actor says after that nobody hears."""
        if not self._ended:
            self.fatals.append((reason, suspect))
        self._ended = True
        raise GreenletExit

    def batch(self, requests, write_secs, sync_secs):
        self.batches.append(requests)

    @property
    def index_path(self):
        return self.datadir.index_path

    def more_settings(self):
        """What is made anew for each start, once there is a directory."""
        return {}

    def start(self):
        self.directory = Directory()
        self._ended = False
        self.actors = StorageActors(
            self.disk, self.datadir, self.directory, fatal=self.fatal, now_ms=lambda: self.now_ms,
            monotonic=lambda: self.monotonic_secs, random_bytes=self.random_bytes, observe=self, **self.settings,
            **self.more_settings(),
        )  # fmt: skip
        self.progress = list(self.actors.start())
        self.journal, self.writer = self.directory.get("metadata-journal"), self.directory.get("segment-writer")
        self.compactor = self.directory.find("compactor")
        return self

    def stop(self):
        if self.actors is not None:
            self.actors.stop()
            self.actors = None

    def crash(self):
        """End the actors where they stand, as kill -9 would; what a native thread has begun it completes."""
        self._ended = True
        refs = [ref for ref in (self.compactor, self.writer, self.journal) if ref is not None]
        actors = [ref._actor_weakref() for ref in refs]
        for ref in refs:
            ref.kill()
        for actor in [*actors, *(actor._regions for actor in actors if hasattr(actor, "_regions"))]:
            for name in ("_thread", "_finish_thread"):
                if hasattr(actor, name):
                    getattr(actor, name).close()
        del actors, actor
        self.actors = self.directory = self.journal = self.writer = self.compactor = None
        gc.collect()  # closes the index's connection, which rolls an open transaction back

    def restart(self):
        self.crash()
        return self.start()

    def small(self, key, body, **intent):
        """A PutObject."""
        bucket, system = intent.pop("bucket", "b"), intent.pop("system", {})
        wanted = PutIntent(bucket, key, len(body), hashlib.md5(body).hexdigest(), system, {}, {}, **intent)
        return m.PutObject(wanted, blake3(body, key=self.datadir.blob_key).digest(), body)

    def put(self, key, body, **intent):
        return self.writer.ask(self.small(key, body, **intent))

    def settle(self):
        """Return when both actors have done what they do after the batch of everything told so far."""
        for ref in (self.writer, self.writer, self.journal, self.journal):
            ref.ask(m.DeleteBucket("nobucket"))

    def fail_next(self, operation, error):
        """Make the next such call of the disk fail; nothing that happens by the clock is left to take it."""
        self.settle()
        self.journal.ask(m.Checkpoint())
        self.disk.fail_next(operation, error)

    def ask_together(self, ref, messages):
        """Ask all of them in one batch; the answers, in order, an exception as a value."""
        replies = [ref.ask(message, block=False) for message in messages]
        answers = []
        for reply in replies:
            try:
                answers.append(reply.get(timeout=10))
            except Exception as error:
                answers.append(error)
        return answers


class _FaultyFile(apsw.VFSFile):
    def __init__(self, faulty, name, flags):
        super().__init__("cksmvfs", name, flags)
        self._faulty = faulty
        filename = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._is_log = filename is not None and filename.endswith("-wal")

    def xWrite(self, data, offset):
        self._faulty.may_write(self._is_log)
        return super().xWrite(data, offset)


class FaultyVfs(apsw.VFS):
    """SQLite's files on a disk that refuses some writes: connections opened while it is active go through it.

    `refuse(error, log=True)` makes the next write to SQLite's own log (or to the database file) raise that apsw error, `times` times.
    """

    def __init__(self):
        self._plans = {True: (None, 0), False: (None, 0)}
        self.refused = 0
        super().__init__("faulty", "cksmvfs", makedefault=True)

    def refuse(self, error, *, log=True, times=1):
        self._plans[log] = (error, times)

    def may_write(self, log):
        error, times = self._plans[log]
        if times:
            self._plans[log] = (error, times - 1)
            self.refused += 1
            raise error("a write that was made to fail")

    def xOpen(self, name, flags):
        return _FaultyFile(self, name, flags)
