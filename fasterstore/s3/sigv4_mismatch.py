"""Says why a SigV4 signature does not match: tries what clients are known to get wrong, and names the part that differs.

Only ever runs for a request that is refused already; nothing it finds lets a request in. It shows what we built the signature
from (as AWS does, but without customers' keys and tokens), never the secret, the signing key or the signature we expected.
"""

from collections.abc import Iterator, Mapping
from hmac import compare_digest
from typing import NamedTuple

from fasterstore.s3 import canonical
from fasterstore.s3.errors import ERRORS, S3Error
from fasterstore.s3.sse_c import hide_keys

HEADERS_TRIED_MAX = 24
"""Each try costs an HMAC over the whole header block; clients sign fewer, and nobody needs a valid secret to ask for this."""


class SignedRequest(NamedTuple):
    """The parts of one request that its signature covers.

    `pairs` is the query as sent, in order, without the signature; `header_block` the canonical headers; `content_hash` the payload
    line as sent; `timestamp` YYYYMMDDThhmmssZ; `scope` date/region/service/aws4_request.
    """

    method: str
    raw_path: str
    pairs: list[tuple[str, str]]
    header_block: str
    signed_headers: str
    content_hash: str
    timestamp: str
    scope: str

    def canonical_request(self, path: str, query: str) -> str:
        """The canonical request with that spelling of path and query."""
        return canonical.canonical_request(self.method, path, query, self.header_block, self.signed_headers, self.content_hash)

    def string_to_sign(self, path: str, query: str) -> str:
        """The string to sign with that spelling of path and query."""
        return canonical.string_to_sign(self.timestamp, self.scope, self.canonical_request(path, query))


def _variants(request: SignedRequest, path: str, query: str, headers: Mapping[str, str]) -> Iterator[tuple[str, SignedRequest, str, str]]:
    """(what differs, request, path, query) for each mistake that can be tried."""
    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        if method != request.method:
            yield f"the method: {method} was signed, {request.method} was sent", request._replace(method=method), path, query
    yield "the path: it was signed encoded twice", request, canonical.uri_encode(path.encode("latin-1"), True), query
    yield "the path: it was signed without its bucket", request, "/" + path[1:].partition("/")[2], query
    while "//" in path:
        path = path.replace("//", "/")
    yield "the path: it was signed with doubled slashes made one", request, path, query
    path = canonical.canonical_path(request.raw_path)
    yield "the query: it was signed without its parameters", request, path, ""
    as_sent = "&".join(f"{name}={value}" if value else name for name, value in request.pairs)
    yield "the query: it was signed unsorted, or without the = of an empty value", request, path, as_sent
    for value in (canonical.UNSIGNED_PAYLOAD, canonical.EMPTY_SHA256):
        if value != request.content_hash:
            what = f"the payload hash: {value} was signed, x-amz-content-sha256 says {request.content_hash}"
            yield what, request._replace(content_hash=value), path, query
    host = headers.get("host", "")
    bare, _, port = host.rpartition(":")
    other_hosts = [bare] if bare and port.isdigit() else [f"{host}:{number}" for number in (80, 443, 9000)]
    for other in other_hosts:
        block = request.header_block.replace(f"host:{host}\n", f"host:{other}\n", 1)
        yield f"the Host header: {other} was signed, {host} was sent (a proxy?)", request._replace(header_block=block), path, query
    for name in request.signed_headers.split(";")[:HEADERS_TRIED_MAX]:
        # A header that a proxy dropped or added reads as missing here; its value cannot be guessed, its absence can.
        if name != "host" and headers.get(name):
            block = "".join(f"{line}\n" for line in request.header_block.split("\n")[:-1] if not line.startswith(f"{name}:"))
            names = ";".join(part for part in request.signed_headers.split(";") if part != name)
            yield (
                f"the headers: {name} is listed but was not signed",
                request._replace(header_block=block, signed_headers=names),
                path,
                query,
            )


def signature_mismatch(request: SignedRequest, key: bytes, signature: str, access_key: str, headers: Mapping[str, str]) -> S3Error:
    """The SignatureDoesNotMatch error for `request`, whose `signature` (as sent) the day's signing `key` does not make.

    The message names the part that differs where one of the known mistakes explains it; otherwise the secret key or a header's
    value does. Source: S3 API Reference, "Error responses", and the elements that AWS adds to it.
    """
    path = canonical.canonical_path(request.raw_path)
    query = canonical.join_sorted(canonical.encode_pairs_again(request.pairs))
    message = ERRORS["SignatureDoesNotMatch"].message
    missing = [name for name in request.signed_headers.split(";") if name not in headers]
    if missing:
        message += f" What differs: the headers {', '.join(missing)} are listed as signed but were not sent."
    else:
        for what, variant, variant_path, variant_query in _variants(request, path, query, headers):
            expected = canonical.hmac_hex(key, variant.string_to_sign(variant_path, variant_query))
            if compare_digest(expected.encode(), signature.encode("latin-1", "replace")):
                message += f" What differs: {what}."
                break
        else:
            message += " What differs is the secret key, or one of the parts shown in CanonicalRequest."
    canonical_text = hide_keys(request.canonical_request(path, query))
    to_sign = request.string_to_sign(path, query)
    return S3Error(
        "SignatureDoesNotMatch",
        message,
        AWSAccessKeyId=access_key,
        StringToSign=to_sign,
        SignatureProvided=signature,
        StringToSignBytes=to_sign.encode("latin-1").hex(" "),
        CanonicalRequest=canonical_text,
        CanonicalRequestBytes=canonical_text.encode("latin-1").hex(" "),
    )
