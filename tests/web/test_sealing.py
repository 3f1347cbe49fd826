"""A body that is sealed while it is read: the same bytes however it comes and is taken, and an end only once it was verified."""

import hashlib
import os
from base64 import b64encode
from io import BytesIO

import pytest

from fasterstore.customer_key import CustomerKey
from fasterstore.digests import Digests
from fasterstore.model import PutIntent
from fasterstore.s3.checksums import ChecksumRequest
from fasterstore.s3.errors import S3Error
from fasterstore.sealed_body import HEADER_BYTES, open_stream, plaintext_bytes_of, sealed_bytes
from tests.customer_keys import A
from web.body import BodyPlan
from web.body_memory import unbounded
from web.sealing import UNIT_BYTES, SealedInput

KEY = CustomerKey(A)
SIZES = [1, 65_536, 65_537, UNIT_BYTES - 1, UNIT_BYTES, UNIT_BYTES + 1, 3 * UNIT_BYTES + 7]


class FakeRequest:
    """What a BodyReader needs of a request."""

    def __init__(self, body):
        self.input = body
        self.bytes_in = 0
        self.account = unbounded()


class Dripping(BytesIO):
    """A body that comes in pieces of odd sizes."""

    def readinto(self, buffer):
        return super().readinto(memoryview(buffer)[:7001])


def plan_of(body, checksums=None):
    return BodyPlan(len(body), "UNSIGNED-PAYLOAD", None, False, False, checksums or ChecksumRequest())


def opened(sealed):
    stream = open_stream(sealed[:HEADER_BYTES], KEY, plaintext_bytes_of(len(sealed)))
    return bytes(stream.open_chunks(0, sealed[HEADER_BYTES:]))


def by_read(source, piece):
    return b"".join(iter(lambda: source.read(piece), b""))


def by_readinto(source, piece):
    buffer, taken = bytearray(piece), bytearray()
    while count := source.readinto(memoryview(buffer)):
        taken += buffer[:count]
    return bytes(taken)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("taken", [by_read, by_readinto])
@pytest.mark.parametrize("body_class", [BytesIO, Dripping])
def test_the_sealed_bytes_are_the_same_however_they_are_taken(size, taken, body_class):
    body = os.urandom(size)
    for piece in (10_007, 1 << 20):
        source = SealedInput(FakeRequest(body_class(body)), plan_of(body), KEY)
        sealed = taken(source, piece)
        assert (len(sealed), opened(sealed)) == (sealed_bytes(size), body)
        assert (source.taken_bytes, source.read(), source.readinto(memoryview(bytearray(9)))) == (size, b"", 0)


def test_all_of_it_is_one_read():
    body = os.urandom(2 * UNIT_BYTES + 5)
    assert opened(SealedInput(FakeRequest(BytesIO(body)), plan_of(body), KEY).read()) == body
    assert opened(SealedInput(FakeRequest(BytesIO(body)), plan_of(body), KEY).read(sealed_bytes(len(body)))) == body


@pytest.mark.parametrize("size", SIZES)
def test_the_last_sealed_bytes_come_only_if_the_plaintext_is_what_was_said(size):
    body = os.urandom(size)
    right = ChecksumRequest(("SHA256",), {"SHA256": b64encode(hashlib.sha256(body).digest()).decode()}, (), hashlib.md5(body).hexdigest())
    source = SealedInput(FakeRequest(BytesIO(body)), plan_of(body, right), KEY)
    assert opened(source.read()) == body
    intent = source.named(PutIntent("b", b"k", size, "", {}, {}, {}), Digests("e" * 32, b"", None, {}))
    assert (intent.etag, intent.checksums) == ("e" * 32, right.expected)
    for wrong in (right._replace(md5_hex="0" * 32), right._replace(expected={"SHA256": b64encode(bytes(32)).decode()})):
        source = SealedInput(FakeRequest(BytesIO(body)), plan_of(body, wrong), KEY)
        taken = bytearray()
        with pytest.raises(S3Error) as refused:
            while piece := source.read(4096):
                taken += piece
        assert refused.value.code == "BadDigest"
        assert len(taken) < sealed_bytes(size)


def test_a_body_that_ends_early_is_refused():
    source = SealedInput(FakeRequest(BytesIO(b"short")), plan_of(bytes(6)), KEY)
    with pytest.raises(S3Error) as refused:
        source.read()
    assert refused.value.code == "IncompleteBody"
