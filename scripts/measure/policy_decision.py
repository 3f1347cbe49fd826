"""What deciding a request costs, in microseconds of processor time: nothing set, a plain policy, and one of ten statements.

`python -m scripts.measure.policy_decision [--rounds N]` prints one JSON object: the best of five runs of N decisions each. `question_us`
and `decide_*` are the two halves of a decision by the policy; `authorise_*` is the whole gate of a request, less reading the bucket's row.
"""

import argparse
import json
from collections.abc import Callable
from io import BytesIO
from time import process_time

from fasterstore.metadata.index import Located
from fasterstore.model import BucketId, BucketRow
from fasterstore.policy.bucket_access import BucketAccess
from fasterstore.policy.compiled import Verdict
from fasterstore.policy.question import Question
from fasterstore.s3.auth_result import AuthResult
from fasterstore.settings import load
from web.authorise import authorise
from web.context import Request
from web.worker import Worker

RUNS = 5
KEY = "docs/2026/report.pdf"
PLAIN = [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::box/docs/*"}]
TEN = [
    {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ["arn:aws:s3:::box", "arn:aws:s3:::box/*"],
     "Condition": {"Bool": {"aws:SecureTransport": "true"}, "IpAddress": {"aws:SourceIp": "198.51.100.0/24"}}},
    {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::box/*/secret/*"},
    {"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::box/*",
     "Condition": {"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}},
    *({"Effect": "Allow", "Principal": "*", "Action": "s3:Get*", "Resource": f"arn:aws:s3:::box/team-{number}/*"} for number in range(4)),
    {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::box/*",
     "Condition": {"StringLike": {"aws:Referer": "https://example.org/*"}}},
    {"Effect": "Allow", "Principal": "*", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::box/in/*"},
    {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::box/docs/*",
     "Condition": {"NotIpAddress": {"aws:SourceIp": ["198.51.100.0/24", "203.0.113.0/24"]}}},
]  # fmt: skip


class _Index:
    """Stands in for the index: what reading a row costs is measured elsewhere."""

    def __init__(self, settings: dict[str, bytes]) -> None:
        self._row = BucketRow(BucketId(1), "box", 0, settings, 1)

    def locate(self, bucket: str, key: bytes) -> Located:
        return Located(self._row, None, None, None)


def document(statements: list[dict]) -> bytes:
    """A policy of these statements."""
    return json.dumps({"Version": "2012-10-17", "Statement": statements}).encode()


def microseconds(call: Callable[[], object], rounds: int) -> float:
    """Processor time of one call: the best of RUNS runs of `rounds` calls."""
    times = []
    for _ in range(RUNS):
        started = process_time()
        for _ in range(rounds):
            call()
        times.append(process_time() - started)
    return round(min(times) / rounds * 1e6, 3)


def decision(statements: list[dict], rounds: int) -> tuple[float, float]:
    """(making the question, deciding it) for a stranger's GET that the last statement allows."""
    access = BucketAccess({"policy": document(statements)}, "owner-key")
    headers = {"host": "example.org", "referer": "https://example.com/", "user-agent": "curl/8"}

    def make() -> Question:
        return Question(
            "getobject", f"arn:aws:s3:::box/{KEY}", False, "GetObject", headers=headers, source_ip="192.0.2.7", now_ms=1_800_000_000_000
        )  # fmt: skip

    question = make()
    assert access.decide(question) is Verdict.ALLOWED
    return microseconds(make, rounds), microseconds(lambda: access.decide(question), rounds)


def gate(settings: dict[str, bytes], rounds: int) -> float:
    """The whole of `authorise` for the owner's GET, less what looking its key up costs by itself."""
    worker = Worker(
        settings=load({"FS_ACCESS_KEY": "owner-key", "FS_SECRET_KEY": "owners-own-secret"}, cores=1),
        directory=None,  # type: ignore[arg-type]
        disk=None,  # type: ignore[arg-type]
        segments_dir="",
        blob_key=bytes(32),
        now_ms=lambda: 1_800_000_000_000,
    )
    worker.index = _Index(settings)  # type: ignore[assignment]
    environ = {"REQUEST_METHOD": "GET", "REQUEST_URI": f"/box/{KEY}", "fs.headers": {}, "fs.peer": ("192.0.2.7", 1)}
    request = Request({**environ, "wsgi.input": BytesIO()}, "ID", 0.0)
    request.split_resource()
    request.action, request.identity = "GetObject", AuthResult("sigv4", "owner-key", "UNSIGNED-PAYLOAD")

    def looked_up() -> None:
        request.located = worker.reader().locate("box", b"k")

    def authorised() -> None:
        looked_up()
        authorise(worker, request)

    return max(microseconds(authorised, rounds) - microseconds(looked_up, rounds), 0.0)


def measure(rounds: int) -> dict[str, float]:
    """All figures, in microseconds."""
    question, plain = decision(PLAIN, rounds)
    _, ten = decision(TEN, rounds)
    deny = [{"Effect": "Deny", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::box/secret/*"}]
    return {
        "question_us": question,
        "decide_plain_us": plain,
        "decide_ten_statements_us": ten,
        "authorise_owner_without_settings_us": round(gate({}, rounds), 3),
        "authorise_owner_with_policy_us": round(gate({"policy": document(deny)}, rounds), 3),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50_000)
    print(json.dumps(measure(parser.parse_args().rounds)))


if __name__ == "__main__":
    main()
