"""Two stores in one process that are each other's peers over real HTTP on loopback, and the states of one as a sender tells them."""

import socket
from typing import Any

from fasterstore.model import Slice
from fasterstore.replication.change import (
    BATCH_VERSION,
    EMPTY,
    Batch,
    BlobContent,
    Change,
    ManifestContent,
    ObjectState,
    PartContent,
    Piece,
    encode_batch,
)
from fasterstore.sealed_body import plaintext_bytes_of
from web.peer_client import PeerClient
from web.peers import make_client
from web.server import HttpLimits, HttpServer

TOKEN = "a-token-of-our-own"


class Node:
    """A store, its HTTP server, and a client that calls it as its peer does."""

    def __init__(self, new_store: Any, listener: socket.socket, peer: str, **settings: str) -> None:
        self.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
        self.store = new_store(
            FS_INTERNAL_TOKEN=TOKEN, FS_ADVERTISE_ADDR=self.address, FS_REPLICATION_PEERS=peer, FS_REQUEST_TIMEOUT_SECS="5", **settings
        )
        self.worker = self.store.worker
        self.server = HttpServer(listener, self.store.app, HttpLimits(progress_timeout_secs=5))
        self.server.start()
        # Nobody is catching up unless the test says so: what is not here is then not looked for elsewhere.
        self.worker.scan_heard_ms[0] = 0

    def close(self) -> None:
        self.server.drain(1)
        self.worker.peers.close()

    def piece(self, held: Slice, sealed: bool = False) -> Piece:
        """A slice of a blob as this node tells of it."""
        blob = self.worker.index.uploads.blob(held.blob).blob
        length = plaintext_bytes_of(blob.location.plaintext_bytes) if sealed else held.length
        return Piece(blob.blob_id, held.blob, held.first, length, blob.location.plaintext_bytes)

    def state(self, bucket: str, key: bytes, inline: bool = True) -> ObjectState:
        """The object as this node's index has it."""
        index = self.worker.index
        found = index.locate(bucket, key)
        row = found.object
        sealed = "fs-customer-key-check" in row.system
        content: Any = EMPTY
        if row.manifest:
            parts = []
            for item in index.uploads.part_map(row.manifest).items:
                part = index.uploads.part(row.manifest, item.part)
                pieces = tuple(self.piece(held, sealed) for held in part.slices)
                parts.append(PartContent(part.number, part.size_bytes, part.etag, part.checksums, pieces))
            content = ManifestContent(row.manifest, row.etag, tuple(parts))
        elif row.blob:
            piece = self.piece(Slice(row.blob, 0, row.size_bytes), sealed)
            body = None
            if inline and piece.record_bytes <= 65536:
                answer = self.store.send("GET", f"/_internal/blob/{piece.blob_id.hex()}", headers={"x-fs-internal-token": TOKEN}, sign="")
                assert answer.status == 200
                body = answer.body
            content = BlobContent(piece, body)
        return ObjectState(
            bucket, key, row.stamp, row.origin, row.size_bytes, row.etag, row.modified_ms, row.system, row.user, row.checksums, row.tags,
            row.acl, content,
        )  # fmt: skip

    def batch(self, *changes: Change) -> bytes:
        """A batch of this node's changes, encoded."""
        index = self.worker.index
        return encode_batch(Batch(BATCH_VERSION, self.worker.node_id, index.log_uuid(), 1, 1, changes))


class Pair:
    """Two nodes; `to_b` calls b as a does."""

    def __init__(self, new_store: Any, **settings: str) -> None:
        listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
        addresses = [f"http://127.0.0.1:{listener.getsockname()[1]}" for listener in listeners]
        self.a = Node(new_store, listeners[0], addresses[1], **settings)
        self.b = Node(new_store, listeners[1], addresses[0], **settings)
        self.to_b: PeerClient = make_client(self.a.store.settings, addresses[1])

    def close(self) -> None:
        self.to_b.close()
        self.a.close()
        self.b.close()

    def ship(self, *changes: Change) -> list[str]:
        """Send changes of a to b; "applied", "superseded" or the refusal's name for each."""
        body = self.a.batch(*changes)
        outcomes = self.to_b.send_objects(body, len(changes)).outcomes
        return [outcome.name or outcome.kind.name.lower() for outcome in outcomes]
