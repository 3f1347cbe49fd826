"""AES-256-GCM (NIST SP 800-38D) with a 96-bit nonce and a 128-bit tag, on pycryptodome's C functions.

A small object is one message under a key of its own, so what counts is the price of one call. `Crypto.Cipher.AES` makes three cipher
objects and some thirty Python calls for it: 66 us for 4 KiB. The same C functions called directly take 10 us, and 43 instead of 94 for
64 KiB. Where they are not found, or do not give the known answer (another release of pycryptodome), its public interface is used.

`AesGcm` seals many messages with one key and gives up the interpreter lock meanwhile: for the chunks of large bodies, in native threads.
`seal_once` and `open_once` are for a key that seals one message only. They keep the lock: to win it back costs more than the work.

Owns the algorithm, no keys and no nonces: that a (key, nonce) pair never repeats is the caller's to see to. A message whose tag is wrong
is not decrypted at all.
"""

import ctypes
import hmac
import logging
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from Crypto.Cipher import AES
from Crypto.Util import _cpu_features
from Crypto.Util._file_system import pycryptodome_filename

from fasterstore.errors import InvariantError

logger = logging.getLogger(__name__)

Buffer = bytes | bytearray | memoryview

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
ASSOCIATED_BYTES = 32
"""All associated data here are two blocks long."""
ONLY_NONCE = bytes(NONCE_BYTES)
"""The nonce of the one message of a key that seals no other."""

_BLOCK_BYTES = 16
_NO_BLOCK = bytes(_BLOCK_BYTES)
_TWO_BLOCKS = bytes(2 * _BLOCK_BYTES)
_FIRST_COUNTER = b"\0\0\0\1"
_ASSOCIATED_BITS = 8 * ASSOCIATED_BYTES
_pack_lengths = struct.Struct(">QQ").pack
_pointer = ctypes.c_void_p
_reference = ctypes.byref
_byte_in = ctypes.c_char.from_buffer
_address = ctypes.addressof


class _Functions(NamedTuple):
    """pycryptodome's C functions; each returns 0, or an error's number."""

    aes_start: Callable[..., int]
    ctr_start: Callable[..., int]
    ctr_encrypt: Callable[..., int]
    ctr_stop: Callable[..., int]
    ghash_expand: Callable[..., int]
    ghash: Callable[..., int]
    ghash_destroy: Callable[..., int]


def _load(library: Callable[[str], Any]) -> _Functions:
    """The functions of the best implementation that this processor has. Raises OSError, AttributeError."""

    def function(folder: str, file: str, name: str, *arguments: Any) -> Callable[..., int]:
        found = getattr(library(pycryptodome_filename(["Crypto", folder], f"{file}.abi3.so")), name)
        found.argtypes = arguments
        found.restype = ctypes.c_int
        return found

    aes_file, aes = ("_raw_aesni", "AESNI") if _cpu_features.have_aes_ni() else ("_raw_aes", "AES")
    ghash = "clmul" if _cpu_features.have_clmul() else "portable"
    size, number = ctypes.c_size_t, ctypes.c_uint
    return _Functions(
        function("Cipher", aes_file, f"{aes}_start_operation", _pointer, size, _pointer),
        function("Cipher", "_raw_ctr", "CTR_start_operation", _pointer, _pointer, size, size, number, number, _pointer),
        function("Cipher", "_raw_ctr", "CTR_encrypt", _pointer, _pointer, _pointer, size),
        function("Cipher", "_raw_ctr", "CTR_stop_operation", _pointer),
        function("Hash", f"_ghash_{ghash}", f"ghash_expand_{ghash}", _pointer, _pointer),
        function("Hash", f"_ghash_{ghash}", f"ghash_{ghash}", _pointer, _pointer, size, _pointer, _pointer),
        function("Hash", f"_ghash_{ghash}", f"ghash_destroy_{ghash}", _pointer),
    )


class PublicAesGcm:
    """One key, on the documented interface: what the direct calls must agree with. Interface as `DirectAesGcm`."""

    __slots__ = ("_key",)

    def __init__(self, key: bytes) -> None:
        _require(len(key) == KEY_BYTES, "an AES-256 key is 32 bytes long")
        self._key = bytes(key)

    def seal(self, nonce: bytes, associated: bytes, plaintext: Buffer, into: memoryview) -> None:
        size = len(plaintext)
        into[:size], into[size : size + TAG_BYTES] = self._cipher(nonce, associated).encrypt_and_digest(plaintext)

    def open(self, nonce: bytes, associated: bytes, sealed: Buffer, into: memoryview) -> bool:
        size = len(sealed) - TAG_BYTES
        try:
            into[:size] = self._cipher(nonce, associated).decrypt_and_verify(sealed[:size], sealed[size:])
        except ValueError:
            return False
        return True

    def _cipher(self, nonce: bytes, associated: bytes) -> Any:
        return AES.new(self._key, AES.MODE_GCM, nonce=nonce, mac_len=TAG_BYTES).update(associated)


def public_seal_once(key: bytes, associated: bytes, plaintext: Buffer) -> bytes:
    """`seal_once` on the documented interface."""
    sealed = memoryview(bytearray(len(plaintext) + TAG_BYTES))
    PublicAesGcm(key).seal(ONLY_NONCE, associated, plaintext, sealed)
    return bytes(sealed)


def public_open_once(key: bytes, associated: bytes, sealed: Buffer) -> bytes | None:
    """`open_once` on the documented interface."""
    plaintext = memoryview(bytearray(max(len(sealed) - TAG_BYTES, 0)))
    return bytes(plaintext) if PublicAesGcm(key).open(ONLY_NONCE, associated, sealed, plaintext) else None


class DirectAesGcm:
    """One key, on the C functions. Safe for several threads at once; keeps nothing of a message."""

    __slots__ = ("_key", "_table")

    functions: _Functions

    def __init__(self, key: bytes) -> None:
        """`key` is 32 bytes long."""
        self._table: Any = None
        _require(len(key) == KEY_BYTES, "an AES-256 key is 32 bytes long")
        self._key = bytes(key)
        # GHASH's own key is the cipher of a zero block (SP 800-38D, algorithm 4, step 1).
        subkey = ctypes.create_string_buffer(_BLOCK_BYTES)
        stream = _start(self.functions, self._key, _NO_BLOCK)
        error = self.functions.ctr_encrypt(stream, _NO_BLOCK, subkey, _BLOCK_BYTES)
        table = _pointer()
        error |= self.functions.ctr_stop(stream) | self.functions.ghash_expand(subkey, _reference(table))
        _done(error)
        self._table = table

    def __del__(self) -> None:
        if self._table is not None:
            self.functions.ghash_destroy(self._table)

    def seal(self, nonce: bytes, associated: bytes, plaintext: Buffer, into: memoryview) -> None:
        """Encrypt `plaintext` and write ciphertext and tag to the start of `into`, which is writable and has room for both.

        Args: `nonce`, 12 bytes, never used before with this key; `associated`, 32 bytes, authenticated and not stored.
        """
        size = len(plaintext)
        _require(len(into) >= size + TAG_BYTES, "there is no room for the sealed message")
        stream, mask = self._begin(nonce)
        try:
            self._crypt(stream, plaintext, into)
        finally:
            self.functions.ctr_stop(stream)
        into[size : size + TAG_BYTES] = self._tag(associated, into[:size], mask)

    def open(self, nonce: bytes, associated: bytes, sealed: Buffer, into: memoryview) -> bool:
        """Check `sealed` (ciphertext and tag) and write its plaintext to the start of `into`.

        Returns False, with `into` untouched, if the tag is not that of this key, nonce, associated data and ciphertext.
        """
        size = len(sealed) - TAG_BYTES
        _require(len(into) >= size, "there is no room for the plaintext")
        if size < 0:
            return False
        ciphertext = memoryview(sealed)[:size]
        stream, mask = self._begin(nonce)
        try:
            genuine = hmac.compare_digest(self._tag(associated, ciphertext, mask), bytes(sealed[size:]))
            if genuine:
                self._crypt(stream, ciphertext, into)
        finally:
            self.functions.ctr_stop(stream)
        return genuine

    def _begin(self, nonce: bytes) -> tuple[Any, bytes]:
        """The key stream of one message, and its first block, which masks the tag."""
        _require(len(nonce) == NONCE_BYTES, "a nonce is 12 bytes long")
        stream = _start(self.functions, self._key, nonce + _FIRST_COUNTER)
        mask = ctypes.create_string_buffer(_BLOCK_BYTES)
        _done(self.functions.ctr_encrypt(stream, _NO_BLOCK, mask, _BLOCK_BYTES))
        return stream, mask.raw

    def _crypt(self, stream: Any, data: Buffer, into: memoryview) -> None:
        if data:
            target = _byte_in(into)
            _done(self.functions.ctr_encrypt(stream, _readable(data), _reference(target), len(data)))

    def _tag(self, associated: bytes, ciphertext: memoryview, mask: bytes) -> bytes:
        _require(len(associated) == ASSOCIATED_BYTES, "associated data are 32 bytes long")
        ghash, table = self.functions.ghash, self._table
        size = len(ciphertext)
        whole = size - size % _BLOCK_BYTES
        sums = ctypes.create_string_buffer(_BLOCK_BYTES)
        error = ghash(sums, associated, ASSOCIATED_BYTES, sums, table)
        if whole:
            error |= ghash(sums, _readable(ciphertext[:whole]), whole, sums, table)
        tail = bytes(ciphertext[whole:]) + bytes(-size % _BLOCK_BYTES) + _pack_lengths(_ASSOCIATED_BITS, 8 * size)
        _done(error | ghash(sums, tail, len(tail), sums, table))
        return _masked(sums.raw, mask)


_once: _Functions
"""The same functions, called without giving up the interpreter lock."""

SCRATCH_BYTES = 64 * 1024 + 4 * _BLOCK_BYTES
_pack_lengths_into = struct.Struct(">QQ").pack_into
_from_bytes = int.from_bytes


class _Scratch:
    """Memory that the C functions work in, with its addresses: making it anew would cost as much as the work on a small message."""

    __slots__ = ("at", "keep", "sums", "sums_at", "to_stream", "to_table", "view")

    def __init__(self, size: int) -> None:
        buffer, self.sums = bytearray(size), bytearray(_BLOCK_BYTES)
        first, sums_first, stream, table = _byte_in(buffer), _byte_in(self.sums), _pointer(), _pointer()
        self.view, self.at, self.sums_at = memoryview(buffer), _address(first), _address(sums_first)
        self.to_stream, self.to_table = _reference(stream), _reference(table)
        self.keep = (first, sums_first, stream, table)


_free: list[_Scratch] = []
"""One for each thread that ever worked at once. A thread takes one and gives it back; list.pop and list.append cannot be interrupted."""


def _scratch_of(size: int) -> _Scratch:
    if size > SCRATCH_BYTES:
        return _Scratch(size)
    try:
        return _free.pop()
    except IndexError:
        return _Scratch(SCRATCH_BYTES)


def _give_back(scratch: _Scratch) -> None:
    if len(scratch.view) == SCRATCH_BYTES:
        _free.append(scratch)


def direct_seal_once(key: bytes, associated: bytes, plaintext: Buffer) -> bytes:
    """Encrypt the only message that `key` (32 bytes) ever seals, under ONLY_NONCE; returns ciphertext and tag.

    Args: `associated`, 32 bytes, authenticated and not stored.
    """
    if len(key) != KEY_BYTES or len(associated) != ASSOCIATED_BYTES:
        raise InvariantError("key and associated data are 32 bytes long")
    aes_start, ctr_start, ctr_encrypt, ctr_stop, ghash_expand, ghash, ghash_destroy = _once
    size = len(plaintext)
    end = ASSOCIATED_BYTES + size
    stop = end - size % -_BLOCK_BYTES
    scratch = _scratch_of(stop + 2 * _BLOCK_BYTES)
    view, at, to_stream, to_table = scratch.view, scratch.at, scratch.to_stream, scratch.to_table
    stream, table = scratch.keep[2], scratch.keep[3]
    # With a nonce of zeros counter block 0 gives GHASH's key, 1 masks the tag and those from 2 on encrypt: one run makes all three. Then
    # the associated data take the place of the first two, and what GHASH is to read lies in one piece.
    view[:ASSOCIATED_BYTES] = _TWO_BLOCKS
    view[ASSOCIATED_BYTES:end] = plaintext
    error = aes_start(key, KEY_BYTES, to_stream) or ctr_start(stream, _NO_BLOCK, _BLOCK_BYTES, NONCE_BYTES, 4, 0, to_stream)
    if error or (error := ctr_encrypt(stream, at, at, end) | ctr_stop(stream) | ghash_expand(at, to_table)):
        _done(error)
    mask = _from_bytes(view[_BLOCK_BYTES:ASSOCIATED_BYTES], "big")
    view[:ASSOCIATED_BYTES] = associated
    if stop != end:
        view[end:stop] = bytes(stop - end)
    _pack_lengths_into(view, stop, _ASSOCIATED_BITS, 8 * size)
    if error := ghash(scratch.sums_at, at, stop + _BLOCK_BYTES, _NO_BLOCK, table) | ghash_destroy(table):
        _done(error)
    view[end : end + TAG_BYTES] = (_from_bytes(scratch.sums, "big") ^ mask).to_bytes(TAG_BYTES, "big")
    sealed = bytes(view[ASSOCIATED_BYTES : end + TAG_BYTES])
    _give_back(scratch)
    return sealed


def direct_open_once(key: bytes, associated: bytes, sealed: Buffer) -> bytes | None:
    """The plaintext of what `seal_once` made, None if the tag is not that of this key, associated data and ciphertext."""
    if len(key) != KEY_BYTES or len(associated) != ASSOCIATED_BYTES:
        raise InvariantError("key and associated data are 32 bytes long")
    size = len(sealed) - TAG_BYTES
    if size < 0:
        return None
    aes_start, ctr_start, ctr_encrypt, ctr_stop, ghash_expand, ghash, ghash_destroy = _once
    end = ASSOCIATED_BYTES + size
    stop = end - size % -_BLOCK_BYTES
    scratch = _scratch_of(stop + 2 * _BLOCK_BYTES)
    view, at, to_stream, to_table = scratch.view, scratch.at, scratch.to_stream, scratch.to_table
    stream, table = scratch.keep[2], scratch.keep[3]
    view[:ASSOCIATED_BYTES] = _TWO_BLOCKS
    view[ASSOCIATED_BYTES : end + TAG_BYTES] = sealed
    if error := aes_start(key, KEY_BYTES, to_stream) or ctr_start(stream, _NO_BLOCK, _BLOCK_BYTES, NONCE_BYTES, 4, 0, to_stream):
        _done(error)
    if error := ctr_encrypt(stream, at, at, ASSOCIATED_BYTES) | ghash_expand(at, to_table):
        _done(error)
    expected = _from_bytes(view[_BLOCK_BYTES:ASSOCIATED_BYTES], "big")
    tag = bytes(view[end : end + TAG_BYTES])
    view[:ASSOCIATED_BYTES] = associated
    if stop != end:
        view[end:stop] = bytes(stop - end)
    _pack_lengths_into(view, stop, _ASSOCIATED_BITS, 8 * size)
    error = ghash(scratch.sums_at, at, stop + _BLOCK_BYTES, _NO_BLOCK, table) | ghash_destroy(table)
    plaintext = None
    if hmac.compare_digest((_from_bytes(scratch.sums, "big") ^ expected).to_bytes(TAG_BYTES, "big"), tag):
        start = at + ASSOCIATED_BYTES
        error |= ctr_encrypt(stream, start, start, size) if size else 0
        plaintext = bytes(view[ASSOCIATED_BYTES:end])
    if error := error | ctr_stop(stream):
        _done(error)
    _give_back(scratch)
    return plaintext


def _start(functions: _Functions, key: bytes, first_counter: bytes) -> Any:
    """A key stream that begins at that counter block, whose last 4 bytes count; it owns the AES state below it."""
    handle = _pointer()
    _done(functions.aes_start(key, KEY_BYTES, _reference(handle)))
    _done(functions.ctr_start(handle, first_counter, _BLOCK_BYTES, NONCE_BYTES, 4, 0, _reference(handle)))
    return handle


def _masked(sums: Buffer, mask: Buffer) -> bytes:
    return (int.from_bytes(sums, "big") ^ int.from_bytes(mask, "big")).to_bytes(TAG_BYTES, "big")


def _readable(data: Buffer) -> Any:
    """What to hand a C function that only reads. ctypes has no address for a read-only view: such a view is copied."""
    if isinstance(data, bytes):
        return data
    view = memoryview(data)
    return bytes(view) if view.readonly else _reference(_byte_in(view))


def _done(error: int) -> None:
    # Out of memory, or a call that the functions' contract forbids.
    if error:
        raise InvariantError(f"a function of pycryptodome failed with {error:#x}")


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise InvariantError(what)


def _can_call_directly() -> bool:
    """Whether the C functions are there and agree with the public interface on one message."""
    global _once
    try:
        # The same files twice: PyDLL keeps the interpreter lock during a call, CDLL gives it up.
        DirectAesGcm.functions, _once = _load(ctypes.CDLL), _load(ctypes.PyDLL)
    except (OSError, AttributeError) as error:
        logger.warning("pycryptodome's C functions cannot be called directly (%s): encryption is slower", error)
        return False
    key, associated, message = bytes(KEY_BYTES), bytes(ASSOCIATED_BYTES), bytes(100)
    known = public_seal_once(key, associated, message)
    sealed = memoryview(bytearray(len(known)))
    DirectAesGcm(key).seal(ONLY_NONCE, associated, message, sealed)
    if sealed == known == direct_seal_once(key, associated, message):
        return True
    logger.warning("pycryptodome's C functions do not give the known answer: encryption is slower")
    return False


_direct = _can_call_directly()
AesGcm: type[DirectAesGcm] | type[PublicAesGcm] = DirectAesGcm if _direct else PublicAesGcm
seal_once = direct_seal_once if _direct else public_seal_once
open_once = direct_open_once if _direct else public_open_once
