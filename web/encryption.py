"""What S3's server-side encryption headers ask for and are told. The truth is in the records: nothing here encrypts.

On a node with a master key (FS_ENCRYPTION_KEY_BASE64) everything that is written is encrypted, asked for or not, and the answers say so, as
AWS's do. On any other a request for encryption is NotImplemented: it must not look done. Keys of a KMS are NotImplemented everywhere.

GET and HEAD say AES256 only of an object whose bytes are known to be encrypted on disk. The index row of a blob tells (its stored bytes are
more than its plaintext), so for an object of one blob it costs nothing. In a data dir that was encrypted from its first record on it is
true of all. In any other, an object of more than PARTS_MAX parts is not looked through: nothing is said of it.
Source: S3 API pages PutObject, GetObject; S3 user guide, "Using server-side encryption with Amazon S3 managed keys".
"""

from collections.abc import Mapping

from fasterstore.metadata.index import Located
from fasterstore.model import ManifestNumber, ObjectRow
from fasterstore.s3.errors import S3Error
from fasterstore.storage.sealed_record import is_sealed
from web.reply import Headers
from web.worker import Worker

ENCRYPTION = "x-amz-server-side-encryption"
AES256 = "AES256"
PARTS_MAX = 32
_KMS = frozenset(("aws:kms", "aws:kms:dsse"))
_ANSWER: Headers = [(ENCRYPTION, AES256)]


def check_encryption(headers: Mapping[str, str], seals: bool) -> None:
    """Raises S3Error for an encryption that is asked for and would not be done; `seals`: new records are encrypted.

    NotImplemented: AES256 on a node without a master key, a KMS; InvalidArgument: a method that S3 does not know.
    """
    method = headers.get(ENCRYPTION)
    if method is None or (method == AES256 and seals):
        return
    if method == AES256:
        raise S3Error("NotImplemented", "Server-side encryption needs FS_ENCRYPTION_KEY_BASE64 on this node.", Header=ENCRYPTION)
    if method in _KMS:
        raise S3Error("NotImplemented", "There is no key management service here.", Header=ENCRYPTION)
    raise S3Error("InvalidArgument", "The encryption method specified is not supported", ArgumentName=ENCRYPTION, ArgumentValue=method)


def written_encrypted(worker: Worker) -> Headers:
    """What the answer to a write says of the bytes that it brought."""
    return _ANSWER if worker.keyring.seals else []


def stored_encrypted(worker: Worker, found: Located) -> Headers:
    """What an answer says of an object that was found: AES256 if all its bytes are known to be encrypted, else nothing."""
    keyring, row = worker.keyring, found.object
    if not keyring.seals or row is None:
        return []
    if keyring.all_sealed or not row.size_bytes:
        return _ANSWER
    if found.blob is not None:
        return _ANSWER if is_sealed(found.blob.location) else []
    return _ANSWER if row.manifest and _parts_are_sealed(worker, row) else []


def upload_encrypted(worker: Worker) -> Headers:
    """What the answer to CompleteMultipartUpload says: parts may have been copied from what was stored before."""
    return _ANSWER if worker.keyring.all_sealed else []


def _parts_are_sealed(worker: Worker, row: ObjectRow) -> bool:
    uploads = worker.reader().uploads
    part_map = uploads.part_map(row.manifest)
    if part_map is None or len(part_map.items) > PARTS_MAX:
        return False
    numbers = {item.part for item in part_map.items}
    blobs = {piece.blob for number in numbers for piece in _slices(worker, row.manifest, number)}
    if not blobs or len(blobs) > PARTS_MAX:
        return False
    placed = [uploads.blob(blob) for blob in blobs]
    return all(one is not None and is_sealed(one.blob.location) for one in placed)


def _slices(worker: Worker, manifest: ManifestNumber, number: int) -> tuple:
    part = worker.reader().uploads.part(manifest, number)
    return () if part is None else part.slices
