"""The verb `bench`: closed-loop load on any S3 endpoint, PUT, then GET, then DELETE of the same objects, with latency percentiles.

FS_CONCURRENCY threads send one signed request at a time over a connection each. Bodies differ, so that no store can keep one for
all, and every GET is compared with what was put. This client takes CPU time of the machine it runs on, some 0.2 ms a request: next
to a node on the same machine it is often the slower side (`scripts/measure/presigned_load.py` shows the node's own limit).
Objects lie below a prefix of this run and are deleted by it; nothing else in the bucket is touched.
"""

import hashlib
import http.client
import os
import re
import secrets
import ssl
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from time import perf_counter, time
from typing import NamedTuple
from urllib.parse import urlsplit

import click
import requests

from fasterstore import settings
from fasterstore.s3 import canonical, signer
from tools import fdatasync_probe
from tools.client import Client, ResponseError
from tools.endpoint import endpoint_of
from tools.percentiles import percentile

EXIT_ERRORS, EXIT_WRONG_SETTING, EXIT_INTERRUPTED = 1, 2, 130
PIECE_BYTES = 1 << 20
MARK_BYTES = 16
_TIMEOUT_SECS = 60.0
_ERROR_CODE = re.compile(rb"<Code>(\w{1,64})</Code>")
_PROGRESS_INTERVAL_SECS = 0.1
_REFUSED_FROM = 300


class Plan(NamedTuple):
    """What to do: `objects` of `size_bytes` each, by `concurrency` threads. `ca_cert` as in `tools/endpoint.py`."""

    endpoint: str
    credentials: signer.Credentials
    bucket: str
    objects: int
    size_bytes: int
    concurrency: int
    ca_cert: str | None


class Bodies:
    """The bodies of one run: each starts with a mark of its own; what follows is random and the same for all, so it costs nothing."""

    def __init__(self, size_bytes: int) -> None:
        self.size_bytes = size_bytes
        self._run = os.urandom(MARK_BYTES - 8)
        self._filler = os.urandom(min(size_bytes, PIECE_BYTES))

    def pieces(self, index: int) -> Iterator[bytes]:
        """Body number `index` in pieces of at most PIECE_BYTES; a body shorter than the mark keeps the mark's end, which counts."""
        mark = (self._run + index.to_bytes(8, "big"))[max(MARK_BYTES - self.size_bytes, 0) :]
        left = self.size_bytes
        if left <= PIECE_BYTES:
            yield mark + self._filler[len(mark) : left]
            return
        yield mark + self._filler[len(mark) :]
        for start in range(PIECE_BYTES, left, PIECE_BYTES):
            yield self._filler[: left - start]


class Requester:
    """One connection and what happened on it: seconds of each good request, errors by code, indices that succeeded."""

    def __init__(self, plan: Plan, prefix: str, bodies: Bodies) -> None:
        parts = urlsplit(plan.endpoint)
        self._host = parts.netloc
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=plan.ca_cert)
            self._connection: http.client.HTTPConnection = http.client.HTTPSConnection(parts.netloc, timeout=_TIMEOUT_SECS, context=context)
        else:
            self._connection = http.client.HTTPConnection(parts.netloc, timeout=_TIMEOUT_SECS)
        self._plan = plan
        self._prefix = prefix
        self._bodies = bodies
        self.begin()

    def begin(self) -> None:
        """Forget the last phase's outcome; the connection stays."""
        self.latencies_secs: list[float] = []
        self.errors: Counter[str] = Counter()
        self.succeeded: list[int] = []

    @property
    def finished(self) -> int:
        """Requests ended in this phase, well or not."""
        return len(self.latencies_secs) + self.errors.total()

    def work(self, method: str, indices: Iterator[int], stop: threading.Event) -> None:
        """Send one request after another until `indices`, which all threads share, runs out."""
        for index in indices:
            started = perf_counter()
            try:
                error = self._send(method, index)
            except (OSError, http.client.HTTPException) as failure:
                self._connection.close()
                error = type(failure).__name__
            if error:
                self.errors[error] += 1
            else:
                self.latencies_secs.append(perf_counter() - started)
                self.succeeded.append(index)
            if stop.is_set():
                return

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _send(self, method: str, index: int) -> str:
        """One request; its error, empty if all is well."""
        path = canonical.encode_path(self._plan.bucket, f"{self._prefix}{index:08d}".encode())
        headers = {"host": self._host}
        body: bytes | Iterator[bytes] | None = None
        payload_hash = canonical.EMPTY_SHA256
        if method == "PUT":
            body = self._bodies.pieces(index)
            payload_hash = canonical.UNSIGNED_PAYLOAD
            if self._bodies.size_bytes <= PIECE_BYTES:
                body = next(body)
                payload_hash = hashlib.sha256(body).hexdigest()
            headers["content-length"] = str(self._bodies.size_bytes)
        added, _ = signer.sign_v4_headers(method, path, "", headers, payload_hash, self._plan.credentials, int(time()))
        self._connection.request(method, path, body, headers | added)
        response = self._connection.getresponse()
        if response.status >= _REFUSED_FROM:
            code = _ERROR_CODE.search(response.read())
            return f"{response.status} {code[1].decode() if code else response.reason}"
        if method == "GET":
            for piece in chain(self._bodies.pieces(index), (b"",)):
                if response.read(len(piece) or 1) != piece:
                    self._connection.close()
                    return "WrongBody"
        response.read()
        return ""


class Outcome(NamedTuple):
    """What a phase came to. `latencies_secs` of the good requests, ascending; `indices` of the objects that went well."""

    method: str
    secs: float
    latencies_secs: list[float]
    errors: Counter[str]
    indices: list[int]


def main(environ: Mapping[str, str]) -> int:
    """Put the load on and print what came of it.

    Args:
        environ: FS_ENDPOINT, FS_BUCKET, FS_OBJECTS, FS_SIZE_BYTES, FS_CONCURRENCY, FS_CA_CERT, and the node's own names
            for keys and region.

    Returns:
        0; 1 if any request failed or nothing answers; 2 if a setting is wrong; 130 if interrupted.
    """
    try:
        plan = _plan(environ)
        client = Client(
            plan.endpoint, *plan.credentials[:2], region=plan.credentials.region, timeout_secs=_TIMEOUT_SECS, ca_cert=plan.ca_cert
        )
    except (settings.SettingsError, ValueError) as error:
        print(error, file=sys.stderr)
        return EXIT_WRONG_SETTING
    try:
        with client:
            _ensure_bucket(client, plan.bucket)
    except (requests.RequestException, ResponseError) as error:
        print(f"{plan.endpoint}: bucket {plan.bucket}: {_reason(error)}", file=sys.stderr)
        return EXIT_ERRORS
    print(f"{plan.endpoint}/{plan.bucket}: {plan.objects} objects of {plan.size_bytes} bytes, {plan.concurrency} at a time")
    if is_loopback(plan.endpoint):
        print(_fdatasync_line())
    return _run(plan)


def _plan(environ: Mapping[str, str]) -> Plan:
    keys = settings.load(environ)
    endpoint, ca_cert = endpoint_of(environ)
    return Plan(
        endpoint=endpoint,
        credentials=signer.Credentials(keys.access_key, keys.secret_key, keys.region),
        bucket=environ.get("FS_BUCKET") or "bench",
        objects=_whole(environ, "FS_OBJECTS", 2000, 1),
        size_bytes=_whole(environ, "FS_SIZE_BYTES", 4096, 0),
        concurrency=_whole(environ, "FS_CONCURRENCY", 128, 1),
        ca_cert=ca_cert,
    )


def _whole(environ: Mapping[str, str], name: str, default: int, low: int) -> int:
    text = environ.get(name) or str(default)
    if not text.isascii() or not text.isdigit() or int(text) < low:
        raise ValueError(f"{name}={text!r}: a whole number from {low} is allowed")
    return int(text)


def _ensure_bucket(client: Client, bucket: str) -> None:
    try:
        client.head(bucket)
    except ResponseError as error:
        if error.status != http.client.NOT_FOUND:
            raise
        client.create_bucket(bucket)


def _reason(error: requests.RequestException | ResponseError) -> str:
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not trusted; FS_CA_CERT names the file of whoever signed it"
    if not isinstance(error, ResponseError):
        return "no answer"
    # The answer to a HEAD has no body to take a code from.
    return str(error) if error.code else f"{error.status} {error.response.reason}"


def is_loopback(endpoint: str) -> bool:
    """Does the URL name this very machine, so that its disk is the endpoint's?"""
    host = urlsplit(endpoint).hostname or ""
    return host in ("localhost", "::1") or host.startswith("127.")


def _fdatasync_line() -> str:
    try:
        times = fdatasync_probe.measure(".")
    except OSError as error:
        return f"fdatasync of this machine: not measured ({error})"
    p50_ms, p99_ms = (percentile(times, percent) * 1000 for percent in (50, 99))
    return f"fdatasync of this machine (4 KiB appended in the current folder): p50 {p50_ms:.2f} ms, p99 {p99_ms:.2f} ms"


def _run(plan: Plan) -> int:
    prefix = f"bench-{secrets.token_hex(6)}/"
    bodies = Bodies(plan.size_bytes)
    requesters = [Requester(plan, prefix, bodies) for _ in range(min(plan.concurrency, plan.objects))]
    indices, failed = list(range(plan.objects)), False
    print(f"{'':6} {'requests':>9} {'errors':>7} {'per sec':>9} {'MB/s':>8} {'p50 ms':>9} {'p90 ms':>9} {'p99 ms':>9} {'max ms':>9}")
    stop = threading.Event()
    try:
        for method in ("PUT", "GET", "DELETE"):
            outcome = _phase(method, indices, requesters, stop)
            print(_line(outcome, plan.size_bytes), flush=True)
            for code, count in outcome.errors.most_common():
                print(f"       {count} x {code}")
            failed = failed or bool(outcome.errors)
            if method == "PUT":
                indices = sorted(outcome.indices)
    except KeyboardInterrupt:
        print(f"interrupted; objects below {plan.bucket}/{prefix} may be left", file=sys.stderr)
        return EXIT_INTERRUPTED
    finally:
        for requester in requesters:
            requester.close()
    print("MB = 2^20 bytes; latencies are those of requests without error")
    return EXIT_ERRORS if failed else 0


def _phase(method: str, indices: list[int], requesters: list[Requester], stop: threading.Event) -> Outcome:
    for requester in requesters:
        requester.begin()
    # One iterator over a list for all threads: taking the next item is a single step of the interpreter.
    shared = iter(indices)
    threads = [threading.Thread(target=one.work, args=(method, shared, stop), daemon=True) for one in requesters]
    started = perf_counter()
    for thread in threads:
        thread.start()
    try:
        _watch(method, len(indices), requesters, threads)
    except KeyboardInterrupt:
        stop.set()
        for thread in threads:
            thread.join(1.0)
        raise
    return Outcome(
        method,
        perf_counter() - started,
        sorted(chain.from_iterable(one.latencies_secs for one in requesters)),
        sum((one.errors for one in requesters), Counter()),
        list(chain.from_iterable(one.succeeded for one in requesters)),
    )


def _watch(method: str, total: int, requesters: list[Requester], threads: list[threading.Thread]) -> None:
    """Wait for the threads; on a terminal with a progress bar."""
    if not sys.stderr.isatty():
        for thread in threads:
            thread.join()
        return
    with click.progressbar(length=total, label=f"{method:6}", file=sys.stderr) as bar:
        for thread in threads:
            while thread.is_alive():
                thread.join(_PROGRESS_INTERVAL_SECS)
                bar.update(sum(one.finished for one in requesters) - bar.pos)


def _line(outcome: Outcome, size_bytes: int) -> str:
    good, bad = len(outcome.latencies_secs), outcome.errors.total()
    rate = good / outcome.secs
    # A DELETE moves no body.
    mb_per_sec = "-" if outcome.method == "DELETE" else f"{rate * size_bytes / (1 << 20):.1f}"
    line = f"{outcome.method:6} {good + bad:>9} {bad:>7} {rate:>9.0f} {mb_per_sec:>8}"
    if not good:
        return line + f" {'-':>9}" * 4
    return line + "".join(f" {percentile(outcome.latencies_secs, percent) * 1000:>9.2f}" for percent in (50, 90, 99, 100))
