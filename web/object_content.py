"""The bytes of an object, wherever they lie: one blob, or the parts of a manifest. Opens and reads; decides nothing.

A record that is not where its row says may be being moved by compaction: the caller looks the key up again, LOOKUPS times in all, before
it calls that damage (`damaged`).
"""

import logging
from base64 import b64encode
from collections.abc import Sequence

from actors.messages import BlobFoundDamaged
from actors.runtime import offload
from fasterstore.customer_key import CustomerKey
from fasterstore.digests import new_checksum
from fasterstore.errors import DamagedRecord
from fasterstore.metadata.index import Located
from fasterstore.s3.errors import S3Error, from_store
from web.download import open_blob
from web.manifest import open_manifest
from web.streamed_body import StreamedBody
from web.unsealing import open_sealed_blob
from web.worker import Worker

logger = logging.getLogger(__name__)

LOOKUPS = 3
OFFLOAD_MIN_BYTES = 64 * 1024
"""Smaller pieces are hashed here: handing them to a thread takes longer."""

Content = Sequence[bytes | memoryview] | StreamedBody


def open_content(worker: Worker, found: Located, first: int, length: int, key: CustomerKey | None = None) -> Content:
    """The bytes `first` .. `first + length` of the object that was found, as the body of an answer. Not for an object without bytes.

    `key` is the customer's under which it is sealed, if it is.
    Raises: FileNotFoundError, DamagedRecord (look the key up again), S3Error, OSError.
    """
    row = found.object
    assert row is not None
    if row.manifest:
        return open_manifest(worker, row, first, length, key)
    assert found.blob is not None and found.file_uuid is not None
    if key is not None:
        return open_sealed_blob(worker, found.blob, found.file_uuid, key, first, length)
    return open_blob(worker, found.blob, found.file_uuid, first, length)


def damaged(worker: Worker, found: Located, error: Exception) -> S3Error:
    """Report the object's record as damaged after the last look-up failed by `error`; the error for the client."""
    worker.metrics.damaged_reads += 1
    blob = found.blob
    if blob is None:
        logger.error("the object's parts cannot be read: %s", error)
    else:
        logger.error("blob %d in segment %016x at %d: %s", blob.number, blob.location.segment_id, blob.location.offset, error)
        worker.tell("metadata-journal", BlobFoundDamaged.of(blob))
    return from_store("DamagedRecord")


def checksum_of(worker: Worker, found: Located, name: str) -> str:
    """The checksum called `name` (a key of CHECKSUM_ALGORITHMS) of the whole object, in base64, from its verified bytes.

    Raises: as `open_content`; S3Error InternalError for damage that shows up on the way.
    """
    running = new_checksum(name)
    row = found.object
    assert row is not None
    content = open_content(worker, found, 0, row.size_bytes) if row.size_bytes else ()
    try:
        for piece in content:
            if len(piece) < OFFLOAD_MIN_BYTES:
                running.update(piece)
            else:
                offload(running.update, piece)
    except DamagedRecord:
        raise from_store("DamagedRecord") from None
    finally:
        if isinstance(content, StreamedBody):
            content.close()
    return b64encode(running.digest()).decode("ascii")
