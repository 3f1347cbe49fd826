"""SigV4's canonical request against botocore's, and what botocore signs is accepted while any other method with it is not."""

import re
import time
from typing import Any

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from fasterstore.s3 import canonical
from fasterstore.s3.auth_result import RegionRule
from fasterstore.s3.errors import S3Error
from fasterstore.s3.sigv4 import Verifier

DICTIONARY = [b"%2F", b"/../", b"//", b"+", b"=", b"&", b"~", b"  ", b"\t", b"\xc3\xa4", b"list-type", b"\x00"]
METHODS = ("GET", "PUT", "POST", "DELETE", "HEAD")
_PARTS = 7
_UNSAFE = re.compile(r"[^\x21-\x7e\t ]")
_AUTH = S3SigV4Auth(Credentials("key", "a-secret-for-fuzzing"), "s3", "us-east-1")
_VERIFIER = Verifier({"key": "a-secret-for-fuzzing"}.get, RegionRule())


def seeds() -> list[bytes]:
    """Parts between NULs: method, key, query names and values, a header's value, a second one's."""
    return [
        b"\x00key\x00\x00\x00\x00\x00\x00",
        b"\x00key\x00\x00\x00\x00\x00a b c\x00 d e ",
        b"\x01docs/\xc3\xa4 b+c\x00prefix\x00a/b c\x00delimiter\x00/\x00one  two\x00 x ",
        b"\x02a//b/../c%2F~\x00uploads\x00\x00x-id\x00PutObject\x00\ttab\x00",
    ]


def one_input(data: bytes) -> None:
    """Canonicalise and sign both ways. Raises: anything, on a finding."""
    if not data:
        return
    method = METHODS[data[0] % len(METHODS)]
    parts = (data[1:].split(b"\x00") + [b""] * _PARTS)[:_PARTS]
    key = parts[0] or b"k"
    pairs = [(_text(parts[1]), _text(parts[2])), (_text(parts[3]), _text(parts[4]))]
    pairs = [(name, value) for name, value in pairs if name]
    # Blanks around and inside values are what the two might see differently; other control characters no head lets through.
    values = [_UNSAFE.sub("", part.decode("latin-1")) for part in parts[5:7]]
    path, query = canonical.encode_path("box", key), canonical.encode_query(pairs)
    request = AWSRequest(method, f"http://host:9000{path}", headers={"Host": "host:9000"}, params=pairs)
    for number, value in enumerate(values):
        request.headers[f"x-amz-meta-{number}"] = value
    _AUTH.add_auth(request)
    headers = {name.lower(): value for name, value in request.headers.items()}
    del request.headers["Authorization"]
    theirs = _AUTH.canonical_request(request)
    names = sorted(name for name in headers if name != "authorization")
    ours = canonical.canonical_request(
        method,
        canonical.canonical_path(path),
        canonical.join_sorted(canonical.encode_pairs_again(canonical.query_pairs(query))),
        canonical.canonical_headers(names, headers),
        ";".join(names),
        headers["x-amz-content-sha256"],
    )
    assert ours == theirs, (ours, theirs)
    result = _VERIFIER.verify_header(method, path, query, headers, time.time())
    assert result.access_key == "key"
    _refused(METHODS[(data[0] + 1) % len(METHODS)], path, query, headers)
    _refused(method, path + "x", query, headers)
    _refused(method, path, f"{query}&x=1" if query else "x=1", headers)


def _refused(method: str, path: str, query: str, headers: dict[str, Any]) -> None:
    try:
        _VERIFIER.verify_header(method, path, query, headers, time.time())
    except S3Error as error:
        assert error.code == "SignatureDoesNotMatch", error
    else:
        raise AssertionError("another request was accepted with the same signature")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "ignore")


def plant() -> None:
    """Runs of blanks inside a value stay."""
    canonical._BLANKS = re.compile(r"\t+")
