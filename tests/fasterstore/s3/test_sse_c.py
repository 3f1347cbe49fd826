"""The headers of SSE-C: three that must be there and agree, refusals that show nothing of a key."""

from base64 import b64encode
from itertools import combinations

import pytest

from fasterstore.s3.errors import S3Error
from fasterstore.s3.sse_c import SOURCE, TARGET, brings_key, hide_keys, key_headers, parse_customer_key, refuse_two_methods
from tests.customer_keys import A, B, bring, told


def lower(headers):
    return {name.lower(): value for name, value in headers.items()}


@pytest.mark.parametrize("prefix", [TARGET, SOURCE])
def test_all_three_headers_bring_a_key(prefix):
    headers = lower(bring(A, prefix))
    key = parse_customer_key(headers, prefix)
    assert brings_key(headers, prefix)
    assert {name.lower(): value for name, value in key_headers(key)} == told(A)


@pytest.mark.parametrize("prefix", [TARGET, SOURCE])
def test_fewer_than_three_are_refused_by_what_is_missing(prefix):
    whole = lower(bring(A, prefix))
    for count in (1, 2):
        for names in combinations(whole, count):
            headers = {name: whole[name] for name in names}
            assert brings_key(headers, prefix)
            with pytest.raises(S3Error) as refused:
                parse_customer_key(headers, prefix)
            assert refused.value.code == "InvalidArgument"
            assert refused.value.extra["ArgumentName"].lower() in set(whole) - set(names)


def test_no_header_or_one_of_the_other_object_brings_nothing():
    assert not brings_key({"x-amz-server-side-encryption": "AES256"})
    assert not brings_key(lower(bring(A, SOURCE)), TARGET)
    assert not brings_key(lower(bring(A, TARGET)), SOURCE)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"algorithm": "AES128"}, "InvalidEncryptionAlgorithmError"),
        ({"algorithm": "aes256"}, "InvalidEncryptionAlgorithmError"),
        ({"key": "no base64 at all!"}, "InvalidArgument"),
        ({"key": ""}, "InvalidArgument"),
        ({"key": b64encode(A[:31]).decode()}, "InvalidArgument"),
        ({"key": b64encode(A + b"x").decode()}, "InvalidArgument"),
        ({"key-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}, "InvalidArgument"),
        ({"key-md5": ""}, "InvalidArgument"),
        ({"key-md5": "\u00e9\u20ac"}, "InvalidArgument"),
        ({"key-md5": bring(B)[f"{TARGET}key-MD5"]}, "InvalidArgument"),
    ],
)
def test_what_is_wrong_is_refused_without_showing_it(change, code):
    headers = lower(bring(A)) | {f"{TARGET}{name}": value for name, value in change.items()}
    with pytest.raises(S3Error) as refused:
        parse_customer_key(headers)
    assert (refused.value.code, refused.value.status) == (code, 400)
    shown = f"{refused.value} {refused.value.extra} {refused.value!r}"
    assert all(value not in shown for name, value in headers.items() if value and name != f"{TARGET}algorithm")


def test_two_ways_of_encryption_are_refused():
    refuse_two_methods(lower(bring(A)))
    with pytest.raises(S3Error) as refused:
        refuse_two_methods({"x-amz-server-side-encryption": "aws:kms"})
    assert refused.value.code == "InvalidArgument"


def test_keys_are_hidden_in_what_a_signature_covers():
    secret = bring(A)[f"{TARGET}key"]
    canonical = f"PUT\n/box/k\n\nhost:h\n{TARGET}algorithm:AES256\n{TARGET}key:{secret}\n{TARGET}key-md5:abc==\n\nhost"
    hidden = hide_keys(canonical)
    assert secret not in hidden
    assert hidden == canonical.replace(secret, "(not shown)")
    source = f"{SOURCE}key:{secret}\nnext:1"
    assert hide_keys(source) == f"{SOURCE}key:(not shown)\nnext:1"
    query = "A=1&X-Amz-Server-Side-Encryption-Customer-Key=pO3u%2BlE%3D&X-Amz-Server-Side-Encryption-Customer-Key-MD5=abc&z=2"
    assert hide_keys(query) == query.replace("pO3u%2BlE%3D", "(not shown)")
    assert hide_keys("GET\n/box/k\n\nhost:h\n") == "GET\n/box/k\n\nhost:h\n"
