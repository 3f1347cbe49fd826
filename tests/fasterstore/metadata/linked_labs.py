"""Labs that replicate: what one holds, as its index shows it, carried to another's journal as a receiver would.

No socket, no cursor: a test decides what is carried, how often and in which order.
"""

from fasterstore.errors import StoreError
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.upload_schema import pack_map, unpack_map
from fasterstore.model import PutIntent, Replica, Slice, UploadIntent
from fasterstore.replication.hidden_upload import SYSTEM_NAME, hidden_token
from fasterstore.replication.received import ReceivedBucket, ReceivedObject, ReceivedRemoval


def states_of(lab):
    """Everything that the lab would ship: registers of buckets, then states of keys in order."""
    view = IndexView(lab.path)
    try:
        found, page = [*view.replication.registers_after("", 1000)], view.replication.states_after("", None, 7)
        while page:
            found += page
            page = view.replication.states_after(page[-1].bucket, page[-1].key, 7)
        return found
    finally:
        view.close()


def state_now(lab, state):
    """What has become of a state since it was listed: a sender reads it anew before it ships it."""
    view = IndexView(lab.path)
    try:
        return view.replication.key_state(state.bucket, state.key) if hasattr(state, "key") else view.replication.registers(state.name)
    finally:
        view.close()


def carry(source, target, state):
    """Apply one state of `source` to `target`, each step in a batch of its own; return whether it changed anything there."""
    log_uuid = source.who.log_uuid
    if not hasattr(state, "key"):
        return _apply(target, log_uuid, buckets=[ReceivedBucket(state.name, state.registers)]) == ""
    if state.tombstone is not None:
        dead = state.tombstone
        return _apply(target, log_uuid, removals=[ReceivedRemoval(dead.bucket, dead.key, dead.stamp, dead.origin, dead.deleted_ms)]) == ""
    row = state.object
    if row is None:
        return False
    blob = source.index.blob(row.blob) if row.blob else None
    change = ReceivedObject(
        state.bucket, state.key, row.size_bytes, row.etag, row.modified_ms, row.system, row.user, row.checksums, row.tags, row.acl,
        row.stamp, row.origin, row.blob, blob.location.plaintext_bytes if blob else 0, row.manifest,
    )  # fmt: skip
    outcome = _apply(target, log_uuid, objects=[change])
    if outcome != "BytesMissing":
        assert outcome in {"", "Superseded"}, outcome
        return outcome == ""
    replica = Replica(row.stamp, row.origin, row.modified_ms, log_uuid, row.blob, row.manifest)
    intent = PutIntent(
        state.bucket, state.key, row.size_bytes, row.etag, row.system, row.user, row.checksums, tags=row.tags, acl=row.acl, replica=replica
    )  # fmt: skip
    if blob is not None:
        answer = _put(target, intent, source.bodies[blob.blob_id])
    else:
        answer = _carry_parts(source, target, intent)
    assert not isinstance(answer, StoreError), answer
    return True


def _carry_parts(source, target, intent):
    """Put a manifest together in a hidden upload, with claims where the bytes are known, then adopt it."""
    replica = intent.replica
    token = hidden_token(replica.origin_log, replica.origin_manifest)
    begin = UploadIntent(intent.bucket, intent.key, token, {SYSTEM_NAME: token}, {}, {}, "", "", "")
    number = target.now(lambda: target.ask.create_upload(begin, target.now_ms))
    sizes = []
    for part in [item.part for item in unpack_map(source.index.uploads.map(replica.origin_manifest))]:
        row = source.index.uploads.part(replica.origin_manifest, part)
        named = intent._replace(upload=number, part=part, size_bytes=row.size_bytes, etag=row.etag, checksums=row.checksums)
        (answer,) = target.batch(lambda: target.ask.replication.claim_part(named, replica.origin_log, row.slices, target.now_ms))  # noqa: B023
        if isinstance(answer, StoreError):
            blobs = [source.bodies[source.index.blob(piece.blob).blob_id] for piece in row.slices]
            body = b"".join(blob[first : first + length] for blob, (_, first, length) in zip(blobs, row.slices, strict=True))
            pulled = _put(target, named._replace(replica=replica._replace(origin_blob=_whole_blob(source, row.slices))), body)
            assert not isinstance(pulled, StoreError), pulled
        sizes.append((part, row.size_bytes))
    version = target.index.uploads.upload(target.bucket_id(intent.bucket), intent.key, number).version
    (answer,) = target.batch(
        lambda: target.ask.replication.adopt(intent._replace(upload=number), version, pack_map(sizes), target.now_ms)
    )
    return answer


def _whole_blob(source, slices):
    """The number of the blob whose bytes a part is, 0 if it is made of pieces."""
    if len(slices) == 1 and slices[0] == Slice(slices[0].blob, 0, source.index.blob(slices[0].blob).location.plaintext_bytes):
        return slices[0].blob
    return 0


def _put(target, intent, body):
    (answer,) = target.batch(lambda: target.ask.put(intent, target.claim(body, target.find(body)), target.now_ms))
    return answer


def _apply(target, log_uuid, buckets=(), objects=(), removals=()):
    (outcomes,) = target.batch(lambda: target.ask.replication.apply(log_uuid, buckets, objects, removals, target.now_ms))
    (outcome,) = (*outcomes.buckets, *outcomes.objects, *outcomes.removals)
    return outcome


def settle(labs):
    """Carry everything between all pairs until nothing changes any more; how many rounds it took."""
    for rounds in range(1, 9):
        pairs = [(source, target) for source in labs for target in labs if source is not target]
        if not any([carry(source, target, state) for source, target in pairs for state in states_of(source)]):
            return rounds
    raise AssertionError("the labs never agree")


def agreed(lab):
    """What all nodes must agree on: each key's state with its bytes, tombstones, registers, and which buckets there are."""
    keys, registers, dead = {}, {}, {}
    for state in states_of(lab):
        if not hasattr(state, "key"):
            registers[state.name] = (state.registers, state.gone_ms == 0)
        elif state.object is not None:
            row = state.object._replace(blob=0, manifest=0)
            keys[state.bucket, state.key] = (row, lab.read(state.key, state.bucket))
        else:
            dead[state.bucket, state.key] = (state.tombstone.stamp, state.tombstone.origin)
    view = IndexView(lab.path)
    try:
        return keys, dead, registers, [(row.name, row.created_ms, row.settings) for row in view.buckets("", "", 99)]
    finally:
        view.close()
