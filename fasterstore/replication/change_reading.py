"""Reading what a peer sent (`change.py`): every type, length and number is checked, and the whole refused if one is wrong.

What comes out is well-formed, not true: whether bytes are those of their ETag, and who may send at all, is for others to see.
"""

from typing import Any

import msgpack

from fasterstore.errors import UnsupportedFormat
from fasterstore.model import PARTS_MAX, SLICES_MAX
from fasterstore.replication import change as c
from fasterstore.replication.merge import NEVER, Create, Deletion, Home, Registers, Setting

ID_BYTES = 16
"""Of a node id, a log uuid."""
BLOB_ID_BYTES = 32
NAME_MAX_BYTES = 255
KEY_MAX_BYTES = 1024
REGISTERS_MAX = 1000
"""Creates or settings of one bucket."""
INT_MAX = (1 << 63) - 1


class MalformedBatch(ValueError):
    """The bytes are no batch, or no answer to one; the message says why."""


def decode_batch(data: bytes) -> c.Batch:
    """The batch of these bytes. Raises UnsupportedFormat for another version, MalformedBatch for all else."""
    fields = _opened(data, 6)
    changes = _list(fields[5], c.BATCH_MAX_CHANGES)
    first_lsn, upto_lsn = _int(fields[3]), _int(fields[4])
    if first_lsn > upto_lsn:
        raise MalformedBatch(f"entries {first_lsn} to {upto_lsn}")
    return c.Batch(fields[0], _id(fields[1]), _id(fields[2]), first_lsn, upto_lsn, tuple(map(_change, changes)))


def decode_answer(data: bytes, changes: int) -> c.BatchAnswer:
    """The answer of these bytes to a batch of so many changes. Raises UnsupportedFormat, MalformedBatch."""
    fields = _opened(data, 4)
    outcomes = _list(fields[3], c.BATCH_MAX_CHANGES)
    if len(outcomes) != changes:
        raise MalformedBatch(f"{len(outcomes)} outcomes of {changes} changes")
    return c.BatchAnswer(_id(fields[1]), _id(fields[2]), tuple(map(_outcome, outcomes)))


def _opened(data: bytes, count: int) -> list[Any]:
    if len(data) > c.BATCH_HARD_MAX_BYTES:
        raise MalformedBatch(f"{len(data)} bytes")
    try:
        fields = msgpack.unpackb(data, max_map_len=1 << 16, max_array_len=1 << 16)
    except Exception as error:
        # msgpack documents no closed set of errors for bad input.
        raise MalformedBatch(f"{type(error).__name__}: {error}") from None
    if type(fields) is not list or not fields:
        raise MalformedBatch("not an array")
    if fields[0] != c.BATCH_VERSION:
        raise UnsupportedFormat(f"replication batches of version {str(fields[0])[:20]}; this build speaks version {c.BATCH_VERSION}")
    return _array(fields, count)


def _outcome(value: Any) -> c.Outcome:
    if value == 0 and type(value) is int:
        return c.APPLIED
    if value == 1 and type(value) is int:
        return c.SUPERSEDED
    return c.refused(_text(value, NAME_MAX_BYTES))


# ---- changes -------------------------------------------------------------------------------------------------------------------


def _change(fields: Any) -> c.Change:
    kind = fields[0] if type(fields) is list and fields else None
    if kind == c.OBJECT_KIND:
        return _object(_array(fields, 14))
    if kind == c.TOMBSTONE_KIND:
        _, bucket, key, stamp, origin, deleted_ms = _array(fields, 6)
        return c.Tombstone(_name(bucket), _key(key), _stamp(stamp), _id(origin), _int(deleted_ms))
    if kind == c.BUCKET_KIND:
        _, name, registers = _array(fields, 3)
        return c.BucketState(_name(name), _registers(registers))
    raise MalformedBatch("a change of an unknown kind")


def _object(fields: list[Any]) -> c.ObjectState:
    _, bucket, key, stamp, origin, size_bytes, etag, modified_ms, system, user, checksums, tags, acl, content = fields
    state = c.ObjectState(
        _name(bucket), _key(key), _stamp(stamp), _id(origin), _int(size_bytes), _text(etag, NAME_MAX_BYTES), _int(modified_ms),
        _texts(system), _texts(user), _texts(checksums), _texts(tags), _text(acl, NAME_MAX_BYTES), _content(content),
    )  # fmt: skip
    if _content_bytes(state.content) != state.size_bytes:
        raise MalformedBatch("an object's size is not that of its content")
    return state


def _content(value: Any) -> c.Content:
    if value is None:
        return c.EMPTY
    kind = value[0] if type(value) is list and value else None
    if kind == c.BLOB_CONTENT:
        _, fields, inline = _array(value, 3)
        piece = _piece(fields)
        if piece.first or (inline is not None and (type(inline) is not bytes or len(inline) != piece.record_bytes)):
            raise MalformedBatch("an object's record is not whole")
        return c.BlobContent(piece, inline)
    if kind == c.MANIFEST_CONTENT:
        _, number, etag, parts = _array(value, 4)
        found = tuple(map(_part, _list(parts, PARTS_MAX)))
        if any(one.number >= other.number for one, other in zip(found, found[1:], strict=False)):
            raise MalformedBatch("an object's parts are not in order")
        return c.ManifestContent(_stamp(number), _text(etag, NAME_MAX_BYTES), found)
    raise MalformedBatch("content of an unknown kind")


def _content_bytes(content: c.Content) -> int:
    if isinstance(content, c.BlobContent):
        return content.piece.length
    if isinstance(content, c.ManifestContent):
        return sum(part.size_bytes for part in content.parts)
    return 0


def _part(value: Any) -> c.PartContent:
    number, size_bytes, etag, checksums, pieces = _array(value, 5)
    found = tuple(map(_piece, _list(pieces, SLICES_MAX)))
    if type(number) is not int or not 1 <= number <= PARTS_MAX or sum(piece.length for piece in found) != size_bytes:
        raise MalformedBatch("a part's number or size is wrong")
    return c.PartContent(number, _int(size_bytes), _text(etag, NAME_MAX_BYTES), _texts(checksums), found)


def _piece(value: Any) -> c.Piece:
    blob_id, number, first, length, record_bytes = _array(value, 5)
    if type(blob_id) is not bytes or len(blob_id) != BLOB_ID_BYTES:
        raise MalformedBatch("a blob id is not 32 bytes")
    piece = c.Piece(blob_id, _stamp(number), _int(first), _stamp(length), _int(record_bytes))
    if piece.first + piece.length > piece.record_bytes:
        raise MalformedBatch("a piece ends behind its record")
    return piece


def _registers(value: Any) -> Registers:
    creates, deleted, settings, home = _array(value, 4)
    return Registers(
        tuple(map(_create, _list(creates, REGISTERS_MAX))),
        _deletion(deleted),
        tuple(map(_setting, _list(settings, REGISTERS_MAX))),
        None if home is None else _home(home),
    )


def _create(value: Any) -> Create:
    stamp, origin, created_ms = _array(value, 3)
    return Create(_stamp(stamp), _id(origin), _int(created_ms))


def _deletion(value: Any) -> Deletion:
    stamp, origin = _array(value, 2)
    return Deletion(*NEVER) if (stamp, origin) == NEVER else Deletion(_stamp(stamp), _id(origin))


def _setting(value: Any) -> Setting:
    name, document, stamp, origin = _array(value, 4)
    if document is not None and type(document) is not bytes:
        raise MalformedBatch("a setting is not bytes")
    return Setting(_name(name), document, _stamp(stamp), _id(origin))


def _home(value: Any) -> Home:
    stamp, origin, node_id = _array(value, 3)
    return Home(_stamp(stamp), _id(origin), _id(node_id))


# ---- fields --------------------------------------------------------------------------------------------------------------------


def _array(value: Any, count: int) -> list[Any]:
    if type(value) is not list or len(value) != count:
        raise MalformedBatch(f"not an array of {count}")
    return value


def _list(value: Any, at_most: int) -> list[Any]:
    if type(value) is not list or len(value) > at_most:
        raise MalformedBatch(f"not an array of at most {at_most}")
    return value


def _int(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= INT_MAX:
        raise MalformedBatch("a number is out of its range")
    return value


def _stamp(value: Any) -> int:
    if value == 0:
        raise MalformedBatch("a number is zero")
    return _int(value)


def _id(value: Any) -> bytes:
    if type(value) is not bytes or len(value) != ID_BYTES:
        raise MalformedBatch("an id is not 16 bytes")
    return value


def _key(value: Any) -> bytes:
    if type(value) is not bytes or not 0 < len(value) <= KEY_MAX_BYTES:
        raise MalformedBatch("a key is not 1 to 1,024 bytes")
    return value


def _text(value: Any, at_most: int) -> str:
    if type(value) is not str or len(value.encode()) > at_most:
        raise MalformedBatch(f"not a text of at most {at_most} bytes")
    return value


def _name(value: Any) -> str:
    if not value:
        raise MalformedBatch("a name is empty")
    return _text(value, NAME_MAX_BYTES)


def _texts(value: Any) -> dict[str, str]:
    if type(value) is not dict or any(type(name) is not str or type(text) is not str for name, text in value.items()):
        raise MalformedBatch("not a map of texts")
    return value
