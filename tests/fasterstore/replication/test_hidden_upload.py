"""No upload id that a client can send names a hidden upload, and its system metadata's name is none that a client can set."""

import pytest

from fasterstore.metadata.multipart import parse_upload_id, upload_id
from fasterstore.replication.hidden_upload import SYSTEM_NAME, becomes, hidden_token, is_hidden

LOG = b"p" * 16


def test_a_hidden_token_is_known_by_log_and_number():
    token = hidden_token(LOG, 41)
    assert token == f"replica:{LOG.hex()}:41"
    assert is_hidden(token) and not is_hidden("0f" * 16)
    assert becomes(token, LOG, 41)
    assert not becomes(token, LOG, 4) and not becomes(token, b"q" * 16, 41) and not becomes("0f" * 16, LOG, 41)


@pytest.mark.parametrize("number", [1, 41, 1 << 62])
def test_no_upload_id_names_one(number):
    assert parse_upload_id(upload_id(number, "0f" * 16)) == (number, "0f" * 16)
    assert parse_upload_id(upload_id(number, hidden_token(LOG, number))) is None


def test_its_metadata_is_under_a_name_that_no_header_is_kept_as():
    assert SYSTEM_NAME.startswith("x-fs-")
