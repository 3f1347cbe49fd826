"""What an upload becomes, and pieces of bytes by offset."""

import hashlib
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasterstore.digests import checksum_base64
from fasterstore.errors import DamagedRow
from fasterstore.metadata.multipart import (
    OBJECT_MAX_BYTES,
    PART_MAX_BYTES,
    PART_MIN_BYTES,
    Checks,
    ListedPart,
    check_part_number,
    complete,
    composed_etag,
    cut,
    in_order,
    merge_neighbours,
    parse_upload_id,
    upload_id,
)
from fasterstore.metadata.upload_schema import unpack_map
from fasterstore.model import PARTS_MAX, PartRow, Slice
from fasterstore.s3.errors import S3Error

TOKEN = "0123456789abcdef" * 2


def etag(number):
    return hashlib.md5(b"%d" % number).hexdigest()


def part(number, size_bytes=PART_MIN_BYTES, checksums=None):
    return PartRow(number, size_bytes, etag(number), 1, checksums or {}, (Slice(number, 0, size_bytes),))


def rows(*parts):
    return {row.number: row for row in parts}


def listing(*parts, checksums=True):
    return [ListedPart(row.number, row.etag, dict(row.checksums) if checksums else {}) for row in parts]


def refused(code, function, *arguments):
    with pytest.raises(S3Error) as refusal:
        function(*arguments)
    assert refusal.value.code == code, refusal.value
    return refusal.value


# ---- upload ids and part numbers ----


def test_an_upload_id_is_number_and_token():
    assert upload_id(4, TOKEN) == "0000000000000004" + TOKEN
    assert parse_upload_id(upload_id(4, TOKEN)) == (4, TOKEN)
    assert parse_upload_id(upload_id(2**63 - 1, TOKEN)) == (2**63 - 1, TOKEN)


@pytest.mark.parametrize(
    "text", ["", "56788", "abc1234def", "f" * 48, "0" * 47, "0" * 49, "0" * 16 + "G" * 32, "0" * 47 + "\n", "0" * 15 + "x" + TOKEN]
)
def test_what_is_no_upload_id_reads_as_none(text):
    """Among them a number that no index could hold."""
    assert parse_upload_id(text) is None


def test_part_numbers_go_from_1_to_10000():
    check_part_number(1)
    check_part_number(PARTS_MAX)
    for number in (0, -1, PARTS_MAX + 1):
        assert "between 1 and 10000, inclusive" in refused("InvalidArgument", check_part_number, number).message


# ---- completing ----


def test_the_map_follows_the_list_and_leaves_out_what_it_does_not_name():
    first, second, third = part(1), part(5, PART_MIN_BYTES + 7), part(9, 3)
    completed = complete(listing(first, third), rows(first, second, third), "", "", Checks())
    assert unpack_map(completed.part_map) == [(1, PART_MIN_BYTES), (9, PART_MIN_BYTES + 3)]
    assert completed.size_bytes == PART_MIN_BYTES + 3
    assert completed.checksums == {}


def test_the_etag_is_the_md5_of_the_md5s_and_the_count():
    """The expected value is the one that ceph/s3-tests expects of AWS for parts of 5 MiB of A, B and C."""
    etags = [hashlib.md5(letter * (5 << 20)).hexdigest() for letter in (b"A", b"B", b"C")]
    assert composed_etag(etags) == "b2add96cc9702bbf4efb0ccdfc6b7747-3"
    assert composed_etag([etag(1)]) == hashlib.md5(bytes.fromhex(etag(1))).hexdigest() + "-1"


def test_a_list_must_be_ascending_and_not_empty():
    assert in_order(listing(part(1), part(2), part(7))) == listing(part(1), part(2), part(7))
    refused("MalformedXML", in_order, [])
    refused("InvalidPartOrder", in_order, listing(part(2), part(1)))
    refused("InvalidPartOrder", in_order, listing(part(1), part(2), part(1)))
    refused("InvalidArgument", in_order, listing(part(0)))
    refused("InvalidArgument", in_order, listing(part(PARTS_MAX + 1)))


def test_of_two_entries_for_one_part_the_last_counts():
    """ceph/s3-tests, test_multipart_resend_first_finishes_last."""
    first, second = ListedPart(1, etag(1), {}), ListedPart(1, etag(2), {})
    assert in_order([first, second, *listing(part(3))]) == [second, *listing(part(3))]


def test_a_part_that_is_not_there_or_is_another_is_refused():
    row = part(1, checksums={"CRC32": checksum_base64("CRC32", b"x")})
    refused("InvalidPart", complete, listing(part(2)), rows(row), "", "", Checks())
    other = ListedPart(1, etag(2), {})
    assert refused("InvalidPart", complete, [other], rows(row), "", "", Checks()).extra == {"PartNumber": "1", "ETag": etag(2)}
    for checksums in ({"CRC32": checksum_base64("CRC32", b"y")}, {"CRC32": "no base64"}, {"SHA1": checksum_base64("SHA1", b"x")}):
        refused("InvalidPart", complete, [ListedPart(1, row.etag, checksums)], rows(row), "", "", Checks())
    complete(listing(row), rows(row), "", "", Checks())


def test_every_part_but_the_last_has_at_least_5_mib():
    small, last = part(1, PART_MIN_BYTES - 1), part(2, 0)
    complete(listing(last), rows(last), "", "", Checks())
    refusal = refused("EntityTooSmall", complete, listing(small, last), rows(small, last), "", "", Checks())
    assert refusal.extra["PartNumber"] == "1"
    enough = part(1)
    assert complete(listing(enough, last), rows(enough, last), "", "", Checks()).size_bytes == PART_MIN_BYTES


def test_ten_thousand_parts_reach_5_tib_and_not_one_byte_more():
    sizes = [OBJECT_MAX_BYTES // 1024] * 1024
    assert sizes[0] == PART_MAX_BYTES
    exact = [part(number, size) for number, size in enumerate(sizes, 1)]
    completed = complete(listing(*exact), rows(*exact), "", "", Checks())
    assert (completed.size_bytes, unpack_map(completed.part_map)[-1].end) == (OBJECT_MAX_BYTES, OBJECT_MAX_BYTES)
    over = [*exact, part(1025, 1)]
    refused("EntityTooLarge", complete, listing(*over), rows(*over), "", "", Checks())
    many = [part(number, PART_MIN_BYTES + number) for number in range(1, PARTS_MAX + 1)]
    completed = complete(listing(*many), rows(*many), "", "", Checks())
    assert completed.etag.endswith("-10000")
    assert unpack_map(completed.part_map)[-1] == (PARTS_MAX, PARTS_MAX * PART_MIN_BYTES + PARTS_MAX * (PARTS_MAX + 1) // 2)


def test_the_size_must_be_the_announced_one():
    row = part(1, 10)
    complete(listing(row), rows(row), "", "", Checks(10))
    refused("InvalidRequest", complete, listing(row), rows(row), "", "", Checks(11))


def with_crcs(*bodies):
    return [
        PartRow(number, len(body), hashlib.md5(body).hexdigest(), 1, {"CRC32": checksum_base64("CRC32", body)}, ())
        for number, body in enumerate(bodies, 1)
    ]


def test_a_full_object_checksum_is_compared_and_kept():
    bodies = [os.urandom(PART_MIN_BYTES), b"the end"]
    parts = with_crcs(*bodies)
    whole = checksum_base64("CRC32", b"".join(bodies))
    arguments = (listing(*parts, checksums=False), rows(*parts), "CRC32", "FULL_OBJECT")
    assert complete(*arguments, Checks()).checksums == {"CRC32": whole}
    assert complete(*arguments, Checks(None, {"CRC32": whole}, "FULL_OBJECT")).checksums == {"CRC32": whole}
    refused("BadDigest", complete, *arguments, Checks(None, {"CRC32": checksum_base64("CRC32", b"other")}))
    refused("BadDigest", complete, *arguments, Checks(None, {"CRC32": "bad"}))
    refused("InvalidRequest", complete, *arguments, Checks(None, {"SHA1": checksum_base64("SHA1", b"")}))
    refused("InvalidRequest", complete, *arguments, Checks(None, {}, "COMPOSITE"))


def test_a_composite_checksum_is_made_of_those_of_the_parts():
    parts = with_crcs(os.urandom(PART_MIN_BYTES), b"the end")
    arguments = (rows(*parts), "CRC32", "COMPOSITE")
    completed = complete(listing(*parts), *arguments, Checks())
    composite = completed.checksums["CRC32"]
    assert composite.endswith("-2")
    for given_checksum in (composite, composite.partition("-")[0]):
        assert complete(listing(*parts), *arguments, Checks(None, {"CRC32": given_checksum})) == completed
    refused("BadDigest", complete, listing(*parts), *arguments, Checks(None, {"CRC32": composite[:-1] + "3"}))
    # The list need not repeat what was verified with each part; a wrong whole is refused all the same.
    assert complete(listing(*parts, checksums=False), *arguments, Checks()) == completed
    refused("BadDigest", complete, listing(*parts, checksums=False), *arguments, Checks(None, {"CRC32": "bad"}))


def test_a_declared_checksum_that_a_part_lacks_makes_it_another_part():
    row = part(1, 5)
    refused("InvalidPart", complete, listing(row), rows(row), "CRC32", "FULL_OBJECT", Checks())


# ---- pieces ----


def spell(slices):
    return [(piece.blob, byte) for piece in slices for byte in range(piece.first, piece.first + piece.length)]


PIECES = st.lists(st.builds(Slice, st.integers(1, 3), st.integers(0, 9), st.integers(1, 9)), max_size=8)


@given(PIECES, st.data())
def test_a_cut_is_the_same_bytes_as_a_slice_of_all_of_them(slices, data):
    whole = spell(slices)
    first = data.draw(st.integers(0, len(whole)))
    length = data.draw(st.integers(0, len(whole) - first))
    pieces = cut(slices, first, length)
    assert spell(pieces) == whole[first : first + length]
    assert all(piece.length for piece in pieces)


@given(PIECES)
def test_merged_neighbours_are_the_same_bytes_and_never_touch(slices):
    merged = list(merge_neighbours(slices))
    assert spell(merged) == spell(slices)
    assert all((one.blob, one.first + one.length) != (two.blob, two.first) for one, two in zip(merged, merged[1:], strict=False))


def test_a_part_that_is_shorter_than_its_map_says_is_damage():
    with pytest.raises(DamagedRow):
        cut([Slice(1, 0, 10)], 5, 6)
