"""The file of a form while it arrives: its length is known only at its end, and a record's length must be known before its first byte.

A small one is collected in memory. A larger one goes into a file without a name on the data dir's file system, and from there takes the
way of every upload, so its bytes are written twice: what stands behind the file in a form (a submit button, say) cannot be known
before it is read, and nothing shorter would be right for every form. Nothing of it survives the request or a crash, and what is to be
encrypted, under a customer's key or the node's, is not written in plain even for that time.
"""

import logging
import os
import tempfile
from io import BytesIO

from actors.runtime import offload
from fasterstore.model import SMALL_BODY_MAX_BYTES
from fasterstore.s3.errors import from_store
from fasterstore.scratch_cipher import KEY_BYTES, ScratchCipher
from fasterstore.storage.disk import NO_SPACE, Disk
from web.context import BodyInput
from web.extent import WRITE_BACK_BYTES
from web.worker import Worker

logger = logging.getLogger(__name__)


class _Spool:
    """An unnamed file, open while anybody holds this object: a native thread may be writing when its request has gone."""

    __slots__ = ("_cipher", "_disk", "_written_back", "fd")

    def __init__(self, disk: Disk, folder: str, is_secret: bool) -> None:
        """Raises: OSError."""
        with tempfile.TemporaryFile(dir=folder) as unnamed:
            self.fd = os.dup(unnamed.fileno())
        self._disk = disk
        self._cipher = ScratchCipher(os.urandom(KEY_BYTES)) if is_secret else None
        self._written_back = 0

    def __del__(self) -> None:
        if hasattr(self, "_disk"):
            self._disk.close(self.fd)

    def write(self, data: bytes | bytearray, offset: int) -> None:
        """In order. Raises: OSError."""
        self._disk.pwrite(self.fd, data if self._cipher is None else self._cipher.encrypt(data), offset)
        # Its pages must not pile up: a sync of somebody's small record would wait behind them.
        end = offset + len(data)
        if end - self._written_back >= WRITE_BACK_BYTES:
            self._disk.start_writeback(self.fd, self._written_back, end - self._written_back)
            self._written_back = end

    def read(self, size: int, offset: int) -> bytes:
        """In order. Raises: OSError."""
        data = self._disk.pread(self.fd, size, offset)
        return data if self._cipher is None else self._cipher.decrypt(data)


class _SpoolInput:
    """The unnamed file from its beginning, as `wsgi.input` is read."""

    __slots__ = ("_at", "_left", "_spool")

    def __init__(self, spool: _Spool, size_bytes: int) -> None:
        self._spool = spool
        self._at = 0
        self._left = size_bytes

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes, b"" at the end."""
        count = self._left if size < 0 else min(size, self._left)
        data: bytes = offload(self._spool.read, count, self._at) if count else b""
        self._at += len(data)
        self._left -= len(data)
        return data


class FormFile:
    """Takes the bytes of one file, then gives them back."""

    __slots__ = ("_disk", "_folder", "_is_secret", "_memory", "_memory_max", "_need_free_bytes", "_spool", "size_bytes")

    def __init__(self, worker: Worker, room_bytes: int, is_secret: bool = False) -> None:
        """`room_bytes`: at most so many bytes will come; `is_secret`: none of them may lie on the disk in plain."""
        self._disk = worker.disk
        self._folder = os.path.dirname(worker.segments_dir)
        self._is_secret = is_secret
        self._memory = bytearray()
        self._memory_max = max(SMALL_BODY_MAX_BYTES, worker.settings.small_object_threshold_bytes)
        # Once here and once as a record.
        self._need_free_bytes = 2 * room_bytes + worker.settings.min_free_bytes
        self._spool: _Spool | None = None
        self.size_bytes = 0
        """How many bytes were taken."""

    def append(self, piece: bytes) -> None:
        """Take the next bytes. Raises: S3Error XMinioStorageFull, InternalError."""
        if self._spool is None and self.size_bytes + len(piece) <= self._memory_max:
            self._memory += piece
        else:
            error = offload(self._spill, piece)
            if error is not None:
                if error.errno in NO_SPACE:
                    raise from_store("StorageFull")
                logger.error("the file of a form cannot be kept in %s: %s", self._folder, error)
                raise from_store("StorageFailure")
        self.size_bytes += len(piece)

    def input(self) -> BodyInput:
        """All that was taken, as the body of a request."""
        return BytesIO(self._memory) if self._spool is None else _SpoolInput(self._spool, self.size_bytes)

    def _spill(self, piece: bytes) -> OSError | None:
        """In a native thread; the error is a value. Touches no actor."""
        try:
            if self._spool is None:
                if self._disk.free_bytes(self._folder) < self._need_free_bytes:
                    return OSError(min(NO_SPACE), "there is no room for it twice")
                spool = _Spool(self._disk, self._folder, self._is_secret)
                spool.write(self._memory, 0)
                self._spool, self._memory = spool, bytearray()
            self._spool.write(piece, self.size_bytes)
        except OSError as error:
            # Its traceback would keep the file open for as long as anybody keeps the error.
            return error.with_traceback(None)
        return None
