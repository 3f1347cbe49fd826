"""A request of a run, and by what name its entry is known in the log."""

from dataclasses import dataclass
from typing import Any

from actors import messages as m
from actors.runtime import ActorDeadError
from fasterstore.metadata.entries import (
    BucketConfigured,
    BucketCreated,
    BucketDeleted,
    ObjectAmended,
    ObjectAppended,
    ObjectDeleted,
    ObjectPut,
    ObjectRenamed,
    PartPut,
    UploadAborted,
    UploadCompleted,
    UploadCreated,
)
from tests.faults.engine import Outcome


@dataclass(eq=False, slots=True)
class Request:
    """One request of a run; `sent_at` is the disk's op count when it was sent.

    `kind` is put (a copy too), append, delete, rename, tag, begin, part, complete, abort; make, drop, configure of a bucket. `what` tells
    it from others of its kind, `body` is the bytes that it brings, `listed` the parts that a completion names.
    """

    kind: str
    bucket: str
    sent_at: int
    epoch: int
    outcome: Outcome
    key: bytes = b""
    tag: str = ""
    what: tuple = ()
    body: bytes = b""
    listed: tuple[int, ...] = ()

    def reply(self) -> Any:
        """The reply, or None if the actors ended before it. Waits."""
        try:
            return self.outcome.get()
        except ActorDeadError:
            return None

    def lsn(self) -> int:
        """The LSN that the reply promised, 0 if it said none."""
        reply = self.reply()
        if isinstance(reply, m.Stored | m.Deleted):
            return reply.lsn
        return reply.number if isinstance(reply, m.UploadMade) else 0

    def succeeded(self) -> bool:
        """Whether the reply said that something was changed."""
        return self.lsn() > 0 or isinstance(self.reply(), m.BucketMade | m.Done)

    def name(self) -> tuple:
        """What `name_of` its entry returns; requests of one name are exchangeable."""
        if self.kind == "make":
            reply = self.reply()
            return ("make", self.bucket, reply.created_ms if reply else None)
        return (self.kind, self.bucket, self.key, self.tag, self.what, self.epoch)


def name_of(entry: Any, epoch: int) -> tuple | None:
    """The name of the request that an entry comes from; None for what nobody asks for."""
    match entry:
        case BucketCreated():
            return ("make", entry.bucket, entry.created_ms)
        case BucketDeleted():
            found = ("drop", entry.bucket, b"", "", ())
        case BucketConfigured():
            found = ("configure", entry.bucket, b"", "", (entry.name, entry.document))
        case ObjectPut():
            found = ("put", entry.bucket, entry.key, entry.user["tag"], ())
        case ObjectAppended():
            found = ("append", entry.bucket, entry.key, "", (entry.part_etag,))
        case ObjectDeleted():
            found = ("delete", entry.bucket, entry.key, "", ())
        case ObjectRenamed():
            found = ("rename", entry.bucket, entry.key, "", (entry.new_key,))
        case ObjectAmended():
            found = ("tag", entry.bucket, entry.key, entry.tags["t"], ())
        case UploadCreated():
            found = ("begin", entry.bucket, entry.key, entry.token, ())
        case PartPut():
            found = ("part", entry.bucket, entry.key, "", (entry.upload, entry.part, entry.etag))
        case UploadCompleted():
            found = ("complete", entry.bucket, entry.key, "", (entry.upload,))
        case UploadAborted():
            found = ("abort", "", entry.key, "", (entry.upload,))
        case _:
            return None
    return (*found, epoch)
