"""Sends a case of the framing corpus to a node with a signed PUT behind it, and tells what came of both."""

import time
from typing import NamedTuple

from fasterstore.s3 import signer
from fasterstore.s3.canonical import STREAMING_UNSIGNED_TRAILER
from tests.framing_corpus import BROKEN_CHUNKS, MISMATCHED, REFUSED_HEADS
from tests.node import RunningNode
from tests.raw_connection import Answer, RawConnection, request_bytes, signed_request

REFUSALS = (400, 417, 501, 505)
SMUGGLED_KEY = "smuggled"
CORPUS = [
    *(f"head: {name}" for name in REFUSED_HEADS),
    *(f"chunks: {name}" for name in BROKEN_CHUNKS),
    *(f"aws-chunked {name}" for name in MISMATCHED),
]
ANSWERS_MAX = 2
"""One more than any case may get: no third is waited for."""
PIECES_MAX = 40


class Outcome(NamedTuple):
    """The final answers, and whether the connection was closed behind them, before the client had sent its end."""

    answers: list[Answer]
    closed: bool


def raw_case(node: RunningNode, bucket: str, name: str) -> bytes:
    """The bytes of one case: the ambiguous request, and directly behind it a request that would store SMUGGLED_KEY."""
    second = signed_request(node, "PUT", f"/{bucket}/{SMUGGLED_KEY}", body=b"smuggled")
    kind, _, rest = name.partition(" ")
    if kind == "head:":
        return REFUSED_HEADS[rest] + second
    if kind == "chunks:":
        return framed_put(node, bucket, {"transfer-encoding": "chunked"}, BROKEN_CHUNKS[rest]) + second
    body, beyond_bytes = MISMATCHED[rest]
    return framed_put(node, bucket, {"content-length": str(len(body) + beyond_bytes)}, body) + second


def framed_put(node: RunningNode, bucket: str, framing: dict[str, str], body: bytes) -> bytes:
    """A signed PUT of five bytes, aws-chunked, that would be stored if its body were right."""
    headers = {"host": f"{node.host}:{node.port}", "x-amz-decoded-content-length": "5"}
    path = f"/{bucket}/first"
    added, _ = signer.sign_v4_headers("PUT", path, "", headers, STREAMING_UNSIGNED_TRAILER, node.credentials, int(time.time()))
    return request_bytes("PUT", path, headers | added | framing, body)


def exchange(node: RunningNode, raw: bytes, *, in_pieces: bool = False, timeout_secs: float = 10.0) -> Outcome:
    """Send `raw` at once, or cut at line ends; read ANSWERS_MAX answers at most, fewer if the node closes or falls silent."""
    answers: list[Answer] = []
    with RawConnection(node, timeout_secs) as connection:
        try:
            for piece in _pieces(raw) if in_pieces else [raw]:
                connection.send(piece)
                if in_pieces:
                    time.sleep(0.001)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all of it was sent
        try:
            while len(answers) < ANSWERS_MAX:
                answer = connection.answer()
                if answer.status >= 200:
                    answers.append(answer)
        except (EOFError, ConnectionResetError):
            return Outcome(answers, True)
        except TimeoutError:
            pass
    return Outcome(answers, False)


def fault_of(outcome: Outcome) -> str:
    """What is wrong with the outcome of a case of the corpus, "" if nothing is."""
    statuses = [answer.status for answer in outcome.answers]
    if len(statuses) != 1:
        return f"{len(statuses)} answers: {statuses}"
    if statuses[0] not in REFUSALS:
        return f"accepted: {statuses[0]}"
    return "" if outcome.closed else "the connection stayed open"


def _pieces(raw: bytes) -> list[bytes]:
    """`raw` cut before and behind its first line ends, where a reader that looks at one piece at a time would go wrong."""
    pieces, start = [], 0
    for at, byte in enumerate(raw):
        if byte in b"\r\n" and at > start and len(pieces) < PIECES_MAX:
            pieces.append(raw[start:at])
            start = at
    return [*pieces, raw[start:]]
