"""Tag sets of objects and buckets: the header form, the XML form, and the limits that hold for both.

Values in, dict out; a set that breaks a limit is refused as a whole. Must never be given a body that was not verified.
Source: S3 user guide, "Categorizing your objects using tags"; API pages PutObjectTagging, PutObject (x-amz-tagging).
"""

import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote_plus

from fasterstore.s3.errors import S3Error
from fasterstore.s3.xml_reader import children, local_name, need_text, parse_document
from fasterstore.s3.xml_text import document, element

OBJECT_TAGS_MAX = 10
BUCKET_TAGS_MAX = 50
KEY_MAX_CHARS = 128
VALUE_MAX_CHARS = 256

_RESERVED_PREFIX = "aws:"
# Letters, digits and separators of any script (AWS: [\p{L}\p{Z}\p{N}_.:/=+\-@]*); `\w` is the first, the third and the underscore.
_ALLOWED = re.compile("[\\w .:/=+@\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000-]*")


def check_tags(pairs: Iterable[tuple[str, str]], limit: int) -> dict[str, str]:
    """The tag set made of (key, value) pairs, of which there may be `limit`.

    Raises S3Error InvalidTag for a key or value that is too long, empty (a key), reserved or of other characters, a key that stands
    there twice, or too many tags.
    """
    tags: dict[str, str] = {}
    for key, value in pairs:
        if not 1 <= len(key) <= KEY_MAX_CHARS or _ALLOWED.fullmatch(key) is None:
            raise S3Error("InvalidTag", "The TagKey you have provided is invalid", TagKey=key[:KEY_MAX_CHARS])
        if len(value) > VALUE_MAX_CHARS or _ALLOWED.fullmatch(value) is None:
            raise S3Error("InvalidTag", "The TagValue you have provided is invalid", TagKey=key, TagValue=value[:VALUE_MAX_CHARS])
        if key.lower().startswith(_RESERVED_PREFIX):
            raise S3Error("InvalidTag", "System tags cannot be added/updated by requester", TagKey=key)
        if key in tags:
            raise S3Error("InvalidTag", "Cannot provide multiple Tags with the same key", TagKey=key)
        tags[key] = value
    if len(tags) > limit:
        raise S3Error("InvalidTag", f"Object tags cannot be greater than {limit}" if limit == OBJECT_TAGS_MAX else f"At most {limit} tags.")
    return tags


def parse_tagging_header(value: str) -> dict[str, str]:
    """The tags of an `x-amz-tagging` header (latin-1 text as received): `name=value&...`, percent-encoded UTF-8, "+" for a space.

    An empty header is an empty set; some clients always send one. Raises S3Error InvalidArgument, InvalidTag.
    """
    if not value:
        return {}
    try:
        pairs = [_decoded_pair(part) for part in value.encode("latin-1").decode("utf-8").split("&") if part]
    except UnicodeError:
        raise _no_query(value) from None
    if len({key for key, _ in pairs}) < len(pairs):
        raise _no_query(value)
    return check_tags(pairs, OBJECT_TAGS_MAX)


def parse_tagging(body: bytes, limit: int) -> dict[str, str]:
    """The tags of a `Tagging` document. Raises S3Error MalformedXML, MaxMessageLengthExceeded, InvalidTag."""
    root = parse_document(body, "Tagging")
    sets = list(children(root, "TagSet"))
    if len(sets) != 1 or len(root) != 1 or any(local_name(child) != "Tag" for child in sets[0]):
        raise S3Error("MalformedXML")
    pairs = []
    for tag in sets[0]:
        if len(tag) != 2:
            raise S3Error("MalformedXML")
        pairs.append((need_text(tag, "Key"), need_text(tag, "Value")))
    return check_tags(pairs, limit)


def render_tagging(tags: Mapping[str, str]) -> bytes:
    """The `Tagging` document, in order of keys: the order in which tags were set is not kept."""
    parts = [f"<Tag>{element('Key', key)}{element('Value', value)}</Tag>" for key, value in sorted(tags.items())]
    return document("Tagging", ("<TagSet>", *parts, "</TagSet>"))


def _decoded_pair(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return unquote_plus(name, errors="strict"), unquote_plus(value, errors="strict")


def _no_query(value: str) -> S3Error:
    return S3Error(
        "InvalidArgument",
        "The header 'x-amz-tagging' shall be encoded as UTF-8 then URLEncoded URL query parameters without tag name duplicates.",
        ArgumentName="x-amz-tagging",
        ArgumentValue=value,
    )
