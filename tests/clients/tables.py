"""What test_tables.py runs in the environment of pandas, pyarrow, s3fs and duckdb: `tables.py CASE BUCKET`.

Endpoint, keys and region come from the environment. A case that fails ends with a traceback.
"""

import os
import sys
from collections.abc import Callable
from urllib.parse import urlsplit

import duckdb
import pandas
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.fs as pafs
import pyarrow.parquet as pq
import s3fs

ENDPOINT = os.environ["AWS_ENDPOINT_URL"]
ROWS = 200_000


def table() -> pa.Table:
    """Rows of four kinds, of which no column compresses away."""
    numbers = list(range(ROWS))
    return pa.table(
        {
            "number": numbers,
            "group": [number % 5 for number in numbers],
            "text": [f"row {number * 7919 % 1_000_003}" for number in numbers],
            "share": [number / ROWS for number in numbers],
        }
    )


def arrow_s3() -> pafs.S3FileSystem:
    """pyarrow's file system; keys come from the environment."""
    return pafs.S3FileSystem(endpoint_override=urlsplit(ENDPOINT).netloc, scheme="http", region="us-east-1")


def pandas_writes_and_reads_parquet(bucket: str) -> None:
    """to_parquet, read_parquet with columns and filters, csv, partitions."""
    options = {"endpoint_url": ENDPOINT}
    frame = table().to_pandas()
    frame.to_parquet(f"s3://{bucket}/one.parquet", storage_options=options)
    pandas.testing.assert_frame_equal(pandas.read_parquet(f"s3://{bucket}/one.parquet", storage_options=options), frame)
    some = pandas.read_parquet(f"s3://{bucket}/one.parquet", columns=["text"], filters=[("number", "<", 10)], storage_options=options)
    assert list(some["text"]) == list(frame["text"][:10])
    frame.to_parquet(f"s3://{bucket}/parts", partition_cols=["group"], storage_options=options)
    back = pandas.read_parquet(f"s3://{bucket}/parts", storage_options=options).sort_values("number", ignore_index=True)
    assert back["text"].equals(frame["text"])
    frame.head(1000).to_csv(f"s3://{bucket}/one.csv", index=False, storage_options=options)
    pandas.testing.assert_frame_equal(pandas.read_csv(f"s3://{bucket}/one.csv", storage_options=options), frame.head(1000))


def s3fs_is_a_file_system(bucket: str) -> None:
    """Files, folders, ranges, copies, globs, and a file in parts."""
    files = s3fs.S3FileSystem(endpoint_url=ENDPOINT)
    body = os.urandom(60 << 20)
    with files.open(f"{bucket}/large", "wb") as out:
        for start in range(0, len(body), 7 << 20):
            out.write(body[start : start + (7 << 20)])
    assert files.info(f"{bucket}/large")["size"] == len(body)
    assert files.cat_file(f"{bucket}/large", start=-10) == body[-10:]
    assert files.cat_file(f"{bucket}/large", start=5_000_000, end=5_000_100) == body[5_000_000:5_000_100]
    with files.open(f"{bucket}/large", "rb") as back:
        assert back.read() == body
    files.pipe({f"{bucket}/dir/{name}.txt": name.encode() for name in ("a", "b c", "\u00fc")})
    assert files.glob(f"{bucket}/dir/*.txt") == [f"{bucket}/dir/{name}.txt" for name in ("a", "b c", "\u00fc")]
    assert files.find(bucket) == [f"{bucket}/dir/a.txt", f"{bucket}/dir/b c.txt", f"{bucket}/dir/\u00fc.txt", f"{bucket}/large"]
    assert files.isdir(f"{bucket}/dir") and not files.exists(f"{bucket}/other")
    files.copy(f"{bucket}/dir/a.txt", f"{bucket}/dir/copy.txt")
    files.mv(f"{bucket}/dir/copy.txt", f"{bucket}/dir/moved.txt")
    with files.open(f"{bucket}/dir/moved.txt", "ab") as more:
        more.write(b" and more")
    assert files.cat(f"{bucket}/dir/moved.txt") == b"a and more"
    files.put_tags(f"{bucket}/dir/a.txt", {"k": "v"})
    assert files.get_tags(f"{bucket}/dir/a.txt") == {"k": "v"}
    files.rm(f"{bucket}/dir", recursive=True)
    files.invalidate_cache()
    assert files.find(bucket) == [f"{bucket}/large"]


def pyarrow_writes_and_reads_a_dataset(bucket: str) -> None:
    """A partitioned dataset, read back whole and filtered; the footer is read from the end of each file."""
    files = arrow_s3()
    rows = table()
    ds.write_dataset(rows, f"{bucket}/set", format="parquet", partitioning=["group"], partitioning_flavor="hive", filesystem=files)
    found = ds.dataset(f"{bucket}/set", format="parquet", partitioning="hive", filesystem=files)
    assert len(found.files) == 5
    back = found.to_table().sort_by("number")
    for name in rows.column_names:
        assert back.column(name).to_pylist() == rows.column(name).to_pylist()
    assert found.count_rows() == ROWS
    assert found.to_table(filter=(ds.field("group") == 3) & (ds.field("number") < 100)).num_rows == 20
    pq.write_table(rows, f"{bucket}/one.parquet", filesystem=files, row_group_size=10_000)
    file = pq.ParquetFile(f"{bucket}/one.parquet", filesystem=files)
    assert file.num_row_groups == 20
    assert file.read_row_group(7, columns=["number"]).column("number").to_pylist() == list(range(70_000, 80_000))


def pyarrow_is_a_file_system(bucket: str) -> None:
    """Folders as empty objects, streams, ranges, copy, move and delete."""
    files = arrow_s3()
    body = os.urandom(25 << 20)
    files.create_dir(f"{bucket}/dir/empty")
    with files.open_output_stream(f"{bucket}/dir/large", metadata={"Content-Type": "text/x-arrow"}) as out:
        for start in range(0, len(body), 3 << 20):
            out.write(body[start : start + (3 << 20)])
    with files.open_input_file(f"{bucket}/dir/large") as back:
        assert back.size() == len(body)
        back.seek(len(body) - 8)
        assert back.read() == body[-8:]
        assert back.read_at(100, 10_000_000) == body[10_000_000:10_000_100]
    with files.open_input_stream(f"{bucket}/dir/large") as back:
        assert back.read() == body
        assert back.metadata()["Content-Type"] == b"text/x-arrow"
    listed = {info.path: info.type for info in files.get_file_info(pafs.FileSelector(bucket, recursive=True))}
    expected = {"dir": pafs.FileType.Directory, "dir/empty": pafs.FileType.Directory, "dir/large": pafs.FileType.File}
    assert listed == {f"{bucket}/{name}": kind for name, kind in expected.items()}
    files.copy_file(f"{bucket}/dir/large", f"{bucket}/copy")
    files.move(f"{bucket}/copy", f"{bucket}/moved")
    assert files.get_file_info(f"{bucket}/copy").type == pafs.FileType.NotFound
    assert files.get_file_info(f"{bucket}/moved").size == len(body)
    files.delete_file(f"{bucket}/moved")
    files.delete_dir(f"{bucket}/dir")
    assert files.get_file_info(pafs.FileSelector(bucket, recursive=True)) == []


def duckdb_queries_through_s3fs(bucket: str) -> None:
    """Parquet and CSV read and written by SQL, by fsspec's file system: nothing is downloaded for it."""
    files = s3fs.S3FileSystem(endpoint_url=ENDPOINT)
    pq.write_table(table(), f"{bucket}/in/one.parquet", filesystem=files)
    pq.write_table(table(), f"{bucket}/in/two.parquet", filesystem=files)
    database = duckdb.connect()
    database.register_filesystem(files)
    counted = database.sql(f"select count(*), sum(number), count(distinct \"group\") from 's3://{bucket}/in/*.parquet'").fetchall()
    assert counted == [(2 * ROWS, ROWS * (ROWS - 1), 5)]
    database.sql(f"copy (select \"group\", count(*) as rows from 's3://{bucket}/in/one.parquet' group by 1) to 's3://{bucket}/out.parquet'")
    assert sorted(database.sql(f"from 's3://{bucket}/out.parquet'").fetchall()) == [(group, ROWS // 5) for group in range(5)]
    database.sql(f"copy (select 1 as a, 'two' as b) to 's3://{bucket}/out.csv' (header)")
    assert files.cat(f"{bucket}/out.csv") == b"a,b\n1,two\n"


CASES: dict[str, Callable[[str], None]] = {
    case.__name__: case
    for case in (
        pandas_writes_and_reads_parquet,
        s3fs_is_a_file_system,
        pyarrow_writes_and_reads_a_dataset,
        pyarrow_is_a_file_system,
        duckdb_queries_through_s3fs,
    )
}

if __name__ == "__main__":
    CASES[sys.argv[1]](sys.argv[2])
