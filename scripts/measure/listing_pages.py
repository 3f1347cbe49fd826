"""What a page of a list costs in a large bucket against a small one: `python -m scripts.measure.listing_pages [--scale 0.1] [--limit 1.3]`.

Two indexes are written directly, without a node: one for 1,000,000 keys in a bucket and one for 10,000 (times --scale). Each has two
buckets: `folders` with 1,000 folders that share the keys, and `beside` with all keys in one folder between 500 keys before and 500 behind
it. A page is what a web worker does for ListObjectsV2 with 1,000 entries: rows read, rolled up by `/`, rendered. The stores take turns,
so that whatever else the machine does meets both. Prints a JSON line for each kind of page and store, then the ratios of the medians.

Ends with 1 if --limit is given and a ratio is above it, or if a page reads more rows than its number of entries allows.
At a smaller scale the small store's folders hold so few keys that these are read through rather than passed by a seek, and the ratio of
`folders` is above what it is at full scale.
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

from fasterstore.metadata.index import IndexView
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.listing import FIRST_BATCH_ROWS, list_page
from fasterstore.model import BlobNumber, ObjectRow
from fasterstore.s3.listing_query import PAGE_MAX_KEYS, ListingQuery
from fasterstore.s3.listing_xml import render_list_objects_v2
from tools.percentiles import percentile

LARGE_KEYS, SMALL_KEYS = 1_000_000, 10_000
FOLDERS = 1_000
NEIGHBOURS = 500
ROWS_IN_A_BATCH = 10_000
FOLDERS_BUCKET, BESIDE_BUCKET = 1, 2
PAGES = ("keys", "folders", "beside")
ROWS_READ_MAX = FIRST_BATCH_ROWS + 2 * PAGE_MAX_KEYS
OBJECT = ObjectRow(
    BlobNumber(1), 4096, "d41d8cd98f00b204e9800998ecf8427e", 1_700_000_000_000, {"content-type": "application/octet-stream"}, {},
    {"CRC64NVME": "AAAAAAAAAAA="}, 1, b"N" * 16,
)  # fmt: skip

Row = dict[str, Any]


class Store(NamedTuple):
    """An index that is open for reading, and how many keys each of its buckets was given (neighbours aside)."""

    label: str
    view: IndexView
    keys: int


def bucket_keys(keys: int) -> Iterator[tuple[int, bytes]]:
    """(bucket id, key) of every object, in the order of the table."""
    for folder in range(FOLDERS):
        for child in range(max(keys // FOLDERS, 1)):
            yield FOLDERS_BUCKET, b"folder-%04d/%09d" % (folder, child)
    for name, count in ((b"a%04d", NEIGHBOURS), (b"m/%09d", keys), (b"z%04d", NEIGHBOURS)):
        for number in range(count):
            yield BESIDE_BUCKET, name % number


def seed(label: str, path: str, keys: int) -> Store:
    """Write the index at `path` and open it for reading."""
    writer = IndexWriter(path, b"L" * 16)
    rows = bucket_keys(keys)
    while batch := list(islice(rows, ROWS_IN_A_BATCH)):
        writer.begin()
        for bucket_id, key in batch:
            writer.put_object(bucket_id, key, OBJECT)
        writer.flush()
        writer.commit()
        writer.checkpoint()
    writer.close()
    return Store(label, IndexView(path), keys)


def one_page(store: Store, page: str, rng: random.Random) -> Row:
    """Read and render one page: its time in milliseconds, and what was read for it."""
    bucket_id = FOLDERS_BUCKET if page == "folders" else BESIDE_BUCKET
    query = ListingQuery("bucket", "m/" if page == "keys" else "", "/", PAGE_MAX_KEYS, "url")
    after = b"m/%09d" % rng.randrange(max(store.keys - PAGE_MAX_KEYS, 1)) if page == "keys" else b""
    reads: list[int] = []

    def read(key: bytes, limit: int) -> list[tuple[bytes, ObjectRow]]:
        rows = store.view.objects_from(bucket_id, key, limit)
        reads.append(len(rows))
        return rows

    started_at = perf_counter()
    found = list_page(read, query.prefix.encode(), query.delimiter.encode(), after, query.max_keys)
    render_list_objects_v2(query, found, None, None, False)
    elapsed_ms = (perf_counter() - started_at) * 1000
    return {"ms": elapsed_ms, "entries": len(found.objects) + len(found.common_prefixes), "rows_read": sum(reads), "reads": len(reads)}


def measure(stores: list[Store], rounds: int) -> Iterator[Row]:
    """A line for each kind of page and store; the stores take turns."""
    rng = random.Random(1)
    for page in PAGES:
        measured: dict[str, list[Row]] = {store.label: [] for store in stores}
        for _ in range(rounds):
            for store in stores:
                measured[store.label].append(one_page(store, page, rng))
        for store in stores:
            rows = measured[store.label]
            times = sorted(row["ms"] for row in rows)
            yield {
                "store": store.label,
                "keys": store.keys,
                "page": page,
                "entries": max(row["entries"] for row in rows),
                "rows_read": max(row["rows_read"] for row in rows),
                "reads": max(row["reads"] for row in rows),
                "p50_ms": round(percentile(times, 50), 3),
                "p99_ms": round(percentile(times, 99), 3),
            }


def ratios(lines: Iterable[Row]) -> Row:
    """For each kind of page the large store's median divided by the small one's, and the rows that the large one's page read."""
    summary: Row = {}
    by_place = {(line["page"], line["store"]): line for line in lines}
    for page in PAGES:
        small, large = by_place[page, "small"], by_place[page, "large"]
        summary[f"{page}_p50_ratio"] = round(large["p50_ms"] / small["p50_ms"], 2)
        summary[f"{page}_rows_read"] = large["rows_read"]
    return summary


def failures(summary: Row, limit: float | None) -> list[str]:
    """What is above a limit, in words."""
    found = []
    for page in PAGES:
        ratio, rows_read = summary[f"{page}_p50_ratio"], summary[f"{page}_rows_read"]
        if limit is not None and ratio > limit:
            found.append(f"{page}: {ratio} times the time of a small bucket; {limit} is allowed")
        if rows_read > ROWS_READ_MAX:
            found.append(f"{page}: {rows_read} rows read; {ROWS_READ_MAX} are allowed")
    return found


def main() -> int:
    """Parse the arguments, measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="times 1,000,000 and 10,000 keys in each bucket")
    parser.add_argument("--rounds", type=int, default=200, help="pages of each kind from each store")
    parser.add_argument("--limit", type=float, help="highest ratio of medians")
    parser.add_argument("--folder", default=".", help="where the temporary indexes are made (1 GB at full scale)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="measure-", dir=arguments.folder) as parent:
        stores = []
        for label, full in (("small", SMALL_KEYS), ("large", LARGE_KEYS)):
            started_at = perf_counter()
            stores.append(seed(label, str(Path(parent, f"{label}.db")), max(round(full * arguments.scale), 1)))
            rows = sum(1 for _ in bucket_keys(stores[-1].keys))
            print(json.dumps({"store": label, "rows": rows, "seeded_secs": round(perf_counter() - started_at, 1)}), flush=True)
        lines = []
        for line in measure(stores, arguments.rounds):
            lines.append(line)
            print(json.dumps(line), flush=True)
        for store in stores:
            store.view.close()
    summary = ratios(lines)
    print(json.dumps(summary))
    found = failures(summary, arguments.limit)
    for text in found:
        print(text, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
