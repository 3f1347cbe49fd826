"""ListParts and ListMultipartUploads against the real engine."""

from urllib.parse import quote

import pytest

from tests.web.app.multipart_client import Upload, code, element, elements


def uploads(store, query=""):
    return store.send("GET", f"/box?uploads{query}")


def keys_and_ids(answer):
    return list(zip(elements(answer, "Key"), elements(answer, "UploadId"), strict=True))


# ---- parts ----


def test_parts_come_page_by_page(store):
    upload = Upload(store)
    for number in (9, 1, 4, 10_000, 2):
        upload.put(number, b"x" * number)
    numbers, marker = [], "0"
    while True:
        page = upload.listed(f"&max-parts=2&part-number-marker={marker}")
        assert (element(page, "PartNumberMarker"), element(page, "MaxParts")) == (marker, "2")
        numbers += elements(page, "PartNumber")
        marker = element(page, "NextPartNumberMarker")
        assert marker == numbers[-1]
        if element(page, "IsTruncated") == "false":
            break
    assert numbers == ["1", "2", "4", "9", "10000"]
    whole = upload.listed()
    assert (element(whole, "IsTruncated"), element(whole, "MaxParts")) == ("false", "1000")
    assert elements(whole, "Size") == numbers
    assert elements(whole, "ETag") == [upload.etags[int(number)] for number in numbers]
    assert (element(whole, "UploadId"), element(whole, "Bucket"), element(whole, "Key")) == (upload.id, "box", "k")


def test_a_page_of_parts_has_bounds(store):
    upload = Upload(store)
    upload.put(1, b"x")
    assert elements(upload.listed("&max-parts=0"), "PartNumber") == []
    assert element(upload.listed("&max-parts=0"), "IsTruncated") == "false"
    assert element(upload.listed("&max-parts=5000"), "MaxParts") == "1000"
    assert elements(upload.listed("&part-number-marker=2147483647"), "PartNumber") == []
    for query in ("max-parts=-1", "max-parts=x", "part-number-marker=-1", "part-number-marker=1.5", "max-parts=99999999999"):
        assert code(upload.listed(f"&{query}")) == (400, "InvalidArgument"), query


def test_a_list_of_parts_tells_the_storage_class_and_the_checksum(store):
    upload = Upload(store, headers={"x-amz-storage-class": "GLACIER", "x-amz-checksum-algorithm": "CRC32"})
    listed = upload.listed()
    told = [element(listed, name) for name in ("StorageClass", "ChecksumAlgorithm", "ChecksumType")]
    assert told == ["GLACIER", "CRC32", "COMPOSITE"]


# ---- uploads ----


def test_open_uploads_are_listed_by_key_and_in_the_order_they_began(store):
    made = [Upload(store, key) for key in ("b", "a", "b", "c/1", "c/2")]
    expected = sorted(((upload.path.removeprefix("/box/"), upload.id) for upload in made), key=lambda pair: pair)
    assert keys_and_ids(uploads(store)) == expected
    made[0].abort()
    made[1].put(1, b"x")
    made[1].complete()
    assert elements(uploads(store), "UploadId") == [made[2].id, made[3].id, made[4].id]


def test_pages_of_uploads_lead_through_all_of_them_also_of_one_key(store):
    made = [Upload(store, key).id for key in ("a", "b", "b", "b", "c", "d/1", "d/2", "e")]
    for size in (1, 2, 3, 8):
        found, prefixes, query = [], [], ""
        while True:
            page = uploads(store, f"&max-uploads={size}&delimiter=/{query}")
            found += elements(page, "UploadId")
            prefixes += elements(page, "Prefix")[1:]
            assert len(elements(page, "UploadId")) + len(elements(page, "Prefix")) - 1 <= size
            if element(page, "IsTruncated") == "false":
                assert element(page, "NextKeyMarker") is None
                break
            query = f"&key-marker={quote(element(page, 'NextKeyMarker'))}&upload-id-marker={element(page, 'NextUploadIdMarker')}"
        assert found == [*made[:5], made[7]]
        assert prefixes == ["d/"]


def test_markers_and_prefixes(store):
    made = [Upload(store, key).id for key in ("a", "b", "b", "b/1", "c")]
    assert elements(uploads(store, "&key-marker=b"), "UploadId") == made[3:]
    assert elements(uploads(store, f"&key-marker=b&upload-id-marker={made[1]}"), "UploadId") == made[2:]
    assert elements(uploads(store, f"&upload-id-marker={made[1]}"), "UploadId") == made
    assert elements(uploads(store, "&prefix=b"), "UploadId") == made[1:4]
    assert elements(uploads(store, "&prefix=nothing"), "UploadId") == []
    assert elements(uploads(store, "&max-uploads=0"), "UploadId") == []
    assert element(uploads(store, "&max-uploads=100000"), "MaxUploads") == "1000"
    assert code(uploads(store, "&key-marker=b&upload-id-marker=nonsense")) == (400, "InvalidArgument")


@pytest.mark.parametrize("query", ["max-uploads=-1", "max-uploads=x", "encoding-type=gzip"])
def test_what_cannot_be_listed_is_refused(store, query):
    assert code(uploads(store, f"&{query}")) == (400, "InvalidArgument")


def test_keys_are_spelled_as_the_client_asks(store):
    Upload(store, quote("a b<&>\u00e9\n"))
    assert elements(uploads(store), "Key") == ["a b<&>\u00e9\n"]
    encoded = uploads(store, "&encoding-type=url&prefix=a%20")
    assert elements(encoded, "Key") == ["a%20b%3C%26%3E%C3%A9%0A"]
    assert (element(encoded, "Prefix"), element(encoded, "EncodingType")) == ("a%20", "url")


def test_an_upload_is_listed_as_soon_as_it_was_made(store):
    """A registry looks for its upload by prefix right after it made it."""
    for number in range(5):
        upload = Upload(store, f"docker/registry/{number}/data")
        found = uploads(store, f"&prefix=docker/registry/{number}/data")
        assert keys_and_ids(found) == [(f"docker/registry/{number}/data", upload.id)]


def test_a_missing_bucket_has_no_uploads(store):
    assert code(store.send("GET", "/nothing?uploads")) == (404, "NoSuchBucket")
