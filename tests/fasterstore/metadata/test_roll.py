"""Rolling a copy of the index: what the file system refuses is said by name."""

import os

import pytest

from fasterstore.errors import StorageFailure
from fasterstore.metadata.roll import Places, bring_upto
from fasterstore.storage.disk import RealDisk


def test_a_copy_that_cannot_be_made_fails_by_name(tmp_path):
    places = Places(RealDisk(), RealDisk(), str(tmp_path), str(tmp_path), str(tmp_path), str(tmp_path / "index.db"), b"L" * 16, b"N" * 16)
    with pytest.raises(StorageFailure, match="unable to open"):
        list(bring_upto(str(tmp_path / "missing" / "copy"), places, 0, 0, os.urandom))
