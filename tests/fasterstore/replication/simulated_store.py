"""A node's store as the contract of replication has it, as plain dicts: what the real journal is compared with, and where bugs are planted.

What is logged is on stable storage at once; `restored` makes an older one, under a new log uuid, as a restore from a snapshot does.
"""

import copy
import hashlib

from fasterstore.clock import COUNTER_BITS, advance, leap
from fasterstore.errors import StoreError
from fasterstore.replication import merge
from fasterstore.replication.change import APPLIED, EMPTY, SUPERSEDED, BlobContent, BucketState, ObjectState, Piece, Tombstone, refused
from fasterstore.replication.cursor import Address, Position
from fasterstore.replication.merge import Create, Deletion, Home, Registers, Setting
from fasterstore.replication.shipment import ShipmentBuilder
from fasterstore.replication.work import LogRange, OwedKeys
from fasterstore.storage.wal_tail import LogGone

INLINE_MAX_BYTES = 65_536
PAGE_ADDRESSES = 7
SKEW_MS = 300_000


class Refused(StoreError):
    """The request changes nothing."""


class ModelStore:
    """See the module. Times are Unix milliseconds by this node's own clock."""

    keeps_tombstones = True
    keeps_high_water_mark = True

    def __init__(self, node_id, log_uuid, _folder, _rng):
        self.node_id, self.log_uuid = node_id, log_uuid
        self.log, self.log_start = [], 1  # the addresses of each entry
        self.last_stamp = self.horizon_ms = 0
        self.objects, self.tombstones, self.registers = {}, {}, {}
        self.noted_ms = {}  # when each tombstone was written here
        self.blobs, self.peer_blobs = {}, {}

    @property
    def head_lsn(self):
        return len(self.log)

    @property
    def head_stamp(self):
        return self.last_stamp

    def pin(self):
        """What a snapshot keeps."""
        return copy.deepcopy(self)

    def restored(self, log_uuid, now_ms):
        """This pinned state under a new log, whose entries go on behind the pinned ones.

        Its stamps begin above all that the old log may have given: the same pair for two changes would leave nodes apart for ever.
        """
        store = copy.deepcopy(self)
        store.log_uuid = log_uuid
        store.last_stamp = leap(store.last_stamp, now_ms)
        store.log_start = store.head_lsn + 1
        return store

    def restarted(self):
        """The store as the next process finds it."""
        return self

    def close(self):
        pass

    # ---- what clients ask

    def run(self, op, now_ms):
        """Carry out a request; the addresses that it changed. Raises Refused."""
        return getattr(self, f"_{op.kind}")(op, now_ms)

    def _put(self, op, now_ms):
        made = not self.exists(op.bucket)
        if made:
            if not op.other[0]:
                raise Refused
            self._join_bucket(op.bucket, Registers((Create(self._bucket_stamp(op.bucket, now_ms), self.node_id, now_ms),)), now_ms)
        self._write(op.bucket, op.key, op.body, now_ms)
        return [Address(op.bucket, None)] * made + [Address(op.bucket, op.key)]

    def _append(self, op, now_ms):
        held = self._held(op.bucket, op.key)
        body = self._bytes(held) + op.body
        self._write(op.bucket, op.key, body, now_ms)
        return [Address(op.bucket, op.key)]

    def _multipart(self, op, now_ms):
        self._require(op.bucket)
        self._write(op.bucket, op.key, op.body + b"|" + op.body, now_ms)
        return [Address(op.bucket, op.key)]

    def _copy(self, op, now_ms):
        held = self._held(*op.other)
        self._require(op.bucket)
        state = held._replace(bucket=op.bucket, key=op.key, stamp=self._stamp(op.bucket, op.key, now_ms), origin=self.node_id)
        self._set(state)
        return [Address(op.bucket, op.key)]

    def _rename(self, op, now_ms):
        held, (new_key,) = self._held(op.bucket, op.key), op.other
        if new_key == op.key:
            raise Refused
        stamp = max(self._stamp(op.bucket, op.key, now_ms), self._stamp(op.bucket, new_key, now_ms))
        self._remove(Tombstone(op.bucket, op.key, stamp, self.node_id, now_ms))
        self._set(held._replace(key=new_key, stamp=stamp, origin=self.node_id), log=False)
        self.log[-1].append(Address(op.bucket, new_key))
        return self.log[-1]

    def _amend(self, op, now_ms):
        held, (tags, acl) = self._held(op.bucket, op.key), op.other
        more = {name: value for name, value in (("tags", tags), ("acl", acl)) if value is not None}
        self._set(held._replace(stamp=self._stamp(op.bucket, op.key, now_ms), origin=self.node_id, **more))
        return [Address(op.bucket, op.key)]

    def _delete(self, op, now_ms):
        self._held(op.bucket, op.key)
        self._remove(Tombstone(op.bucket, op.key, self._stamp(op.bucket, op.key, now_ms), self.node_id, now_ms))
        return [Address(op.bucket, op.key)]

    def _create_bucket(self, op, now_ms):
        if self.exists(op.bucket):
            raise Refused
        self._join_bucket(op.bucket, Registers((Create(self._bucket_stamp(op.bucket, now_ms), self.node_id, now_ms),)), now_ms)
        return [Address(op.bucket, None)]

    def _delete_bucket(self, op, now_ms):
        self._require(op.bucket)
        if self._has_objects(op.bucket):
            raise Refused
        self._join_bucket(op.bucket, Registers(deleted=Deletion(self._bucket_stamp(op.bucket, now_ms), self.node_id)), now_ms)
        return [Address(op.bucket, None)]

    def _configure(self, op, now_ms):
        self._require(op.bucket)
        setting = Setting(op.other[0], op.document, self._bucket_stamp(op.bucket, now_ms), self.node_id)
        self._join_bucket(op.bucket, Registers(settings=(setting,)), now_ms)
        return [Address(op.bucket, None)]

    def _set_home(self, op, now_ms):
        self._require(op.bucket)
        home = Home(self._bucket_stamp(op.bucket, now_ms), self.node_id, op.other[0])
        self._join_bucket(op.bucket, Registers(home=home), now_ms)
        return [Address(op.bucket, None)]

    # ---- what peers ask

    def beaten(self, change):
        """Whether what is here is as late as the change, or later."""
        if isinstance(change, BucketState):
            mine = self.registers.get(change.name, Registers())
            return merge.join_registers(mine, change.registers) == mine
        held = self._pair(change.bucket, change.key)
        return not merge.wins(change.stamp, change.origin, *held)

    def missing(self, change, origin_log):
        """The pieces of the change whose bytes are not here."""
        content = change.content if isinstance(change, ObjectState) else EMPTY
        if not isinstance(content, BlobContent) or content.inline is not None or self._local_blob(origin_log, content.piece.number):
            return []
        return [content.piece]

    def apply(self, origin_log, changes, pulled, now_ms):
        """Join a batch, buckets first; an outcome for each change. `pulled` maps the sender's blob numbers to bytes."""
        outcomes = {}
        for place, change in sorted(enumerate(changes), key=lambda item: not isinstance(item[1], BucketState)):
            outcomes[place] = self._apply(origin_log, change, pulled, now_ms)
        return [outcomes[place] for place in range(len(changes))]

    def _apply(self, origin_log, change, pulled, now_ms):
        if isinstance(change, BucketState):
            return APPLIED if self._join_bucket(change.name, change.registers, now_ms) else SUPERSEDED
        if self.beaten(change):
            return SUPERSEDED
        if isinstance(change, Tombstone):
            self._remove(change, now_ms)
            return APPLIED
        content = EMPTY
        if isinstance(change.content, BlobContent):
            piece = change.content.piece
            body = change.content.inline if change.content.inline is not None else pulled.get(piece.number)
            number = self._local_blob(origin_log, piece.number) or (0 if body is None else self._new_blob(body))
            if not number:
                return refused("BytesMissing")
            self.peer_blobs[origin_log, piece.number] = number
            content = self._content(number)
        if not self.registers.get(change.bucket, Registers()).creates:
            self._revive(change.bucket, Registers(), now_ms)
        self._set(change._replace(content=content), now_ms)
        return APPLIED

    def body(self, log_uuid, number):
        """The bytes that the log knows under that number, None if they are not here."""
        return self.blobs.get(number if log_uuid == self.log_uuid else self.peer_blobs.get((log_uuid, number), 0))

    # ---- what the replicator reads

    def ship(self, work, peer_node):
        """What a piece of work holds, as much of it as fits. Raises LogGone."""
        builder = ShipmentBuilder()
        if isinstance(work, LogRange):
            if work.first_lsn < self.log_start:
                raise LogGone
            reached = work.first_lsn - 1
            for lsn in range(work.first_lsn, work.last_lsn + 1):
                states = [self.state(address) for address in self.log[lsn - 1] if not builder.has(address)]
                changes = [state for state in states if state is not None and not _is_own(state, peer_node)]
                if not builder.add(changes):
                    break
                reached = lsn
            return builder.finish(self.node_id, self.log_uuid, work.first_lsn, reached, reached)
        if isinstance(work, OwedKeys):
            states = [self.state(address) for address in work.addresses]
            builder.add([state for state in states if state is not None])
            return builder.finish(self.node_id, self.log_uuid, 0, 0, len(work.addresses))
        found = [address for address in self.addresses() if _position(address) > work.after]
        found = [address for address in found if work.upto is None or _position(address) <= work.upto]
        builder.add([self.state(address) for address in found[:PAGE_ADDRESSES]])
        reached = _position(found[PAGE_ADDRESSES - 1]) if len(found) > PAGE_ADDRESSES else None
        return builder.finish(self.node_id, self.log_uuid, 0, 0, reached)

    def state(self, address):
        """What the key or bucket is now, with the bytes if they are few; None if there is nothing to tell."""
        bucket, key = address
        if key is None:
            return BucketState(bucket, self.registers[bucket]) if bucket in self.registers else None
        held = self.objects.get((bucket, key))
        if held is None:
            return self.tombstones.get((bucket, key))
        if isinstance(held.content, BlobContent):
            body = self._bytes(held)
            inline = body if len(body) <= INLINE_MAX_BYTES else None
            held = held._replace(content=held.content._replace(inline=inline))
        return held

    def addresses(self):
        """Everything there is to tell, in order of (bucket, key), each bucket before its keys."""
        names = [(name, b"") for name in self.registers]
        return [Address(bucket, key or None) for bucket, key in sorted({*names, *self.objects, *self.tombstones})]

    # ---- upkeep

    def retire_log(self, below_lsn):
        self.log_start = max(self.log_start, below_lsn)

    def tidy(self, _now_ms):
        """Let go of what nothing uses: nothing here."""

    def expire_tombstones(self, before_ms, now_ms):
        for place in list(self.tombstones):
            if self.noted_ms[place] <= before_ms:
                self.horizon_ms = max(self.horizon_ms, self.noted_ms[place] + (now_ms - before_ms) // 30)
                del self.tombstones[place]

    # ---- looked at by the checks

    def exists(self, bucket):
        return merge.bucket_exists(self.registers.get(bucket, Registers()), self._has_objects(bucket))

    def read(self, bucket, key):
        """The bytes of an object."""
        return self._bytes(self.objects[bucket, key])

    # ---- within

    def _require(self, bucket):
        if not self.exists(bucket):
            raise Refused

    def _held(self, bucket, key):
        if (bucket, key) not in self.objects:
            raise Refused
        return self.objects[bucket, key]

    def _pair(self, bucket, key):
        held = self.objects.get((bucket, key)) or self.tombstones.get((bucket, key))
        return (0, b"") if held is None else (held.stamp, held.origin)

    def _stamp(self, bucket, key, now_ms):
        above = self._pair(bucket, key)[0] if self.keeps_high_water_mark else 0
        return max(advance(self.last_stamp if self.keeps_high_water_mark else 0, now_ms), above + 1)

    def _bucket_stamp(self, bucket, now_ms):
        above = merge.highest_stamp(self.registers.get(bucket, Registers())) if self.keeps_high_water_mark else 0
        return max(advance(self.last_stamp if self.keeps_high_water_mark else 0, now_ms), above + 1)

    def _seen(self, stamp, now_ms):
        """A stamp was given here, or came from a peer at that time."""
        if now_ms is None or stamp >> COUNTER_BITS <= now_ms + SKEW_MS:
            self.last_stamp = max(self.last_stamp, stamp)

    def _has_objects(self, bucket):
        return any(name == bucket for name, _ in self.objects)

    def _new_blob(self, body):
        number = len(self.blobs) + 1
        self.blobs[number] = body
        return number

    def _local_blob(self, origin_log, number):
        return number if origin_log == self.log_uuid and number in self.blobs else self.peer_blobs.get((origin_log, number), 0)

    def _content(self, number):
        body = self.blobs[number]
        return BlobContent(Piece(hashlib.sha256(body).digest(), number, 0, len(body), len(body)), None)

    def _bytes(self, held):
        return self.blobs[held.content.piece.number] if isinstance(held.content, BlobContent) else b""

    def _write(self, bucket, key, body, now_ms):
        content = self._content(self._new_blob(body)) if body else EMPTY
        stamp, etag = self._stamp(bucket, key, now_ms), hashlib.md5(body).hexdigest()
        self._set(ObjectState(bucket, key, stamp, self.node_id, len(body), etag, now_ms, {}, {}, {}, {}, "", content))

    def _set(self, state, now_ms=None, log=True):
        self._seen(state.stamp, now_ms)
        self.objects[state.bucket, state.key] = state
        self.tombstones.pop((state.bucket, state.key), None)
        if log:
            self.log.append([Address(state.bucket, state.key)])

    def _remove(self, tombstone, now_ms=None):
        self._seen(tombstone.stamp, now_ms)
        self.objects.pop((tombstone.bucket, tombstone.key), None)
        if self.keeps_tombstones:
            self.tombstones[tombstone.bucket, tombstone.key] = tombstone
            self.noted_ms[tombstone.bucket, tombstone.key] = tombstone.deleted_ms if now_ms is None else now_ms
        self.log.append([Address(tombstone.bucket, tombstone.key)])

    def _join_bucket(self, name, registers, now_ms):
        mine = self.registers.get(name, Registers())
        joined = merge.join_registers(mine, registers)
        if joined == mine:
            return False
        self._seen(merge.highest_stamp(registers), now_ms)
        if not joined.creates and self._has_objects(name):
            self._revive(name, registers, now_ms)
        else:
            self.registers[name] = joined
            self.log.append([Address(name, None)])
        return True

    def _revive(self, name, registers, now_ms):
        joined = merge.join_registers(self.registers.get(name, Registers()), registers)
        stamp = max(advance(self.last_stamp, now_ms), merge.highest_stamp(joined) + 1)
        self.registers[name] = merge.revive(joined, stamp, self.node_id, now_ms)
        self._seen(stamp, None)
        self.log.append([Address(name, None)])


def _position(address):
    return Position(address.bucket, address.key or b"")


def _is_own(state, peer_node):
    return not isinstance(state, BucketState) and state.origin == peer_node
