"""The measurement of pages at a tiny scale: the pages are what they should be, and it can fail."""

import random

from scripts.measure import listing_pages


def test_pages_of_both_stores_are_full_and_read_the_same_rows(tmp_path) -> None:
    stores = [listing_pages.seed(label, str(tmp_path / f"{label}.db"), keys) for label, keys in (("small", 3_000), ("large", 12_000))]
    try:
        lines = list(listing_pages.measure(stores, 2))
        empty = listing_pages.one_page(stores[0]._replace(keys=10**9), "keys", random.Random(2))
    finally:
        for store in stores:
            store.view.close()
    assert [(line["page"], line["store"]) for line in lines] == [(page, store.label) for page in listing_pages.PAGES for store in stores]
    assert {line["entries"] for line in lines} == {1000}
    assert all(line["p99_ms"] >= line["p50_ms"] > 0 for line in lines)
    assert empty["entries"] == 0
    summary = listing_pages.ratios(lines)
    assert listing_pages.failures(summary, None) == []
    assert 1000 < summary["folders_rows_read"] <= listing_pages.ROWS_READ_MAX


def test_a_ratio_or_a_number_of_rows_above_its_limit_is_named() -> None:
    lines = [
        {"page": page, "store": store, "p50_ms": cost, "rows_read": rows}
        for store, cost, rows in (("small", 2.0, 1001), ("large", 3.0, 100_000))
        for page in listing_pages.PAGES
    ]
    summary = listing_pages.ratios(lines)
    assert summary["keys_p50_ratio"] == 1.5
    assert len(listing_pages.failures(summary, 1.4)) == 6
    assert len(listing_pages.failures(summary, 1.5)) == 3
