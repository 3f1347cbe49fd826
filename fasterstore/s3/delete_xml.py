"""The documents of DeleteObjects: the list of keys with their conditions, and what became of each.

Source: S3 API page DeleteObjects.
"""

from collections.abc import Iterable
from typing import NamedTuple
from xml.etree.ElementTree import Element

from fasterstore.s3.conditions import exact_size, exact_time_secs
from fasterstore.s3.errors import S3Error
from fasterstore.s3.xml_reader import LARGE_DOCUMENT_MAX_BYTES, local_name, parse_document
from fasterstore.s3.xml_text import document, element

KEYS_MAX = 1000
_FIELDS = frozenset(("Key", "VersionId", "ETag", "LastModifiedTime", "Size"))


class ListedKey(NamedTuple):
    """One key to delete, as `DeleteIntent`; `version_id` is None if none was named."""

    key: str
    version_id: str | None
    if_match: str | None
    if_modified_secs: int | None
    if_size: int | None


class DeleteList(NamedTuple):
    """A Delete document. `quiet`: only what was refused is to be told."""

    quiet: bool
    keys: list[ListedKey]


class Outcome(NamedTuple):
    """What became of one key: `code` is "" if it is gone now, else the code of an S3 error, `message` that error's."""

    key: str
    version_id: str | None
    code: str = ""
    message: str = ""


def parse_delete(body: bytes) -> DeleteList:
    """Read a Delete document of 1 to KEYS_MAX keys. Raises S3Error MalformedXML, MaxMessageLengthExceeded."""
    quiet = False
    keys: list[ListedKey] = []
    for node in parse_document(body, "Delete", LARGE_DOCUMENT_MAX_BYTES):
        name = local_name(node)
        if name == "Object":
            keys.append(_listed_key(node))
        elif name == "Quiet" and not len(node):
            quiet = _truth(node.text)
        else:
            raise S3Error("MalformedXML")
    if not 1 <= len(keys) <= KEYS_MAX:
        raise S3Error("MalformedXML")
    return DeleteList(quiet, keys)


def render_delete_result(outcomes: Iterable[Outcome], quiet: bool) -> bytes:
    """DeleteResult, in the order of the request."""
    parts = []
    for key, version_id, code, message in outcomes:
        if code:
            inner = (element("Key", key), _version(version_id), element("Code", code), element("Message", message))
            parts.append(f"<Error>{''.join(inner)}</Error>")
        elif not quiet:
            parts.append(f"<Deleted>{element('Key', key)}{_version(version_id)}</Deleted>")
    return document("DeleteResult", parts)


def _listed_key(node: Element) -> ListedKey:
    fields: dict[str, str] = {}
    for child in node:
        name = local_name(child)
        if name not in _FIELDS or name in fields or len(child):
            raise S3Error("MalformedXML")
        fields[name] = child.text or ""
    if not fields.get("Key"):
        raise S3Error("MalformedXML")
    try:
        modified = exact_time_secs("LastModifiedTime", fields["LastModifiedTime"]) if "LastModifiedTime" in fields else None
        size = exact_size("Size", fields["Size"]) if "Size" in fields else None
    except S3Error:
        raise S3Error("MalformedXML") from None
    return ListedKey(fields["Key"], fields.get("VersionId") or None, fields.get("ETag"), modified, size)


def _truth(text: str | None) -> bool:
    word = (text or "").strip().lower()
    if word not in ("true", "false", "1", "0", ""):
        raise S3Error("MalformedXML")
    return word in ("true", "1")


def _version(version_id: str | None) -> str:
    return "" if version_id is None else element("VersionId", version_id)
