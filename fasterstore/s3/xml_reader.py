"""Reading XML that clients send: one parser for every document, which refuses what no S3 client needs.

defusedxml reads, so there is no DTD, no entity and nothing external; the tree is built here, at most MAX_DEPTH levels and MAX_ELEMENTS
elements, counted while it parses: what is refused is never built. Names are compared without their namespace, as S3 does: clients send
none, the right one, or an old one. Must never be bypassed: no other module parses a client's XML.
"""

from collections.abc import Iterator
from xml.etree.ElementTree import Element, TreeBuilder

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import DefusedXMLParser, ParseError

from fasterstore.s3.errors import S3Error

DOCUMENT_MAX_BYTES = 1 << 20
LARGE_DOCUMENT_MAX_BYTES = 2 << 20
"""CompleteMultipartUpload and DeleteObjects: ten thousand parts, a thousand long keys."""
MAX_DEPTH = 16
MAX_ELEMENTS = 1 << 17
"""Ten thousand parts with every checksum; a document of nothing but empty elements would stop its worker for most of a second."""
NAMESPACE_MAX_CHARS = 1024
"""expat writes the namespace before the name of every element: a long one would make a small document cost minutes."""


class _Refused(Exception):
    """The document is well-formed so far, and not what a client may send."""


class _BoundedBuilder(TreeBuilder):
    """Makes elements of the parser's events. Raises: _Refused below MAX_DEPTH levels, after MAX_ELEMENTS, and for a long namespace."""

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0
        self._count = 0

    def start(self, tag: str, attributes: dict[str, str], /) -> Element:
        self._depth += 1
        self._count += 1
        if self._depth > MAX_DEPTH or self._count > MAX_ELEMENTS:
            raise _Refused
        return super().start(tag, attributes)

    def start_ns(self, _prefix: str, uri: str, /) -> None:
        if len(uri) > NAMESPACE_MAX_CHARS:
            raise _Refused

    def end(self, tag: str, /) -> Element:
        self._depth -= 1
        return super().end(tag)


def parse_document(body: bytes, root: str, max_bytes: int = DOCUMENT_MAX_BYTES) -> Element:
    """The root element of a document, whose name must be `root`.

    Raises S3Error MalformedXML for anything else, MaxMessageLengthExceeded over `max_bytes`.
    """
    if len(body) > max_bytes:
        raise S3Error("MaxMessageLengthExceeded", MaxMessageLengthBytes=str(max_bytes))
    parser = DefusedXMLParser(target=_BoundedBuilder(), forbid_dtd=True)
    try:
        parser.feed(body)
        element: Element = parser.close()
    except (ParseError, DefusedXmlException, _Refused, ValueError, LookupError):
        # The last two are for an encoding that is named and that nobody knows.
        raise S3Error("MalformedXML") from None
    if local_name(element) != root:
        raise S3Error("MalformedXML")
    return element


def local_name(element: Element) -> str:
    """The element's name without its namespace."""
    return element.tag.rpartition("}")[2]


def children(element: Element, name: str) -> Iterator[Element]:
    """The children with that local name, in order."""
    return (child for child in element if local_name(child) == name)


def text_of(element: Element, name: str) -> str | None:
    """The text of the child `name`, None if there is no such child.

    Raises S3Error MalformedXML if it stands there twice or has children.
    """
    found: Element | None = None
    for child in element:
        if local_name(child) == name:
            if found is not None or len(child):
                raise S3Error("MalformedXML")
            found = child
    return None if found is None else found.text or ""


def need_text(element: Element, name: str) -> str:
    """The text of the child `name`. Raises S3Error MalformedXML if there is none, or two."""
    text = text_of(element, name)
    if text is None:
        raise S3Error("MalformedXML")
    return text
