"""boto3 on buckets: create, list, locate, delete, and what each sub-resource answers while nothing is configured."""

import pytest

from tests.clients.refused import refused


def test_a_bucket_is_created_found_and_deleted(s3):
    made = s3.create_bucket(Bucket="whole-life", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    assert made["Location"] == "/whole-life"
    assert s3.head_bucket(Bucket="whole-life")["BucketRegion"] == "us-east-1"
    assert s3.get_bucket_location(Bucket="whole-life")["LocationConstraint"] is None
    s3.get_waiter("bucket_exists").wait(Bucket="whole-life")
    s3.delete_bucket(Bucket="whole-life")
    s3.get_waiter("bucket_not_exists").wait(Bucket="whole-life")
    with refused("404", 404):
        s3.head_bucket(Bucket="whole-life")
    with refused("NoSuchBucket", 404):
        s3.delete_bucket(Bucket="whole-life")


def test_a_bucket_with_an_object_stays(s3, bucket):
    s3.put_object(Bucket=bucket, Key="keeps it", Body=b"")
    with refused("BucketNotEmpty", 409):
        s3.delete_bucket(Bucket=bucket)
    with refused("BucketAlreadyOwnedByYou", 409):
        s3.create_bucket(Bucket=bucket)
    s3.delete_object(Bucket=bucket, Key="keeps it")
    s3.delete_bucket(Bucket=bucket)


def test_buckets_are_listed_by_prefix_and_in_pages(s3):
    names = [f"listed-{number:02}" for number in range(12)]
    for name in reversed(names):
        s3.create_bucket(Bucket=name)
    assert [found["Name"] for found in s3.list_buckets(Prefix="listed-")["Buckets"]] == names
    everything = s3.list_buckets()
    assert set(names) <= {found["Name"] for found in everything["Buckets"]}
    assert everything["Owner"]["ID"]
    pages = list(s3.get_paginator("list_buckets").paginate(Prefix="listed-", PaginationConfig={"PageSize": 5}))
    assert [len(page["Buckets"]) for page in pages] == [5, 5, 2]
    assert [found["Name"] for page in pages for found in page["Buckets"]] == names
    for name in names:
        s3.delete_bucket(Bucket=name)


@pytest.mark.parametrize("name", ["ab", "Capital", "under_score", "two..dots", "192.168.5.4", "-dash", "xn--puny", "a" * 64])
def test_a_name_against_the_rules_is_refused(s3, name):
    with refused("InvalidBucketName", 400):
        s3.create_bucket(Bucket=name)


def test_another_expected_owner_is_refused(s3, bucket):
    owner = s3.list_buckets()["Owner"]["ID"]
    s3.head_bucket(Bucket=bucket, ExpectedBucketOwner=owner)
    s3.put_object(Bucket=bucket, Key="key", Body=b"body", ExpectedBucketOwner=owner)
    for call in (s3.list_objects_v2, s3.get_bucket_location, s3.delete_bucket):
        with refused("AccessDenied", 403):
            call(Bucket=bucket, ExpectedBucketOwner="111122223333")
    with refused("AccessDenied", 403):
        s3.get_object(Bucket=bucket, Key="key", ExpectedBucketOwner="111122223333")


@pytest.mark.parametrize(
    ("call", "code"),
    [
        ("get_bucket_policy", "NoSuchBucketPolicy"),
        ("get_bucket_cors", "NoSuchCORSConfiguration"),
        ("get_bucket_lifecycle_configuration", "NoSuchLifecycleConfiguration"),
        ("get_bucket_tagging", "NoSuchTagSet"),
        ("get_bucket_website", "NoSuchWebsiteConfiguration"),
        ("get_bucket_replication", "ReplicationConfigurationNotFoundError"),
        ("get_bucket_encryption", "ServerSideEncryptionConfigurationNotFoundError"),
        ("get_object_lock_configuration", "ObjectLockConfigurationNotFoundError"),
        ("get_public_access_block", "NoSuchPublicAccessBlockConfiguration"),
    ],
)
def test_what_is_not_configured_is_not_found(s3, bucket, call, code):
    with refused(code, 404):
        getattr(s3, call)(Bucket=bucket)


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("get_bucket_versioning", {}),
        ("get_bucket_logging", {}),
        ("get_bucket_notification_configuration", {}),
        ("get_bucket_accelerate_configuration", {}),
        ("get_bucket_request_payment", {"Payer": "BucketOwner"}),
        ("get_bucket_policy_status", {"PolicyStatus": {"IsPublic": False}}),
        ("list_bucket_intelligent_tiering_configurations", {"IsTruncated": False}),
        ("list_bucket_inventory_configurations", {"IsTruncated": False}),
        ("list_bucket_analytics_configurations", {"IsTruncated": False}),
        ("list_bucket_metrics_configurations", {"IsTruncated": False}),
    ],
)
def test_what_is_not_configured_is_empty(s3, bucket, call, expected):
    answer = getattr(s3, call)(Bucket=bucket)
    del answer["ResponseMetadata"]
    assert answer == expected


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("put_bucket_versioning", {"VersioningConfiguration": {"Status": "Enabled"}}),
        ("put_bucket_accelerate_configuration", {"AccelerateConfiguration": {"Status": "Enabled"}}),
        ("put_bucket_request_payment", {"RequestPaymentConfiguration": {"Payer": "Requester"}}),
        ("put_bucket_website", {"WebsiteConfiguration": {"IndexDocument": {"Suffix": "index.html"}}}),
        (
            "put_bucket_lifecycle_configuration",
            {"LifecycleConfiguration": {"Rules": [{"Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]}},
        ),
        (
            "put_bucket_encryption",
            {
                "ServerSideEncryptionConfiguration": {
                    "Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": "none"}}]
                }
            },
        ),
    ],
)
def test_configuring_what_is_not_built_is_refused_and_not_ignored(s3, bucket, call, arguments):
    with refused("NotImplemented", 501):
        getattr(s3, call)(Bucket=bucket, **arguments)
