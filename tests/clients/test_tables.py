"""Programs that keep tables in S3, in an environment of their own: pandas and duckdb through s3fs, and pyarrow's own S3FileSystem."""

import pytest

from tests.clients.program import installed
from tests.node import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.clients]
CASES = [
    "pandas_writes_and_reads_parquet",
    "s3fs_is_a_file_system",
    "pyarrow_writes_and_reads_a_dataset",
    "pyarrow_is_a_file_system",
    "duckdb_queries_through_s3fs",
]


@pytest.mark.parametrize("case", CASES)
def test_tables(program, bucket, case):
    python = program(installed("the environment of pandas, pyarrow, s3fs and duckdb", "data/bin/python"))
    python(ROOT / "tests" / "clients" / "tables.py", case, bucket)
