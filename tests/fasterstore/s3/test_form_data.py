"""Forms as browsers and libraries send them, in pieces of every size; and what is no form."""

from email.message import Message

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from urllib3.filepost import encode_multipart_formdata

from fasterstore.s3.errors import S3Error
from fasterstore.s3.form_data import FIELDS_MAX_BYTES, FormReader, is_form

STEADY = settings(deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
"""The same cases each time, however busy the machine is."""

TYPE = "multipart/form-data; boundary=XX"
FILE_HEAD = b'Content-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\n'


def source(body, piece_bytes=1 << 20):
    """A receive function that hands out `body` in pieces."""
    left = [body]

    def receive(limit):
        size = min(limit, piece_bytes)
        piece, left[0] = left[0][:size], left[0][size:]
        return piece

    return receive


def read(body, content_type=TYPE, piece_bytes=1 << 20):
    """(form, the file's bytes)."""
    reader = FormReader(content_type, source(body, piece_bytes))
    form = reader.read_fields()
    return form, b"".join(reader.file_pieces()) if form.has_file else b""


def field(name, value):
    return b'--XX\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (name.encode(), value.encode())


def upload(*fields, file=b"bytes", tail=b"--XX--\r\n", head=FILE_HEAD):
    return b"".join(fields) + b"--XX\r\n" + head + file + b"\r\n" + tail


def code_of(body, content_type=TYPE, piece_bytes=1 << 20):
    with pytest.raises(S3Error) as refused:
        read(body, content_type, piece_bytes)
    return refused.value.code


@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 7, 64, 1 << 20])
def test_fields_and_file_are_read_from_pieces_of_any_size(piece_bytes):
    body = upload(field("key", "a/b"), field("X-Amz-Meta-Ä", "ü\r\n--X\r\n"), field("empty", ""), file=b"\r\n--X\r\n--Y\r\n" * 3)
    form, file = read(body, piece_bytes=piece_bytes)
    assert form.fields == {"key": "a/b", "x-amz-meta-ä": "ü\r\n--X\r\n", "empty": ""}
    assert (form.filename, form.has_file) == ("a.txt", True)
    assert file == b"\r\n--X\r\n--Y\r\n" * 3


@pytest.mark.parametrize("file", [b"", b"\r\n", b"\r\n--", b"\r\n--X", b"-", b"--XX", b"\r", b"x\r\n--XY", b"\x00" * 1000])
@pytest.mark.parametrize("piece_bytes", [1, 5, 1 << 20])
def test_no_byte_of_the_file_is_lost_or_added(file, piece_bytes):
    assert read(upload(file=file), piece_bytes=piece_bytes)[1] == file


@pytest.mark.parametrize(
    "tail", [b"--XX--", b"--XX--\r\n", b"--XX--\r\nepilogue", b"--XX-- \t\r\n", field("submit", "Upload") + b"--XX--\r\n"]
)
def test_what_follows_the_file_is_ignored(tail):
    assert read(upload(field("key", "k"), tail=tail))[1] == b"bytes"


def test_a_second_file_and_fields_behind_the_first_do_not_count():
    form, file = read(upload(field("key", "k"), tail=upload(file=b"second", head=FILE_HEAD) + field("key", "other")))
    assert (form.fields, file) == ({"key": "k"}, b"bytes")


def test_a_preamble_and_padding_are_skipped():
    body = b"preamble\r\n" + field("key", "k").replace(b"--XX\r\n", b"--XX  \t\r\n") + upload()
    assert read(body) == (({"key": "k"}, "a.txt", True), b"bytes")


def test_fields_to_be_ignored_are_left_out_and_may_stand_there_twice():
    form, _ = read(upload(field("x-ignore-a", "1"), field("X-Ignore-A", "2"), field("key", "k")))
    assert form.fields == {"key": "k"}


def test_a_form_without_a_file_says_so():
    assert read(field("key", "k") + b"--XX--\r\n")[0] == ({"key": "k"}, "", False)
    assert read(b"--XX--\r\n")[0] == ({}, "", False)


@pytest.mark.parametrize(
    ("parameters", "filename"),
    [
        ('name="file"; filename="a b.txt"', "a b.txt"),
        ('name="file"; filename=""', ""),
        ('name="file"', ""),
        ("name=file; filename=a.txt", "a.txt"),
        ('NAME="File"; FileName="a.txt"', "a.txt"),
        ('filename="a.txt";name="file"', "a.txt"),
        ('name="file"; filename="C:\\dir\\a.txt"', "a.txt"),
        ('name="file"; filename="/home/me/a.txt"', "a.txt"),
        ('name="file"; filename="a\\"b.txt"', 'a"b.txt'),
        ('name="file"; filename="a%22b.txt"', "a%22b.txt"),
        ('name="file"; filename="ä😀.txt"', "ä😀.txt"),
        ('name="file"; filename="x"; filename*=UTF-8\'\'%C3%A4.txt', "ä.txt"),
        ('name="file"; filename="x;name=y"', "x;name=y"),
    ],
)
def test_the_file_has_the_last_part_of_its_name(parameters, filename):
    head = f"Content-Disposition: form-data; {parameters}\r\n\r\n".encode()
    form, file = read(upload(head=head))
    assert (form.filename, file) == (filename, b"bytes")


@pytest.mark.parametrize(
    "content_type",
    ["multipart/form-data; boundary=XX", 'multipart/form-data; boundary="XX"', "Multipart/Form-Data;charset=utf-8;Boundary=XX; x=y"],
)
def test_the_boundary_is_found_in_every_spelling(content_type):
    assert read(upload(), content_type)[1] == b"bytes"


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/mixed; boundary=XX",
        "multipart/form-data; boundary=" + "x" * 201,
        'multipart/form-data; boundary="XX "',
        "multipart/form-data; boundary=\xe4",
    ],
)
def test_a_content_type_without_a_usable_boundary_is_refused(content_type):
    assert code_of(upload(), content_type) == "MalformedPOSTRequest"


def test_only_form_data_is_a_form():
    assert is_form("multipart/form-data; boundary=x")
    assert not is_form("multipart/form-data2; boundary=x")
    assert not is_form("application/x-www-form-urlencoded")


@pytest.mark.parametrize("piece_bytes", [1, 1 << 20])
def test_a_body_cut_off_anywhere_is_refused(piece_bytes):
    body = upload(field("key", "k"), tail=b"--XX--")
    for length in range(len(body)):
        assert code_of(body[:length], piece_bytes=piece_bytes) == "MalformedPOSTRequest", length


@pytest.mark.parametrize(
    "body",
    [
        b"no delimiter at all",
        b"--XX\r\n\r\nno disposition\r\n--XX--\r\n",
        b"--XX\r\nContent-Disposition: attachment; name=key\r\n\r\nv\r\n--XX--\r\n",
        b'--XX\r\nContent-Disposition: form-data; filename="a"\r\n\r\nv\r\n--XX--\r\n',
        b'--XX\r\nContent-Disposition: form-data; name=""\r\n\r\nv\r\n--XX--\r\n',
        b'--XX\r\nContent-Disposition: form-data; name="a\r\n\r\nv\r\n--XX--\r\n',
        b'--XXY\r\nContent-Disposition: form-data; name="a"\r\n\r\nv\r\n--XXY--\r\n',
        b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--XX--\r\n',
        b'--XX\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nv\r\n--XX--\r\n',
        upload(tail=b"--XXY--\r\n"),
        upload(tail=b"--XX\r"),
    ],
)
def test_what_is_no_form_is_refused(body):
    assert code_of(body) == "MalformedPOSTRequest"


def test_a_field_may_stand_there_once_whatever_its_case():
    assert code_of(upload(field("key", "a"), field("KEY", "b"))) == "InvalidArgument"


@pytest.mark.parametrize("piece_bytes", [1000, 1 << 20])
def test_the_fields_are_bounded_together_and_the_file_is_not(piece_bytes):
    half = "v" * (FIELDS_MAX_BYTES // 2)
    assert read(upload(field("a", half), file=b"x" * 200_000), piece_bytes=piece_bytes)[1] == b"x" * 200_000
    for body in (
        upload(field("a", half), field("b", half)),
        upload(*[field(f"x-ignore-{number}", "") for number in range(400)]),
        b"preamble" * 5000 + b"\r\n" + upload(),
        b"--XX\r\nX: " + b"y" * 30_000 + b"\r\n\r\n\r\n--XX--",
        b"--XX" + b" " * 30_000 + b"\r\n" + FILE_HEAD,
    ):
        assert code_of(body, piece_bytes=piece_bytes) == "MaxPostPreDataLengthExceeded"


def test_a_file_is_handed_out_as_it_comes():
    taken = [0]
    body = upload(file=b"x" * 3_000_000)
    receive = source(body)

    def counting(limit):
        piece = receive(limit)
        taken[0] += len(piece)
        return piece

    reader = FormReader(TYPE, counting)
    reader.read_fields()
    handed = 0
    for piece in reader.file_pieces():
        handed += len(piece)
        assert taken[0] - handed < 600_000
    assert handed == 3_000_000
    assert reader.bytes_in == taken[0] == len(body)


@STEADY
@given(
    st.dictionaries(st.sampled_from(["key", "acl", "policy", "x-amz-meta-a"]), st.text(st.characters(codec="utf-8"), max_size=60)),
    st.binary(max_size=300),
    st.text(st.characters(codec="utf-8", exclude_characters='\\"/\r\n\x00'), max_size=10),
    st.integers(1, 400),
)
def test_what_urllib3_encodes_is_read_back(fields, file, filename, piece_bytes):
    body, content_type = encode_multipart_formdata([*fields.items(), ("file", (filename, file, "text/plain"))])
    form, found = read(body, content_type, piece_bytes)
    assert form.fields == fields
    assert found == file


def test_the_boundary_of_the_standard_library_is_read_the_same_way():
    message = Message()
    message["Content-Type"] = 'multipart/form-data; boundary="=_a:b=="'
    body = upload(file=b"z").replace(b"--XX", b"--=_a:b==")
    assert message.get_boundary() == "=_a:b=="
    assert read(body, message["Content-Type"])[1] == b"z"
