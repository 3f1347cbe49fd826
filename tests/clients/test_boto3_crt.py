"""boto3 on Amazon's C library (awscrt), in an environment of its own: it signs, checks and transfers by code that AWS CLI 2 has too."""

import pytest

from tests.clients.program import installed
from tests.node import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.clients]


@pytest.mark.parametrize("case", ["every_checksum_is_computed", "parts_are_checked", "large_files_are_transferred"])
def test_boto3_with_the_c_library(program, bucket, case):
    python = program(installed("boto3[crt]", "crt/bin/python"))
    python(ROOT / "tests" / "clients" / "crt.py", case, bucket)
