"""Pages of open uploads, against a naive model."""

from hypothesis import given, settings
from hypothesis import strategies as st

from fasterstore.metadata import upload_listing
from fasterstore.metadata.upload_listing import Place, list_uploads
from fasterstore.model import UploadRow
from fasterstore.replication.hidden_upload import hidden_token

BEGINNING = Place(b"", 0)


HIDDEN = hidden_token(b"p" * 16, 4)


def upload(key, number, token="t"):
    return UploadRow(1, key, number, token, 0, 0, number, {}, {}, {}, "", "", "")


class Table:
    """Uploads in order, read as the index does; `batches` are the limits asked for."""

    def __init__(self, uploads, hidden=()):
        every = [(*place, "t") for place in uploads] + [(*place, HIDDEN) for place in hidden]
        self.rows = [upload(*place) for place in sorted(every)]
        self.batches = []

    def read(self, key, number, limit):
        self.batches.append(limit)
        return [row for row in self.rows if (row.key, row.number) > (key, number)][:limit]

    def page(self, prefix=b"", delimiter=b"", after=BEGINNING, limit=1000):
        return list_uploads(self.read, prefix, delimiter, after, limit)


def naive(rows, prefix, delimiter):
    """Every entry in order: (key, number) of an upload, (common prefix, 0)."""
    entries = []
    for row in rows:
        if row.key.startswith(prefix) and row.token != HIDDEN:
            end = row.key.find(delimiter, len(prefix)) if delimiter else -1
            entry = (row.key, row.number) if end < 0 else (row.key[: end + len(delimiter)], 0)
            if entry not in entries:
                entries.append(entry)
    return entries


KEYS = st.binary(min_size=1, max_size=5).map(lambda raw: bytes(b"a/b\xff"[byte % 4] for byte in raw))
UPLOADS = st.sets(st.tuples(KEYS, st.integers(1, 3)), max_size=25)
HIDDEN_UPLOADS = st.sets(st.tuples(KEYS, st.integers(4, 6)), max_size=8)


@given(
    UPLOADS,
    HIDDEN_UPLOADS,
    st.sampled_from([b"", b"a", b"a/", b"b\xff"]),
    st.sampled_from([b"", b"/", b"b", b"/a", b"\xff"]),
    st.integers(1, 6),
    st.integers(1, 7),
)
@settings(deadline=None, max_examples=400)
def test_pages_put_together_are_every_entry_once_in_order(uploads, hidden, prefix, delimiter, limit, batch_rows):
    table = Table(uploads, hidden)
    kept = upload_listing.BATCH_ROWS
    upload_listing.BATCH_ROWS = batch_rows
    try:
        entries, after = [], BEGINNING
        while True:
            page = table.page(prefix, delimiter, after, limit)
            of_page = sorted([(row.key, row.number) for row in page.uploads] + [(common, 0) for common in page.common_prefixes])
            assert len(of_page) <= limit
            entries += of_page
            if page.last is None:
                break
            assert page.last == of_page[-1]
            after = page.last
    finally:
        upload_listing.BATCH_ROWS = kept
    assert entries == naive(table.rows, prefix, delimiter)


def test_a_key_alone_passes_all_its_uploads_and_with_a_number_those_up_to_it():
    table = Table([(b"k", 1), (b"k", 5), (b"k", 9), (b"l", 2)])
    assert [row.number for row in table.page(after=Place(b"k", 0)).uploads] == [2]
    assert [row.number for row in table.page(after=Place(b"k", 5)).uploads] == [9, 2]


def test_a_common_prefix_is_passed_by_one_seek():
    table = Table([(b"a/%d" % number, number) for number in range(1, 5000)] + [(b"b", 1)])
    page = table.page(delimiter=b"/")
    assert (page.common_prefixes, [row.key for row in page.uploads]) == ([b"a/"], [b"b"])
    assert len(table.batches) == 2


def test_no_entries_were_asked_for():
    assert Table([(b"k", 1)]).page(limit=0) == ([], [], None)
