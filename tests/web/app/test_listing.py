"""ListObjects, ListObjectsV2 and ListObjectVersions through the application: every page of every kind, and what is refused."""

import zlib
from base64 import b64encode
from urllib.parse import quote, unquote

import pytest
from defusedxml.ElementTree import fromstring
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.runtime import sleep, spawn

NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"
ODD_KEYS = [
    "a", "a/", "a/b", "a/b/c", "a//b", "a0", "a b", "a+b", "a%20b", "a&b", "<a>", "b/\u00fc/1", "b/\u00fc/2", "b--c--d", "b--c--e",
    "line\nbreak", "\rreturn", "\x01", "\x01/x", "nul\x00/1", "\ufffe/1", "\ufffe/2", "\U0010ffff", "\U0010ffff\U0010ffff", " ", "~",
]  # fmt: skip


class Kind:
    """How one of the three lists is asked for, and how its next page is."""

    def __init__(self, query, cursor, next_cursor):
        self.query, self.cursor, self.next_cursor = query, cursor, next_cursor

    def page(self, store, query, after=None):
        pairs = dict(query) if after is None else {**query, self.cursor: after}
        target = "&".join([*self.query, *(f"{name}={quote(str(value), safe='')}" for name, value in pairs.items())])
        answer = store.send("GET", f"/box?{target}")
        assert answer.status == 200, answer.body
        return Listed(fromstring(answer.body))

    def walk(self, store, query):
        """The entries of all pages in byte order."""
        entries, after = [], None
        for _ in range(200):
            page = self.page(store, query, after)
            entries += page.entries
            if not page.truncated:
                return entries
            after = page.text(self.next_cursor)
            if after is None:
                # V1 without a delimiter: the last key is the marker.
                after = page.entries[-1]
            elif self.cursor != "continuation-token":
                after = unquote(after)
        raise AssertionError("the pages never end")


KINDS = [
    Kind([], "marker", "NextMarker"),
    Kind(["list-type=2"], "continuation-token", "NextContinuationToken"),
    Kind(["versions"], "key-marker", "NextKeyMarker"),
]


class Listed:
    """One page, its names decoded."""

    def __init__(self, root):
        self.root = root
        self.truncated = self.text("IsTruncated") == "true"
        self.keys = [unquote(node.findtext(f"{NS}Key")) for tag in ("Contents", "Version") for node in root.iter(NS + tag)]
        self.prefixes = [unquote(node.findtext(f"{NS}Prefix")) for node in root.iter(f"{NS}CommonPrefixes")]
        self.entries = sorted(self.keys + self.prefixes, key=str.encode)

    def text(self, name):
        return self.root.findtext(NS + name)


def put(store, *keys):
    for key in keys:
        assert store.send("PUT", f"/box/{quote(key, safe='/')}", b"x").status == 200


def naive(keys, prefix, delimiter):
    found = set()
    for key in keys:
        if key.startswith(prefix):
            head, middle, _ = key[len(prefix) :].partition(delimiter) if delimiter else (key, "", "")
            found.add(prefix + head + middle if middle else key)
    return sorted(found, key=str.encode)


names = st.one_of(st.just(""), st.sampled_from(ODD_KEYS), st.sampled_from(["a", "b", "/", "--", "\u00fc", "\x01", "\U0010ffff", "c", " "]))


def test_every_list_pages_through_odd_keys_as_the_model_does(store):
    put(store, *ODD_KEYS)

    @settings(max_examples=400, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(st.sampled_from(KINDS), names, names, st.sampled_from([1, 2, 3, 7, 1000]))
    def compare(kind, prefix, delimiter, size):
        query = {"prefix": prefix, "delimiter": delimiter, "max-keys": size, "encoding-type": "url"}
        assert kind.walk(store, query) == naive(ODD_KEYS, prefix, delimiter)

    compare()


@pytest.mark.parametrize("kind", KINDS)
def test_keys_that_xml_can_hold_are_whole_without_an_encoding(store, kind):
    keys = ["plain", "<&>\"'", "a b+c%20", "\u00fc", "line\nbreak", "\rreturn"]
    put(store, *keys)
    page = kind.page(store, {})
    found = [node.findtext(f"{NS}Key") for tag in ("Contents", "Version") for node in page.root.iter(NS + tag)]
    assert found == sorted(keys, key=str.encode)


@pytest.mark.parametrize("kind", KINDS)
def test_no_keys_are_an_empty_page_that_is_not_truncated(store, kind):
    put(store, "a", "b")
    page = kind.page(store, {"max-keys": 0})
    assert (page.entries, page.truncated, page.text("MaxKeys")) == ([], False, "0")
    page = kind.page(store, {"max-keys": 2})
    assert (page.entries, page.truncated) == (["a", "b"], False)
    assert kind.page(store, {"max-keys": 5000}).text("MaxKeys") == "1000"


@pytest.mark.parametrize("value", ["1", "0", "3", "bogus", ""])
def test_only_list_type_2_is_the_new_list(store, value):
    root = fromstring(store.send("GET", f"/box?list-type={value}").body)
    assert root.find(f"{NS}Marker") is not None
    assert root.find(f"{NS}KeyCount") is None


def test_a_token_wins_over_start_after_and_both_are_echoed(store):
    put(store, "bar", "baz", "foo", "quxx")
    new = KINDS[1]
    first = new.page(store, {"start-after": "bar", "max-keys": 1})
    assert (first.keys, first.text("StartAfter"), first.text("ContinuationToken")) == (["baz"], "bar", None)
    token = first.text("NextContinuationToken")
    second = new.page(store, {"start-after": "bar"}, token)
    assert (second.keys, second.text("StartAfter"), second.text("ContinuationToken")) == (["foo", "quxx"], "bar", token)


def test_an_empty_token_is_the_first_page(store):
    put(store, "a", "b")
    page = KINDS[1].page(store, {"continuation-token": ""})
    assert (page.keys, page.truncated, page.text("ContinuationToken")) == (["a", "b"], False, "")


def test_a_marker_need_not_be_a_key(store):
    put(store, "a", "c/1", "c/2", "e")
    old = KINDS[0]
    assert old.page(store, {"marker": "b"}).entries == ["c/1", "c/2", "e"]
    assert old.page(store, {"marker": "c/1", "delimiter": "/"}).entries == ["e"]
    assert old.page(store, {"marker": "zz"}).entries == []
    assert KINDS[1].page(store, {"start-after": "c/"}).entries == ["c/1", "c/2", "e"]


def test_versions_are_paged_by_key_and_version(store):
    put(store, "a", "b", "c")
    page = KINDS[2].page(store, {"max-keys": 1})
    assert [page.text(name) for name in ("NextKeyMarker", "NextVersionIdMarker")] == ["a", "null"]
    page = KINDS[2].page(store, {"key-marker": "a", "version-id-marker": "null"})
    assert page.keys == ["b", "c"]
    assert [page.text(name) for name in ("KeyMarker", "VersionIdMarker")] == ["a", "null"]


def test_what_a_list_says_is_what_was_stored(store):
    crc = b64encode(zlib.crc32(b"four").to_bytes(4, "big")).decode()
    answer = store.send("PUT", "/box/key", b"four", {"x-amz-checksum-crc32": crc})
    assert answer.status == 200
    head = store.send("HEAD", "/box/key")
    (contents,) = KINDS[1].page(store, {"fetch-owner": "true"}).root.iter(f"{NS}Contents")
    assert contents.findtext(f"{NS}ETag") == head.headers["etag"] == answer.headers["etag"]
    assert contents.findtext(f"{NS}Size") == "4"
    assert contents.findtext(f"{NS}ChecksumAlgorithm") == "CRC32"
    assert contents.findtext(f"{NS}ChecksumType") == "FULL_OBJECT"
    assert contents.findtext(f"{NS}Owner/{NS}ID") == "000000000000"
    assert contents.findtext(f"{NS}StorageClass") == "STANDARD"


def test_what_a_client_adds_and_s3_ignores_is_ignored(store):
    put(store, "a")
    headers = {"x-amz-optional-object-attributes": "RestoreStatus", "x-amz-request-payer": "requester"}
    answer = store.send("GET", "/box?list-type=2&metadata=true&x-id=ListObjectsV2&fetch-owner=&foo=bar", headers=headers)
    assert answer.status == 200
    assert Listed(fromstring(answer.body)).keys == ["a"]
    assert answer.headers["x-amz-bucket-region"] == "us-east-1"


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("max-keys=-1", "Argument maxKeys must be an integer between 0 and 2147483647"),
        ("list-type=2&max-keys=blah", "Provided max-keys not an integer or within integer range"),
        ("versions&max-keys=-1", "max-keys cannot be negative"),
        ("encoding-type=base64", "Invalid Encoding Method specified in Request"),
        ("list-type=2&continuation-token=garbage", "The continuation token provided is incorrect"),
        ("list-type=2&marker=a", "Marker unsupported with REST.GET.BUCKET in list-type=2"),
        ("start-after=a", "startAfter only supported in REST.GET.BUCKET with list-type=2"),
        ("versions&version-id-marker=null", "A version-id marker cannot be specified without a key marker."),
        ("versions&key-marker=a&version-id-marker=x", "Invalid version id specified"),
    ],
)
def test_a_wrong_parameter_is_refused_in_s3s_words(store, query, said):
    answer = store.send("GET", f"/box?{query}")
    root = fromstring(answer.body)
    assert (answer.status, root.findtext("Code"), root.findtext("Message")) == (400, "InvalidArgument", said)


@pytest.mark.parametrize("query", ["", "?list-type=2", "?versions"])
def test_a_bucket_that_is_not_there_has_no_list(store, query):
    answer = store.send("GET", f"/nobodys{query}")
    assert (answer.status, b"<Code>NoSuchBucket</Code>" in answer.body) == (404, True)


def folders(store, count):
    put(store, *(f"{number:04}/{child}" for number in range(count) for child in "abc"))


def test_others_get_their_turn_during_a_long_page_and_none_is_given_for_a_short_one(store):
    folders(store, 240)
    turns = []
    spawn(turns.append, 1)
    assert len(KINDS[1].page(store, {"max-keys": 3}).keys) == 3
    assert turns == []
    assert len(KINDS[1].page(store, {"delimiter": "/"}).prefixes) == 240
    assert turns == [1]


def test_an_index_that_goes_away_during_a_page_is_503(store):
    folders(store, 240)
    index = store.worker.index

    def disconnect():
        store.worker.index = None

    spawn(disconnect)
    answer = store.send("GET", "/box?list-type=2&delimiter=/")
    store.worker.index = index
    assert (answer.status, b"<Code>ServiceUnavailable</Code>" in answer.body) == (503, True)
    sleep(0)
    assert store.send("GET", "/box?list-type=2&delimiter=/").status == 200
