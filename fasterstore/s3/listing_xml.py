"""The documents of ListObjects, ListObjectsV2 and ListObjectVersions. Values in, bytes out.

As at AWS, all objects stand before all common prefixes, each kind in byte order. With encoding-type=url every name is percent-encoded,
which is the only way to see a key that XML 1.0 cannot hold; without it such characters are shown as U+FFFD (`xml_text`).
Source: S3 API pages of the three actions.
"""

from collections.abc import Callable, Iterator
from urllib.parse import quote

from fasterstore.metadata.listing import Page
from fasterstore.model import ObjectRow
from fasterstore.s3.listing_query import ListingQuery
from fasterstore.s3.page_token import pack_token
from fasterstore.s3.xml import iso8601, owner
from fasterstore.s3.xml_text import document, element, escape

STORAGE_CLASS_HEADER = "x-amz-storage-class"
DEFAULT_STORAGE_CLASS = "STANDARD"
NO_VERSION_ID = "null"
"""The version id of an object that was written without versioning."""

_Spell = Callable[[bytes], str]
_OWNER = owner()


def url_encoded(name: bytes) -> str:
    """`name` as encoding-type=url spells it: letters, digits and `-_.*/` as they are, every other byte as %XX.

    AWS writes a space as `+`. %20 is read as a space by every client, also by those that do not take `+` for one.
    """
    return quote(name, safe="/*").replace("~", "%7E")


def render_list_objects(query: ListingQuery, page: Page, marker: str) -> bytes:
    """ListBucketResult of ListObjects. NextMarker appears only with a delimiter: without one it is the last key, as clients know."""
    spell = _spelling(query)
    cursor = [_named("Marker", spell(marker.encode()))]
    if page.last and query.delimiter:
        cursor.append(_named("NextMarker", spell(page.last)))
    head = _head(query, page, spell, cursor)
    return document("ListBucketResult", (*head, *_contents(page, spell, _OWNER), *_prefixes(page, spell)))


def render_list_objects_v2(query: ListingQuery, page: Page, start_after: str | None, token: str | None, fetch_owner: bool) -> bytes:
    """ListBucketResult of ListObjectsV2. `start_after` and `token` are echoed if they were sent, None if not."""
    spell = _spelling(query)
    cursor = []
    if start_after is not None:
        cursor.append(_named("StartAfter", spell(start_after.encode())))
    if token is not None:
        cursor.append(element("ContinuationToken", token))
    if page.last:
        cursor.append(element("NextContinuationToken", pack_token(page.last)))
    cursor.append(_named("KeyCount", str(len(page.objects) + len(page.common_prefixes))))
    head = _head(query, page, spell, cursor)
    return document("ListBucketResult", (*head, *_contents(page, spell, _OWNER if fetch_owner else ""), *_prefixes(page, spell)))


def render_list_versions(query: ListingQuery, page: Page, key_marker: str, version_id_marker: str) -> bytes:
    """ListVersionsResult of a bucket without versioning: every object is its own latest version, called "null"."""
    spell = _spelling(query)
    cursor = [_named("KeyMarker", spell(key_marker.encode())), element("VersionIdMarker", version_id_marker)]
    if page.last:
        cursor.append(_named("NextKeyMarker", spell(page.last)))
        if page.objects and page.objects[-1][0] == page.last:
            cursor.append(_named("NextVersionIdMarker", NO_VERSION_ID))
    head = _head(query, page, spell, cursor)
    return document("ListVersionsResult", (*head, *_versions(page, spell), *_prefixes(page, spell)))


def _spelling(query: ListingQuery) -> _Spell:
    return url_encoded if query.encoding_type else _as_text


def _as_text(name: bytes) -> str:
    return escape(name.decode("utf-8", "replace"))


def _named(name: str, ready: str) -> str:
    return f"<{name}>{ready}</{name}>"


def _head(query: ListingQuery, page: Page, spell: _Spell, cursor: list[str]) -> Iterator[str]:
    yield element("Name", query.bucket)
    yield _named("Prefix", spell(query.prefix.encode()))
    yield from cursor
    yield _named("MaxKeys", str(query.max_keys))
    if query.delimiter:
        yield _named("Delimiter", spell(query.delimiter.encode()))
    if query.encoding_type:
        yield element("EncodingType", query.encoding_type)
    yield _named("IsTruncated", "true" if page.last else "false")


def _contents(page: Page, spell: _Spell, owner_element: str) -> Iterator[str]:
    for key, row in page.objects:
        yield f"<Contents><Key>{spell(key)}</Key>{_attributes(row)}{owner_element}{_storage_class(row)}</Contents>"


def _versions(page: Page, spell: _Spell) -> Iterator[str]:
    for key, row in page.objects:
        yield (
            f"<Version><Key>{spell(key)}</Key><VersionId>{NO_VERSION_ID}</VersionId><IsLatest>true</IsLatest>"
            f"{_attributes(row)}{_OWNER}{_storage_class(row)}</Version>"
        )


def _attributes(row: ObjectRow) -> str:
    """LastModified, ETag, the checksums' algorithms and their type, Size."""
    checksums = "".join([_named("ChecksumAlgorithm", name) for name in row.checksums])
    if checksums:
        composite = any("-" in value for value in row.checksums.values())
        checksums += _named("ChecksumType", "COMPOSITE" if composite else "FULL_OBJECT")
    return (
        f"<LastModified>{iso8601(row.modified_ms)}</LastModified><ETag>&quot;{row.etag}&quot;</ETag>{checksums}"
        f"<Size>{row.size_bytes}</Size>"
    )


def _storage_class(row: ObjectRow) -> str:
    return element("StorageClass", row.system.get(STORAGE_CLASS_HEADER, DEFAULT_STORAGE_CLASS))


def _prefixes(page: Page, spell: _Spell) -> Iterator[str]:
    for prefix in page.common_prefixes:
        yield f"<CommonPrefixes><Prefix>{spell(prefix)}</Prefix></CommonPrefixes>"
