"""The pieces in which a long body is received, hashed and written: large ones while there is memory for them, small ones for a crowd.

Owns: the buffers, and those of finished pieces that are used again, because fresh memory costs a page fault each 4 KiB. Each piece takes
room from the request's account when it is about to be received and gives it back once its last job has returned, so a sender that stalls
holds one piece. Must never: hand out a buffer that a job may still read.
"""

from collections.abc import Sequence
from typing import Any

from actors.runtime import spawn
from fasterstore import aead
from web.body_memory import PIECE_MAX_BYTES, Account

SPARE_MAX = 16
_BUFFER_BYTES = aead.stored_bytes(PIECE_MAX_BYTES)
"""Of a large piece, plain or encrypted."""
_spare: list[bytearray] = []


class Piece:
    """One piece: `view` to be filled, and with encryption `scratch` for what is made of it."""

    __slots__ = ("_account", "_buffers", "_taken_bytes", "scratch", "view")

    def __init__(self, account: Account, size_bytes: int, is_sealed: bool, taken_bytes: int) -> None:
        self._account = account
        self._taken_bytes = taken_bytes
        self._buffers = [_buffer(aead.stored_bytes(size_bytes) if kind else size_bytes) for kind in range(1 + is_sealed)]
        self.view = memoryview(self._buffers[0])[:size_bytes]
        self.scratch = memoryview(self._buffers[1]) if is_sealed else None

    def give_back(self) -> None:
        """Nobody reads or writes it any more."""
        for buffer in self._buffers:
            if len(buffer) == _BUFFER_BYTES and len(_spare) < SPARE_MAX:
                _spare.append(buffer)
        self._buffers = []
        self._account.give_back(self._taken_bytes)

    def give_back_after(self, jobs: Sequence[Any]) -> None:
        """The same once these greenlets have ended; does not wait."""
        spawn(self._wait_and_give_back, jobs)

    def _wait_and_give_back(self, jobs: Sequence[Any]) -> None:
        for job in jobs:
            job.get()
        self.give_back()


class Pieces:
    """The pieces of one body. Args: the account of its request; `is_sealed`: it will be encrypted."""

    def __init__(self, account: Account, is_sealed: bool) -> None:
        self._account = account
        self._is_sealed = is_sealed
        self._may_wait = not account.held_bytes

    def next(self, left_bytes: int) -> Piece:
        """One for the next bytes, of which `left_bytes` are left: a multiple of 64 KiB, or all. Raises: S3Error SlowDown.

        Waits for room if it must, also while the piece before is being written: that one comes back by itself.
        """
        account = self._account
        size_bytes = account.memory.piece_bytes(left_bytes)
        taken_bytes = size_bytes * (1 + self._is_sealed)
        account.take(taken_bytes, self._may_wait)
        return Piece(account, size_bytes, self._is_sealed, taken_bytes)


def _buffer(size_bytes: int) -> bytearray:
    if size_bytes < PIECE_MAX_BYTES:
        return bytearray(size_bytes)
    return _spare.pop() if _spare else bytearray(_BUFFER_BYTES)
