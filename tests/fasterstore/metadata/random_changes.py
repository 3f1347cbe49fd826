"""Random changes of two peers against a lab: new and old states, claims, parts, tombstones, registers, with stamps near and far ahead."""

import hashlib

from fasterstore.errors import StoreError
from fasterstore.metadata.upload_schema import pack_map
from fasterstore.model import PutIntent, Replica, Slice, UploadIntent
from fasterstore.replication.hidden_upload import SYSTEM_NAME, hidden_token
from fasterstore.replication.merge import Create, Deletion, Home, Registers, Setting, join_registers
from fasterstore.replication.received import ReceivedBucket, ReceivedObject, ReceivedRemoval

PEERS = (b"P" * 16, b"Q" * 16)
PEER_LOG = b"p" * 16
AHEAD_MS = 3_600_000


class RandomChanges:
    """Each method draws a change now and returns what carries it out later, inside a batch of the lab. `places` are (bucket, key)."""

    def __init__(self, lab, places):
        self.lab = lab
        self.places = places
        self.hidden = []  # (bucket, key, number, manifest) of every upload there ever was for a peer's object

    def kinds(self):
        """(weight, method) of each."""
        return (
            (12, self.put), (8, self.apply_object), (8, self.remove), (6, self.join_bucket), (5, self.upload), (10, self.part),
            (6, self.claim_part), (6, self.adopt), (3, self.home), (2, self.peers), (4, self.expire),
        )  # fmt: skip

    def put(self, rng):
        (bucket, key), body, replica = rng.choice(self.places), self._body(rng), self._replica(rng)
        return lambda: self.lab.put(key, body, self.lab.find(body), bucket=bucket, replica=replica._replace(origin_blob=self._number(body)))

    def apply_object(self, rng):
        """A state whose bytes may be known or not, or that has none, or whose parts are as they were."""
        (bucket, key), body, replica = rng.choice(self.places), self._body(rng), self._replica(rng)
        kept = rng.random() < 0.4

        def apply():
            row = self._object(bucket, key)
            change = ReceivedObject(
                bucket, key, len(body), hashlib.md5(body).hexdigest(), replica.modified_ms, {}, {}, {}, {"t": "r"}, "", replica.stamp,
                replica.origin, self._number(body), len(body), 0,
            )  # fmt: skip
            if kept and row is not None and row.manifest:
                token = self.lab.index.uploads.manifest(row.manifest).token
                number = int(token.rpartition(":")[2]) if token.startswith("replica:") else 1
                change = change._replace(size_bytes=row.size_bytes, etag=row.etag, blob=0, manifest=number)
            return self._apply(objects=[change])

        return apply

    def remove(self, rng):
        (bucket, key), replica = rng.choice(self.places), self._replica(rng)
        change = ReceivedRemoval(bucket, key, replica.stamp, replica.origin, replica.modified_ms)
        return lambda: self._apply(removals=[change])

    def join_bucket(self, rng):
        bucket = rng.choice(sorted({place[0] for place in self.places}))
        parts = []
        for _ in range(rng.randrange(1, 4)):
            stamp, origin, *_ = self._replica(rng)
            parts.append(
                rng.choice(
                    (
                        Registers((Create(stamp, origin, stamp >> 16),)), Registers((Create(stamp, origin, stamp >> 16),)),
                        Registers(deleted=Deletion(stamp, origin)), Registers(home=Home(stamp, origin, rng.choice(PEERS))),
                        Registers(settings=(Setting("cors", rng.choice((None, b"<peer/>")), stamp, origin),)),
                    )
                )
            )  # fmt: skip
        registers = Registers()
        for part in parts:
            registers = join_registers(registers, part)
        return lambda: self._apply(buckets=[ReceivedBucket(bucket, registers)])

    # ---- an object of parts

    def upload(self, rng):
        (bucket, key), manifest = rng.choice(self.places), rng.randrange(1, 9)

        def create():
            token = hidden_token(PEER_LOG, manifest)
            intent = UploadIntent(bucket, key, token, {SYSTEM_NAME: token}, {}, {}, "", "", "")
            number = self.lab.ask.create_upload(intent, self.lab.now_ms)
            self.hidden.append((bucket, key, number, manifest))
            return number

        return create

    def part(self, rng):
        body, part, which, replica = self._body(rng), rng.randrange(1, 4), rng.random(), self._replica(rng)

        def put():
            bucket, key, number, _ = self._hidden(which)
            named = replica._replace(origin_blob=self._number(body))
            return self.lab.put(key, body, self.lab.find(body), bucket=bucket, upload=number, part=part, replica=named)

        return put

    def claim_part(self, rng):
        bodies, part, which = (self._body(rng), self._body(rng)), rng.randrange(1, 4), rng.random()

        def claim():
            bucket, key, number, _ = self._hidden(which)
            slices = [Slice(self._number(body), 0, len(body)) for body in bodies if body]
            size_bytes = sum(piece.length for piece in slices)
            intent = PutIntent(bucket, key, size_bytes, "e" * 32, {}, {}, {}, upload=number, part=part)
            return self.lab.ask.replication.claim_part(intent, PEER_LOG, slices, self.lab.now_ms)

        return claim

    def adopt(self, rng):
        which, replica, stale, drops = rng.random(), self._replica(rng), rng.random() < 0.1, rng.choice((0, 0, 1))

        def adopt():
            bucket, key, number, manifest = self._hidden(which)
            row = self.lab.index.bucket(bucket)
            upload = None if row is None else self.lab.index.uploads.upload(row.bucket_id, key, number)
            numbers = [part for part, _ in self.lab.index.uploads.part_sizes(number, 0, 100)]
            listed = [(part, self.lab.index.uploads.part(number, part).size_bytes) for part in numbers[drops:] or numbers]
            named = replica._replace(origin_blob=0, origin_manifest=manifest)
            intent = PutIntent(bucket, key, sum(size for _, size in listed), "f" * 32 + "-2", {}, {}, {}, upload=number, replica=named)
            version = upload.version - stale if upload else 0
            return self.lab.ask.replication.adopt(intent, version, pack_map(listed), self.lab.now_ms)

        return adopt

    # ---- the node's own

    def home(self, rng):
        (bucket, _), node_id = rng.choice(self.places), rng.choice((*PEERS, b"N" * 16))
        return lambda: self.lab.ask.replication.set_home(bucket, node_id, self.lab.now_ms)

    def peers(self, rng):
        peers = rng.choice(([], ["http://p"], ["http://p", "http://q"]))
        return lambda: self.lab.ask.replication.set_peers(peers, self.lab.now_ms)

    def expire(self, rng):
        age_ms = rng.choice((5, 50))
        return lambda: self.lab.ask.replication.expire_tombstones(self.lab.now_ms - age_ms, self.lab.now_ms)

    # ---- what they are about

    def _apply(self, buckets=(), objects=(), removals=()):
        """Apply one change; its refusal as a StoreError, as other requests give theirs."""
        outcomes = self.lab.ask.replication.apply(PEER_LOG, buckets, objects, removals, self.lab.now_ms)
        (name,) = (*outcomes.buckets, *outcomes.objects, *outcomes.removals)
        if name:
            raise StoreError(name)
        return outcomes

    def _replica(self, rng):
        """A pair near the lab's time: mostly newer than what is there, sometimes older, sometimes far ahead."""
        ahead_ms = rng.choice((0, 0, 0, 0, 0, -20, -5, 3, AHEAD_MS))
        stamp = ((self.lab.now_ms + ahead_ms) << 16) + rng.randrange(4)
        return Replica(stamp, rng.choice(PEERS), self.lab.now_ms + ahead_ms, PEER_LOG, 0)

    def _body(self, rng):
        return b"x%d" % rng.randrange(8) * rng.choice((0, 1, 1, 1, 200))

    def _number(self, body):
        """The number of that body in the peer's log."""
        return len(body) * 8 + int(body[1:2]) if body else 0

    def _object(self, bucket, key):
        row = self.lab.index.bucket(bucket)
        return None if row is None else self.lab.index.object(row.bucket_id, key)

    def _hidden(self, which):
        last = self.hidden[-3:]
        return last[int(which * len(last))] if last else ("b", b"none", 1, 1)
