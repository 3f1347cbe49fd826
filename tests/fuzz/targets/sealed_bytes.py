"""Sealed bytes, wrapped keys and customers' keys after edits: what opens is what was sealed, and no key file opens to another key."""

import functools
import random

from fasterstore import aead, keyring
from fasterstore.customer_key import CustomerKey
from fasterstore.errors import DamagedRecord, UnsupportedFormat
from fasterstore.s3.errors import S3Error
from fasterstore.s3.sse_c import CUSTOMER_KEY, TARGET, parse_customer_key
from fasterstore.storage import key_file
from fasterstore.storage.memory_disk import MemoryDisk
from tests.fuzz.edits import COPY, CUT, FLIP, INSERT, OVERWRITE, ZERO, edited, step

DICTIONARY = [
    b'"version"',
    b'"epochs"',
    b'"master_keys"',
    b'"epoch_keys"',
    b'"blob_id_key"',
    b'"all_sealed"',
    b'"id"',
    b"true",
    b"null",
    b"[]",
    b"{}",
]
_SIZES = (0, 100, aead.CHUNK_BYTES, 2 * aead.CHUNK_BYTES + 5)
_KEY, _MASTER, _BLOB_KEY, _ID = b"K" * 32, b"M" * 32, b"B" * 32, b"I" * 16
_STREAM, _WRAPPED, _KEY_FILE, _KEY_TEXT, _CUSTOMER = range(5)
_PATH = "/data/keys.json"


@functools.cache
def _sealed(size: int) -> tuple[bytes, bytes]:
    plaintext = random.Random(size).randbytes(size)
    return plaintext, bytes(aead.seal_whole(_KEY, _ID, plaintext))


@functools.cache
def _key_file() -> bytes:
    counter = iter(range(1, 1000))
    keys = keyring.turn_on(key_file.KeyFile(_BLOB_KEY), _MASTER, lambda length: bytes([next(counter)]) * length, nothing_stored=True)
    return key_file.render(keyring.add_master_key(keys, _MASTER, b"N" * 32, lambda length: bytes([next(counter)]) * length))


def seeds() -> list[bytes]:
    """{what, which size}, then edits; or text of a key file; or a customer's check and key between NULs."""
    edits = [
        b"",
        step(FLIP, 10, 1, 3),
        step(CUT, 60, 9),
        step(ZERO, 128, 40),
        step(INSERT, 9, 3, 1),
        step(COPY, 0, 32, 9),
        step(OVERWRITE, 70, 1, 66),
    ]
    found = [bytes([what, number]) + edit for what in (_STREAM, _KEY_FILE) for number in range(4) for edit in edits]
    found += [bytes([_WRAPPED, 0]) + edit for edit in edits]
    found.append(bytes([_KEY_TEXT, 0]) + _key_file())
    customer = CustomerKey(_KEY)
    return [
        *found,
        bytes([_CUSTOMER, 0])
        + b"\x00".join((customer.new_check(_ID).encode(), b"S0tLS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0tLS0s=", customer.md5.encode())),
    ]


def one_input(data: bytes) -> None:
    """Open what was edited. Raises: anything, on a finding."""
    if len(data) < 2:
        return
    what, rest = data[0] % 5, data[2:]
    if what == _STREAM:
        _open(_SIZES[data[1] % len(_SIZES)], rest)
    elif what == _WRAPPED:
        _unwrap(rest)
    elif what == _CUSTOMER:
        _customer(rest)
    else:
        _read(edited(_key_file(), rest) if what == _KEY_FILE else rest)


def _open(size: int, script: bytes) -> None:
    plaintext, sealed = _sealed(size)
    found = edited(sealed, script)
    try:
        assert bytes(aead.open_whole(_KEY, _ID, size, found)) == plaintext, "other bytes open"
    except DamagedRecord:
        assert found != sealed, "good bytes were refused"
    stream = aead.SealedStream(_KEY, _ID, size)
    for chunk in range(aead.chunk_count(size) + 1):
        piece = found[chunk * aead.SEALED_CHUNK_BYTES : (chunk + 1) * aead.SEALED_CHUNK_BYTES]
        for place in (chunk, chunk + 1):
            try:
                opened = bytes(stream.open_chunks(place, piece))
            except DamagedRecord:
                continue
            assert opened == plaintext[place * aead.CHUNK_BYTES :][: aead.CHUNK_BYTES], "another chunk opens here"


def _unwrap(script: bytes) -> None:
    wrapped = keyring.wrap_data_key(_MASTER, _ID, 1, 100, _KEY)
    try:
        assert keyring.unwrap_data_key(_MASTER, _ID, 1, 100, edited(wrapped, script)) == _KEY
    except DamagedRecord:
        pass


def _read(content: bytes) -> None:
    disk = MemoryDisk()
    disk.mkdir("/data")
    fd = disk.open(_PATH, create=True)
    disk.pwrite(fd, content, 0)
    disk.close(fd)
    try:
        keys = key_file.read_key_file(disk, _PATH)
        opened = keyring.unlock(keys, _MASTER if keys.wrapped else None)
    except (UnsupportedFormat, key_file.WrongMasterKey):
        return
    assert not keys.wrapped or opened.blob_key == _BLOB_KEY, "another key"
    disk.unlink(_PATH)
    key_file.write_key_file(disk, _PATH, keys, keep_previous=False)
    assert key_file.read_key_file(disk, _PATH) == keys


def _customer(raw: bytes) -> None:
    check, key, md5 = (*(part.decode("latin-1") for part in raw.split(b"\x00")), "", "", "")[:3]
    customer = CustomerKey(_KEY)
    assert not CustomerKey(_MASTER).is_that_of(check)
    customer.is_that_of(check)
    try:
        parse_customer_key({f"{TARGET}algorithm": "AES256", CUSTOMER_KEY: key, f"{TARGET}key-md5": md5})
    except S3Error as error:
        assert not key or len(key) < 5 or key not in f"{error.message}{error.extra}"


def plant() -> None:
    """A chunk opens at any place of its stream."""
    aead.SealedStream._nonce = lambda self, chunk: bytes(12)  # type: ignore[method-assign]
    aead.SealedStream._associated = lambda self, chunk: bytes(32)  # type: ignore[method-assign]
