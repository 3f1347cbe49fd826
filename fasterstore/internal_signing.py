"""How one node proves to another that it knows FS_INTERNAL_TOKEN without saying it.

`x-fs-internal-token: v1:<unix seconds>:<hex HMAC_SHA256(token, "<METHOD>\\n<PATH>\\n<QUERY>\\n<TIMESTAMP>\\n<BODY_SHA256>")>`, path and
query exactly as sent (the query without `?`, empty if there is none), the body's SHA-256 in lower-case hex as `x-fs-content-sha256`
states it. So the proof is judged before a byte of the body is read, and the body against its hash afterwards. No other header is
signed: none may mean anything. Holds 300 s either way; a replay within that time is the same request about the same state, and
changes nothing that the first one did not. The bare token is the other form, and the caller's to allow: it must not cross a network
in the clear. No clock, no sockets; never puts the token into a text.
"""

import re
from hashlib import sha256
from hmac import compare_digest
from hmac import digest as hmac_digest
from typing import NamedTuple

TOKEN_HEADER = "x-fs-internal-token"
HASH_HEADER = "x-fs-content-sha256"
SOURCE_PARAMETER = "source"
"""Name in every query between nodes: the sender's FS_ADVERTISE_ADDR, which thereby is signed."""
MAX_SKEW_SECS = 300
EMPTY_SHA256 = sha256(b"").hexdigest()

_PROOF = re.compile(r"v1:(\d{1,11}):([0-9a-f]{64})", re.ASCII)
_HASH = re.compile(r"[0-9a-f]{64}")


class Call(NamedTuple):
    """What is signed of a request: `path` and `query` as on the wire, `body_sha256` in lower-case hex."""

    method: str
    path: str
    query: str
    body_sha256: str


def sign(token: str, call: Call, now_secs: int) -> str:
    """The value of `x-fs-internal-token` for that call at that time (Unix seconds)."""
    return f"v1:{now_secs}:{_mac(token, call, str(now_secs))}"


def signed_headers(token: str, call: Call, now_secs: int) -> dict[str, str]:
    """The headers that a call between nodes carries."""
    return {TOKEN_HEADER: sign(token, call, now_secs), HASH_HEADER: call.body_sha256}


def is_proof(value: str) -> bool:
    """Has that header the signed form? A token of that very form is taken for a proof, and then is none."""
    return value[:3] == "v1:"


def refusal_of(token: str, value: str, call: Call, now_secs: float) -> str:
    """Why the proof `value` does not hold for `call`: "malformed", "skewed" or "mismatch"; "" if it does.

    "skewed" is said only of a proof that is genuine: a stranger learns nothing of this node's clock.
    """
    match = _PROOF.fullmatch(value)
    if match is None or _HASH.fullmatch(call.body_sha256) is None:
        return "malformed"
    if not compare_digest(_mac(token, call, match[1]).encode(), match[2].encode()):
        return "mismatch"
    return "skewed" if abs(now_secs - int(match[1])) > MAX_SKEW_SECS else ""


def is_token(token: str, value: str) -> bool:
    """Is that header the bare token? In constant time."""
    return compare_digest(value.encode("latin-1", "replace"), token.encode())


def _mac(token: str, call: Call, timestamp: str) -> str:
    to_sign = f"{call.method}\n{call.path}\n{call.query}\n{timestamp}\n{call.body_sha256}"
    return hmac_digest(token.encode(), to_sign.encode("latin-1", "replace"), "sha256").hex()
