"""The proof of a call between nodes: what it is made of, and that nothing of the call can be another."""

import hmac
from hashlib import sha256

import pytest

from fasterstore import internal_signing as signing
from fasterstore.internal_signing import Call

TOKEN = "a-token-of-our-own"
BODY = sha256(b"body").hexdigest()
CALL = Call("POST", "/_internal/replicate/object", "a=1&source=http%3A%2F%2Fa%3A9000", BODY)
NOW = 1_750_000_000


def test_a_proof_is_the_hmac_of_the_five_lines():
    lines = f"POST\n/_internal/replicate/object\na=1&source=http%3A%2F%2Fa%3A9000\n1750000000\n{BODY}"
    assert signing.sign(TOKEN, CALL, NOW) == f"v1:1750000000:{hmac.new(TOKEN.encode(), lines.encode(), sha256).hexdigest()}"


def test_a_proof_is_what_it_was_on_the_day_it_was_first_written():
    call = Call("GET", "/_internal/replicate/status", "", signing.EMPTY_SHA256)
    assert signing.sign("secret-token", call, 1) == "v1:1:357d37bf677cdd2737cf29e13d7c7d698e21ba24c418b14349458f4598c80c4e"


@pytest.mark.parametrize("seconds", [-300, -1, 0, 1, 300])
def test_a_proof_holds_for_five_minutes_either_way(seconds):
    assert signing.refusal_of(TOKEN, signing.sign(TOKEN, CALL, NOW), CALL, NOW + seconds) == ""


@pytest.mark.parametrize("seconds", [-3600, -301, 300.5, 301, 86_400])
def test_an_older_or_later_one_is_a_replay_or_a_wrong_clock(seconds):
    assert signing.refusal_of(TOKEN, signing.sign(TOKEN, CALL, NOW), CALL, NOW + seconds) == "skewed"


@pytest.mark.parametrize(
    "other",
    [
        CALL._replace(method="GET"),
        CALL._replace(path="/_internal/replicate/delete"),
        CALL._replace(query="a=1&source=http%3A%2F%2Fb%3A9000"),
        CALL._replace(query=""),
        CALL._replace(query="a=1&source=http%3A%2F%2Fa%3A9000&a=2"),
        CALL._replace(body_sha256=sha256(b"other").hexdigest()),
        CALL._replace(body_sha256=signing.EMPTY_SHA256),
    ],
)
def test_nothing_of_the_call_may_be_another(other):
    assert signing.refusal_of(TOKEN, signing.sign(TOKEN, CALL, NOW), other, NOW) == "mismatch"


def test_another_token_or_time_proves_nothing():
    proof = signing.sign(TOKEN, CALL, NOW)
    assert signing.refusal_of("another-token", proof, CALL, NOW) == "mismatch"
    assert signing.refusal_of(TOKEN, proof.replace("1750000000", "1750000001"), CALL, NOW) == "mismatch"
    # Who does not know the token is not told what time it is here.
    assert signing.refusal_of("another-token", proof, CALL, NOW + 86_400) == "mismatch"


@pytest.mark.parametrize(
    "value",
    ["v1:", "v1::", "v1:1:", "v1:x:" + "0" * 64, "v1:-1:" + "0" * 64, "v1:1:" + "0" * 63, "v1:1:" + "0" * 65, "v1:1:" + "G" * 64,
     "v1:111111111111:" + "0" * 64, "v2:1:" + "0" * 64, "v1:\u0661:" + "0" * 64, "", TOKEN, "v1:1:" + "0" * 64 + "\n"],
)  # fmt: skip
def test_what_is_no_proof_is_malformed(value):
    assert signing.refusal_of(TOKEN, value, CALL, NOW) == "malformed"


def test_a_hash_that_is_none_is_malformed():
    for stated in ("", "UNSIGNED-PAYLOAD", BODY.upper()):
        call = CALL._replace(body_sha256=stated)
        assert signing.refusal_of(TOKEN, signing.sign(TOKEN, call, NOW), call, NOW) == "malformed"


def test_a_token_that_looks_like_a_proof_is_taken_for_one():
    assert signing.is_proof("v1:whatever")
    assert not signing.is_proof(TOKEN)
    assert signing.is_token(TOKEN, TOKEN)
    assert not signing.is_token(TOKEN, TOKEN + "x")
    assert not signing.is_token(TOKEN, "ä" * 18)
