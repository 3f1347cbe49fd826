"""What can go wrong in the store, without HTTP. `fasterstore.s3.errors` maps each name to S3's code, status and message.

An actor answers an expected outcome as a value that carries one of these names; raising one is for plain functions.
`InvariantError` stays outside the tree: it is a defect and must not be swallowed.
"""


class StoreError(Exception):
    """Base of every expected refusal. `detail` is for the operator or the client and holds nothing secret."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail)
        self.detail = detail

    @property
    def name(self) -> str:
        """The name by which the error table and the actors' replies know this outcome."""
        return type(self).__name__


class NoSuchBucket(StoreError):
    """The bucket does not exist."""


class NoSuchKey(StoreError):
    """The bucket exists, the key does not."""


class BucketAlreadyOwnedByYou(StoreError):
    """Create of a bucket that the same owner has."""


class BucketNotEmpty(StoreError):
    """Delete of a bucket that holds objects."""


class PreconditionFailed(StoreError):
    """An If-Match or If-None-Match condition of a write does not hold."""


class NoSuchUpload(StoreError):
    """There is no such open upload."""


class UploadChanged(StoreError):
    """A part came or went between the look at an upload and its completion: look again."""


class SourceChanged(StoreError):
    """The source of a copy is not the version that was looked at: look again."""


class WrongOffset(StoreError):
    """An append does not begin where the object ends."""


class TooManyParts(StoreError):
    """An object may have 10,000 parts."""


class StorageFull(StoreError):
    """Free space is below the reserve, or the file system refused to allocate."""


class ReadOnly(StoreError):
    """The volume is suspect or the log is damaged: writes are refused until an operator acts."""


class StaleEpoch(StoreError):
    """A grant or commit of an earlier life of the storage process."""


class OutcomeUnknown(StoreError):
    """The ask was sent and no answer came: it may or may not have happened; never resent."""


class Unavailable(StoreError):
    """No connection to the storage process; nothing was sent."""


class Overloaded(StoreError):
    """Past the credit in bytes or the depth of requests."""


class StorageFailure(StoreError):
    """The storage engine rolled this request back for an error of its own; nothing was written."""


class DamagedRecord(StoreError):
    """Stored bytes fail their checksum, or the record is not the one its row names."""


class DamagedRow(StoreError):
    """An index row fails its checksum."""


class DamagedLog(StoreError):
    """Acknowledged journal bytes are unreadable; `detail` names file and offset."""


class UnsupportedFormat(StoreError):
    """The data dir or a file in it is of a newer format, or not ours."""


class VolumeSuspect(StoreError):
    """A write or sync failed: what is on stable storage is unknown, so nothing may be acknowledged any more."""


class Superseded(StoreError):
    """A peer's change that a later one has replaced here already: there is nothing to do."""


class BytesMissing(StoreError):
    """The bytes that a peer's change names are not here: they have to be pulled."""


class ImpossibleChange(StoreError):
    """A change that no node can have made: a stamp out of range, an id that is none."""


class NotHome(StoreError):
    """A conditional write at another node than the bucket's home; `detail` is the home's node id in hex, "" while it has none."""


class ReplicationTimeout(StoreError):
    """The change is on stable storage here, and no peer has confirmed it in time: whether it survives this node is unknown."""


class NoSuchPeer(StoreError):
    """An order about a peer that is not in FS_REPLICATION_PEERS."""


class InvariantError(Exception):
    """A promise of the code itself is broken: a defect, never a reply."""
