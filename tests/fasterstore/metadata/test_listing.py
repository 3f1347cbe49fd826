"""Pages of keys: the same as a naive model gives, and never more rows read than a page's size allows."""

from bisect import bisect_left
from itertools import product
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasterstore.metadata.index import IndexView
from fasterstore.metadata.index_writer import IndexWriter
from fasterstore.metadata.listing import FIRST_BATCH_ROWS, Page, list_page, successor
from fasterstore.model import ObjectRow

PIECES = [b"a", b"b", b"ab", b"/", b"\x00", b"\xff", "\u00e9".encode(), "\U0010ffff".encode()]
SHORT = {b"".join(pieces) for length in (1, 2, 3) for pieces in product(PIECES, repeat=length)}
LONG = {b"".join(Random(number).choices(PIECES[:5], k=6)) for number in range(200)}
ODD_KEYS = sorted(SHORT | LONG)
"""Keys that are prefixes of each other, that hold a delimiter several times, or that are all 0xff and have no successor."""
ROW = ObjectRow(0, 0, "e" * 32, 1000, {}, {}, {}, 1, b"N" * 16)

few = st.lists(st.sampled_from(ODD_KEYS), max_size=12, unique=True)
many = st.integers(0, 2 ** len(ODD_KEYS) - 1).map(lambda mask: [key for number, key in enumerate(ODD_KEYS) if mask >> number & 1])
keys_of_a_bucket = st.one_of(few, many)
names = st.one_of(st.just(b""), st.sampled_from(PIECES), st.sampled_from(ODD_KEYS))
delimiters = st.one_of(st.sampled_from([b"", b"/", b"/"]), st.sampled_from(PIECES), st.sampled_from(ODD_KEYS))
positions = st.one_of(names, st.integers(0, 1000))
limits = st.one_of(st.integers(0, 5), st.sampled_from([63, 64, 65, 1000]))


def cases(number):
    """The same cases in every run: a difference is found by whoever makes it."""
    return settings(max_examples=number, deadline=None, derandomize=True, database=None)


class Keys:
    """The reading interface over keys in memory: any sorted sequence of bytes. Counts what is read."""

    def __init__(self, keys):
        self._keys = keys
        self.reads = self.rows = 0

    def __call__(self, key, limit):
        first = bisect_left(self._keys, key)
        found = [(self._keys[place], ROW) for place in range(first, min(first + limit, len(self._keys)))]
        self.reads += 1
        self.rows += len(found)
        return found


class Folders:
    """A sorted sequence of `folders` times `children` keys, none of which is kept: `d000007/000000123`."""

    def __init__(self, folders, children):
        self._folders, self._children = folders, children

    def __len__(self):
        return self._folders * self._children

    def __getitem__(self, place):
        return b"d%06d/%09d" % divmod(place, self._children)


def position(after, keys):
    """A position as drawn: a name, or the number of one of the keys."""
    return after if isinstance(after, bytes) else sorted(keys)[after % len(keys)] if keys else b""


def naive_entries(keys, prefix, delimiter, after):
    """All entries in order, found by looking at every key."""
    entries = set()
    for key in keys:
        if key.startswith(prefix):
            head, found, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, b"", b"")
            entries.add(prefix + head + found if found else key)
    return sorted(entry for entry in entries if entry > after)


def naive_page(keys, prefix, delimiter, after, limit):
    """(objects, common prefixes, name of the last entry if more follow)."""
    entries = naive_entries(keys, prefix, delimiter, after)
    given_now = entries[:limit]
    rolled = [entry for entry in given_now if delimiter and delimiter in entry[len(prefix) :]]
    more = limit > 0 and len(entries) > limit
    return [entry for entry in given_now if entry not in rolled], rolled, given_now[-1] if more else b""


def seen(page):
    return [key for key, _ in page.objects], page.common_prefixes, page.last


def walk(read, prefix, delimiter, limit):
    """The entries of all pages, in order, each page as full as it may be."""
    entries, after = [], b""
    while True:
        page = list_page(read, prefix, delimiter, after, limit)
        on_page = sorted([key for key, _ in page.objects] + page.common_prefixes)
        entries += on_page
        if not page.last:
            return entries
        assert (len(on_page), page.last) == (limit, on_page[-1])
        after = page.last


# ---- against the model


@pytest.mark.slow
@cases(2600)
@given(keys_of_a_bucket, names, delimiters, positions, limits)
def test_a_page_is_what_the_model_says_and_reads_few_rows(keys, prefix, delimiter, after, limit):
    after = position(after, keys)
    read = Keys(sorted(keys))
    page = list_page(read, prefix, delimiter, after, limit)
    assert seen(page) == naive_page(keys, prefix, delimiter, after, limit)
    entries = len(page.objects) + len(page.common_prefixes)
    assert read.rows <= FIRST_BATCH_ROWS + 2 * entries
    assert read.reads <= entries + 1


@pytest.mark.slow
@cases(1500)
@given(keys_of_a_bucket, names, delimiters, st.one_of(st.integers(1, 5), st.sampled_from([64, 65])))
def test_all_pages_together_hold_every_entry_once(keys, prefix, delimiter, limit):
    assert walk(Keys(sorted(keys)), prefix, delimiter, limit) == naive_entries(keys, prefix, delimiter, b"")


def test_the_index_itself_gives_the_same_pages(tmp_path):
    path = str(tmp_path / "index.db")
    index = IndexWriter(path, b"L" * 16)
    view = IndexView(path)
    bucket_ids = iter(range(1, 1_000_000))

    @cases(900)
    @given(few, names, delimiters, positions, st.integers(1, 5))
    def compare(keys, prefix, delimiter, after, limit):
        after = position(after, keys)
        bucket_id = next(bucket_ids)
        index.begin()
        for key in keys:
            index.put_object(bucket_id, key, ROW)
        # A neighbour on either side, whose keys must never show.
        index.put_object(bucket_id + 1, b"a", ROW)
        index.flush()
        index.commit()

        def read(key, rows):
            return view.objects_from(bucket_id, key, rows)

        assert seen(list_page(read, prefix, delimiter, after, limit)) == naive_page(keys, prefix, delimiter, after, limit)
        assert walk(read, prefix, delimiter, limit) == naive_entries(keys, prefix, delimiter, b"")
        index.begin()
        index.delete_object(bucket_id + 1, b"a")
        index.flush()
        index.commit()

    try:
        compare()
    finally:
        view.close()
        index.close()


# ---- what a page costs


def test_a_page_of_folders_reads_two_rows_each_whatever_lies_in_them():
    costs = set()
    for children in (1_000, 1_000_000):
        read = Keys(Folders(5_000, children))
        page = list_page(read, b"", b"/", b"d000999/", 1000)
        assert page.common_prefixes == [b"d%06d/" % number for number in range(1000, 2000)]
        assert page.last == b"d001999/"
        costs.add((read.reads, read.rows))
    ((reads, rows),) = costs
    assert rows <= FIRST_BATCH_ROWS + 2 * 1000
    assert reads <= 1001


def test_a_page_of_keys_reads_one_row_more_than_it_gives_in_small_buckets_and_large_ones():
    for folders in (10, 1_000_000):
        read = Keys(Folders(folders, 1_000))
        page = list_page(read, b"d000005/", b"/", b"", 1000)
        assert (len(page.objects), page.last) == (1000, b"")
        assert read.rows <= 1001
        read = Keys(Folders(folders, 1_000))
        page = list_page(read, b"", b"", b"d000003/000000500", 1000)
        assert (len(page.objects), page.last) == (1000, b"d000004/000000500")
        assert read.rows == 1001


@pytest.mark.parametrize(("after", "first"), [(b"", b"d000000/"), (b"d000002/", b"d000003/"), (b"d000002/000500000", b"d000003/")])
def test_one_folder_is_found_by_two_reads(after, first):
    read = Keys(Folders(5, 1_000_000))
    page = list_page(read, b"", b"/", after, 1)
    assert (page.common_prefixes, page.last) == ([first], first)
    assert (read.reads, read.rows) == (2, 3)


def test_a_small_folder_beside_a_million_keys_reads_one_batch():
    read = Keys(Folders(1_000_000, 3))
    page = list_page(read, b"d000500/", b"", b"", 1000)
    assert len(page.objects) == 3
    assert (read.reads, read.rows) == (1, FIRST_BATCH_ROWS)


def test_the_index_reads_few_rows_past_full_folders(tmp_path):
    path = str(tmp_path / "index.db")
    index = IndexWriter(path, b"L" * 16)
    keys = Folders(4, 1_500)
    index.begin()
    for place in range(len(keys)):
        index.put_object(1, keys[place], ROW)
    index.flush()
    index.commit()
    view = IndexView(path)
    rows = []

    def read(key, limit):
        rows.append(view.objects_from(1, key, limit))
        return rows[-1]

    assert list_page(read, b"", b"/", b"", 1000).common_prefixes == [b"d%06d/" % number for number in range(4)]
    assert sum(map(len, rows)) <= FIRST_BATCH_ROWS + 2 * 4
    view.close()
    index.close()


# ---- one by one


def test_a_key_its_folder_and_what_lies_in_it_live_side_by_side():
    keys = [b"a", b"a/", b"a/b", b"a/c/d", b"a0"]
    assert seen(list_page(Keys(keys), b"", b"/", b"", 10)) == ([b"a", b"a0"], [b"a/"], b"")
    assert seen(list_page(Keys(keys), b"a/", b"/", b"", 10)) == ([b"a/", b"a/b"], [b"a/c/"], b"")
    assert seen(list_page(Keys(keys), b"a", b"/", b"", 10)) == ([b"a", b"a0"], [b"a/"], b"")
    assert seen(list_page(Keys(keys), b"", b"", b"a/", 2)) == ([b"a/b", b"a/c/d"], [], b"a/c/d")


def test_a_marker_inside_a_common_prefix_passes_all_of_it():
    keys = [b"a/1", b"a/2", b"b", b"c/1"]
    for after in (b"a/", b"a/1", b"a/1/deeper", b"a/9"):
        assert seen(list_page(Keys(keys), b"", b"/", after, 10)) == ([b"b"], [b"c/"], b"")
    assert seen(list_page(Keys(keys), b"", b"/", b"a", 10)) == ([b"b"], [b"a/", b"c/"], b"")
    assert seen(list_page(Keys(keys), b"a/", b"/", b"a/1", 10)) == ([b"a/2"], [], b"")


def test_a_delimiter_of_several_bytes_is_taken_whole():
    keys = [b"one--two", b"one-three", "x\u2192y".encode(), "x\u2190y".encode()]
    assert seen(list_page(Keys(sorted(keys)), b"", b"--", b"", 10))[1] == [b"one--"]
    assert seen(list_page(Keys(sorted(keys)), b"", "\u2192".encode(), b"", 10))[1] == ["x\u2192".encode()]


def test_no_key_is_asked_for_when_nothing_may_be_given():
    read = Keys([b"a"])
    assert list_page(read, b"", b"", b"", 0) == Page([], [], b"")
    assert list_page(read, b"", b"\xff", b"\xff\xff", 10) == Page([], [], b"")
    assert read.reads == 0


def test_a_successor_is_the_first_string_behind_a_prefix():
    assert [successor(prefix) for prefix in (b"a", b"a\xff", b"a\x00", b"\xff", b"")] == [b"b", b"b", b"a\x01", None, None]
