"""What objects of many parts cost: `python -m scripts.measure.manifests [--parts 10000] [--complete 1000] [--check]`.

Two measurements, each on a temporary data dir. First the real storage actors alone, with an object of --parts parts, each of them a record
of its own: for how long completing it, copying it, deleting it, and letting its parts go hold the journal at a time. A hold is the time of
one batch with one such request in it, without the WAL's fdatasync, which is the disk's and not the request's; every other request waits
for so long. Then a node over HTTP: CompleteMultipartUpload of --complete parts, from the first byte sent to the answer read.

Prints one JSON line. With --check it ends with 1 if a hold is above 5 ms or the median Complete above 20 ms.
"""

import argparse
import hashlib
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from blake3 import blake3

from actors import messages as m
from actors.directory import Directory
from actors.runtime import sleep
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.upload_schema import pack_map
from fasterstore.model import CompleteIntent, CopyIntent, DeleteIntent, ManifestNumber, PutIntent, UploadIntent
from fasterstore.storage.datadir import open_datadir
from fasterstore.storage.disk import RealDisk
from scripts.measure.fdatasync import fdatasync_ms
from scripts.measure.servers import Node
from tools.client import Client
from tools.percentiles import percentile
from tools.storage_actors import StorageActors

HOLD_MAX_MS = 5.0
COMPLETE_MAX_MS = 20.0
BUCKET, KEY = "bucket", b"object"
BODY_BYTES = 1000
PART_BYTES = 5 << 20
ASKS_AT_ONCE = 256
"""Asks that are sent before their answers are read, while the parts are made."""
RELEASED_WITHIN_SECS = 120

Row = dict[str, Any]


class Batches:
    """Given to the journal as its observer: when each batch that wrote something ended, and how long its fdatasync took."""

    def __init__(self) -> None:
        self.ended: list[tuple[float, float]] = []

    def batch(self, requests: int, write_secs: float, sync_secs: float) -> None:
        """See `actors.metadata_journal.Observe`."""
        self.ended.append((perf_counter(), sync_secs))


class Engine:
    """The storage actors on a data dir of their own, without a web worker. What is released goes at once."""

    def __init__(self, folder: Path) -> None:
        disk = RealDisk()
        self._datadir = open_datadir(disk, str(folder), os.urandom)
        directory = Directory()
        self.batches = Batches()
        self._actors = StorageActors(
            disk, self._datadir, directory, segment_target_bytes=64 << 20, min_free_bytes=0, checkpoint_interval_secs=3600,
            read_grace_secs=0, fatal=_fatal, now_ms=lambda: int(time.time() * 1000), observe=self.batches,
        )  # fmt: skip
        for _ in self._actors.start():
            pass
        self.view = IndexView(self._datadir.index_path)
        self._journal, self._writer = directory.get("metadata-journal"), directory.get("segment-writer")

    def stop(self) -> None:
        """Stop the actors."""
        self._actors.stop()
        self.view.close()

    def ask(self, message: Any) -> Any:
        """Ask the journal. Raises RuntimeError for a refusal."""
        return _accepted(self._journal.ask(message))

    def held_ms(self, message: Any) -> float:
        """Ask the journal, alone; for how long it was held by that."""
        before = len(self.batches.ended)
        started = perf_counter()
        self.ask(message)
        secs = perf_counter() - started
        return (secs - sum(sync for _, sync in self.batches.ended[before:])) * 1000

    def make_parts(self, upload: ManifestNumber, parts: int) -> list[str]:
        """Upload `parts` different parts; their ETags."""
        etags = []
        for first in range(0, parts, ASKS_AT_ONCE):
            replies = []
            for number in range(first + 1, min(first + ASKS_AT_ONCE, parts) + 1):
                body = os.urandom(BODY_BYTES)
                etags.append(hashlib.md5(body, usedforsecurity=False).hexdigest())
                intent = PutIntent(BUCKET, KEY, BODY_BYTES, etags[-1], {}, {}, {}, upload=upload, part=number)
                blob_id = blake3(body, key=self._datadir.blob_key).digest()
                replies.append(self._writer.ask(m.PutObject(intent, blob_id, body), block=False))
            for reply in replies:
                _accepted(reply.get())
        return etags

    def holds_of_release_ms(self, number: ManifestNumber) -> list[float]:
        """Wait until the journal has let every part of `number` go, slice by slice; how long each slice held it.

        The slices follow one another, so the time between the ends of two batches is one slice's; the first one's began at a tick.
        """
        before = len(self.batches.ended)
        deadline = perf_counter() + RELEASED_WITHIN_SECS
        while self.view.uploads.manifest(number) is not None:
            if perf_counter() > deadline:
                raise RuntimeError("the parts were not released in time")
            sleep(0.05)
        ended = self.batches.ended[before:]
        return [(end - ended[place][0] - sync) * 1000 for place, (end, sync) in enumerate(ended[1:])]


def _fatal(reason: str, suspect: bool) -> None:
    raise SystemExit(f"the storage actors gave up: {reason}")


def _accepted(answer: Any) -> Any:
    if isinstance(answer, m.Refused):
        raise RuntimeError(f"{answer.error}: {answer.detail}")
    return answer


def journal_holds(folder: Path, parts: int, rounds: int) -> Row:
    """The figures of the actors alone, in milliseconds: for each kind of request the median and the longest hold."""
    engine = Engine(folder)
    try:
        engine.ask(m.CreateBucket(BUCKET))
        upload: ManifestNumber = engine.ask(m.CreateUpload(UploadIntent(BUCKET, KEY, "0" * 32, {}, {}, {}, "", "", ""))).number
        engine.make_parts(upload, parts)
        found = engine.view.bucket(BUCKET)
        row = None if found is None else engine.view.uploads.upload(found.bucket_id, KEY, upload)
        if row is None:
            raise RuntimeError("the upload is gone")
        # So that no checkpoint of SQLite's log, which comes with every 16 MiB of it whoever writes them, falls into a measurement.
        engine.ask(m.Checkpoint())
        etag = f"{'0' * 32}-{parts}"
        part_map = pack_map([(number, BODY_BYTES) for number in range(1, parts + 1)])
        holds = {"complete": [engine.held_ms(m.CompleteUpload(CompleteIntent(BUCKET, KEY, upload, row.version, part_map, etag, {})))]}
        source = engine.view.locate(BUCKET, KEY).object
        assert source is not None
        copies = [b"copy-%d" % number for number in range(rounds)]
        holds["copy"] = [engine.held_ms(m.CopyObject(_copy(key, parts, etag, source.stamp))) for key in copies]
        holds["delete"] = [engine.held_ms(m.DeleteObject(BUCKET, DeleteIntent(key))) for key in (*copies, KEY)]
        holds["release"] = engine.holds_of_release_ms(upload)
    finally:
        engine.stop()
    return {"parts": parts, **{f"{name}_hold_{key}": value for name, values in holds.items() for key, value in _spread(values).items()}}


def _copy(key: bytes, parts: int, etag: str, stamp: int) -> CopyIntent:
    return CopyIntent(PutIntent(BUCKET, key, parts * BODY_BYTES, etag, {}, {}, {}), BUCKET, KEY, stamp)


def _spread(values: Iterable[float]) -> dict[str, float]:
    found = sorted(values)
    return {name: round(value, 2) for name, value in (("p50_ms", median(found)), ("p99_ms", percentile(found, 99)), ("max_ms", found[-1]))}


def completes(folder: Path, parts: int, rounds: int) -> Row:
    """CompleteMultipartUpload over HTTP: its parts are copies of one object of 5 MiB, which move nothing."""
    folder.mkdir()
    node = Node(folder)
    node.start()
    try:
        with Client(node.endpoint, node.access_key, node.secret_key) as client:
            client.create_bucket(BUCKET)
            client.put(BUCKET, "source", os.urandom(PART_BYTES))
            secs = [_complete_secs(client, f"object-{number}", parts) for number in range(rounds)]
    finally:
        node.stop()
    return {"completed_parts": parts, **{f"complete_http_{name}": value for name, value in _spread(value * 1000 for value in secs).items()}}


def _complete_secs(client: Client, key: str, parts: int) -> float:
    upload = _element(client.request("POST", BUCKET, key, [("uploads", "")]).text, "UploadId")
    items = []
    for number in range(1, parts + 1):
        query = [("partNumber", str(number)), ("uploadId", upload)]
        copied = client.request("PUT", BUCKET, key, query, {"x-amz-copy-source": f"/{BUCKET}/source"})
        items.append(f"<Part><PartNumber>{number}</PartNumber><ETag>{_element(copied.text, 'ETag')}</ETag></Part>")
    document = f"<CompleteMultipartUpload>{''.join(items)}</CompleteMultipartUpload>".encode()
    started = perf_counter()
    completed = client.request("POST", BUCKET, key, [("uploadId", upload)], body=document)
    secs = perf_counter() - started
    _element(completed.text, "Location")
    return secs


def _element(document: str, name: str) -> str:
    found = re.search(f"<{name}>([^<]*)</{name}>", document)
    if found is None:
        raise RuntimeError(f"no {name} in {document}")
    return found[1]


def failures(row: Row) -> list[str]:
    """What is above its limit, in words."""
    found = [f"{name}: {value} ms" for name, value in row.items() if name.endswith("_hold_max_ms") and value > HOLD_MAX_MS]
    if row["complete_http_p50_ms"] > COMPLETE_MAX_MS:
        found.append(f"complete_http_p50_ms: {row['complete_http_p50_ms']} ms")
    return found


def measure(folder: Path, parts: int, complete: int, rounds: int) -> Row:
    """All figures by name."""
    steps: tuple[Callable[[], Row], ...] = (
        lambda: {name: value for name, value in fdatasync_ms(str(folder), 100).items() if "append" in name},
        lambda: journal_holds(folder / "actors", parts, rounds),
        lambda: completes(folder / "node", complete, rounds),
    )
    row: Row = {}
    for step in steps:
        row |= step()
    return row


def main() -> None:
    """Parse the arguments, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, default=10_000, help="of the object that is copied and deleted")
    parser.add_argument("--complete", type=int, default=1_000, help="parts of the uploads that are completed over HTTP")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--folder", default=".", help="where the temporary data dirs are made")
    parser.add_argument("--check", action="store_true", help="end with 1 if a figure is above its limit")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="measure-", dir=arguments.folder) as folder:
        row = measure(Path(folder).resolve(), arguments.parts, arguments.complete, arguments.rounds)
    print(json.dumps(row))
    found = failures(row)
    for line in found:
        print(line, file=sys.stderr)
    if arguments.check and found:
        sys.exit(1)


if __name__ == "__main__":
    main()
