"""boto3's listings and paginators: every key once, in byte order, whatever its bytes."""

from concurrent.futures import ThreadPoolExecutor

import pytest

ODD_KEYS = [
    "a",
    "a/",
    "a/b",
    "a//b",
    "a b",
    "a+b",
    "a%20b",
    "a&b=c?d#e",
    "<tag>&amp;\"'",
    "./dot",
    "../up",
    "-rf",
    "tab\there",
    "line\nbreak",
    "\x01control",
    "\u00fcml\u00e4ut",
    "\u4e16\u754c",
    "\U0001f600",
    "z" * 1000,
]


def in_byte_order(keys):
    return sorted(keys, key=str.encode)


def put_all(s3, bucket, keys, body=b"x"):
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda key: s3.put_object(Bucket=bucket, Key=key, Body=body), keys))


@pytest.mark.slow
def test_more_keys_than_a_page_holds(s3, bucket):
    keys = [f"folder-{number % 7}/file-{number:05}" for number in range(1203)]
    put_all(s3, bucket, keys)
    for call in ("list_objects_v2", "list_objects"):
        pages = list(s3.get_paginator(call).paginate(Bucket=bucket))
        assert [len(page["Contents"]) for page in pages] == [1000, 203]
        assert [found["Key"] for page in pages for found in page["Contents"]] == in_byte_order(keys)
        pages = list(s3.get_paginator(call).paginate(Bucket=bucket, Prefix="folder-3/", PaginationConfig={"PageSize": 50}))
        assert [found["Key"] for page in pages for found in page["Contents"]] == in_byte_order(k for k in keys if k.startswith("folder-3/"))
        pages = list(s3.get_paginator(call).paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 3}))
        assert [found["Prefix"] for page in pages for found in page["CommonPrefixes"]] == [f"folder-{number}/" for number in range(7)]
        assert not any("Contents" in page for page in pages)


def test_odd_keys_are_listed_as_they_were_stored(s3, bucket):
    put_all(s3, bucket, ODD_KEYS)
    for call in ("list_objects_v2", "list_objects"):
        for size in (1, 4, 1000):
            pages = s3.get_paginator(call).paginate(Bucket=bucket, PaginationConfig={"PageSize": size})
            assert [found["Key"] for page in pages for found in page["Contents"]] == in_byte_order(ODD_KEYS)
    for key in ODD_KEYS:
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"x"


def test_keys_beside_their_folder(s3, bucket):
    put_all(s3, bucket, ["a", "a/", "a/b", "a/c/d", "b"])
    page = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [found["Key"] for found in page["Contents"]] == ["a", "b"]
    assert [found["Prefix"] for found in page["CommonPrefixes"]] == ["a/"]
    page = s3.list_objects_v2(Bucket=bucket, Delimiter="/", Prefix="a/")
    assert [found["Key"] for found in page["Contents"]] == ["a/", "a/b"]
    assert [found["Prefix"] for found in page["CommonPrefixes"]] == ["a/c/"]


def test_what_a_page_says_of_an_object(s3, bucket):
    etag = s3.put_object(Bucket=bucket, Key="key", Body=b"four", StorageClass="STANDARD_IA", ChecksumAlgorithm="SHA256")["ETag"]
    owner = s3.list_buckets()["Owner"]["ID"]
    page = s3.list_objects_v2(Bucket=bucket)
    (found,) = page["Contents"]
    assert (found["ETag"], found["Size"], found["StorageClass"]) == (etag, 4, "STANDARD_IA")
    assert found["ChecksumAlgorithm"] == ["SHA256"]
    assert found["LastModified"] == s3.head_object(Bucket=bucket, Key="key")["LastModified"].replace(
        microsecond=found["LastModified"].microsecond
    )
    assert "Owner" not in found
    assert (page["Name"], page["KeyCount"], page["MaxKeys"], page["IsTruncated"]) == (bucket, 1, 1000, False)
    assert s3.list_objects_v2(Bucket=bucket, FetchOwner=True)["Contents"][0]["Owner"]["ID"] == owner
    assert s3.list_objects(Bucket=bucket)["Contents"][0]["Owner"]["ID"] == owner


def test_where_a_listing_starts_and_how_long_it_is(s3, bucket):
    put_all(s3, bucket, ["a", "b", "c", "d"])
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=bucket, StartAfter="b")["Contents"]] == ["c", "d"]
    assert [found["Key"] for found in s3.list_objects(Bucket=bucket, Marker="bb")["Contents"]] == ["c", "d"]
    none = s3.list_objects_v2(Bucket=bucket, MaxKeys=0)
    assert (none["KeyCount"], none["IsTruncated"], "Contents" in none) == (0, False, False)
    first = s3.list_objects_v2(Bucket=bucket, MaxKeys=2)
    assert (first["KeyCount"], first["IsTruncated"]) == (2, True)
    rest = s3.list_objects_v2(Bucket=bucket, MaxKeys=2, ContinuationToken=first["NextContinuationToken"])
    assert [found["Key"] for found in rest["Contents"]] == ["c", "d"]
    assert not rest["IsTruncated"]


def test_versions_of_a_bucket_that_has_none(s3, bucket):
    put_all(s3, bucket, ["a", "b"])
    (page,) = s3.get_paginator("list_object_versions").paginate(Bucket=bucket)
    assert [(found["Key"], found["VersionId"], found["IsLatest"]) for found in page["Versions"]] == [
        ("a", "null", True),
        ("b", "null", True),
    ]
    assert "DeleteMarkers" not in page


def test_the_resource_interface_walks_and_empties_a_bucket(s3, bucket, node):
    import boto3

    put_all(s3, bucket, [f"k{number}" for number in range(30)])
    resource = boto3.resource(
        "s3",
        endpoint_url=node.endpoint,
        region_name="us-east-1",
        aws_access_key_id=node.credentials.access_key,
        aws_secret_access_key=node.credentials.secret_key,
    )
    box = resource.Bucket(bucket)
    assert len([found.key for found in box.objects.filter(Prefix="k1")]) == 11
    box.objects.all().delete()
    assert list(box.objects.all()) == []
    box.delete()
