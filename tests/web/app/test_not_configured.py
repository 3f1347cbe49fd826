"""What is not built is answered as AWS answers where it was never configured; nothing is accepted and then ignored."""

import re

import pytest
from defusedxml.ElementTree import fromstring

from fasterstore.s3.actions import ACTIONS, BUCKET, OBJECT, Support
from web.not_configured import CODES, DOCUMENTS

NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"
ONE_OF_MANY = ("analytics", "intelligent-tiering", "inventory", "metrics")
UNBUILT = [action for action in ACTIONS.values() if action.support is Support.NOT_BUILT and action.subresource]
UNCONFIGURED = [action for action in ACTIONS.values() if action.support is Support.NOT_CONFIGURED]


def code(answer):
    return re.search(rb"<Code>(\w+)</Code>", answer.body)[1].decode()


def target_of(action, bucket="box"):
    path = {BUCKET: f"/{bucket}", OBJECT: f"/{bucket}/k"}[action.resource]
    named = "&id=one" if action.subresource in ONE_OF_MANY and not action.name.startswith("List") else ""
    if action.name == "GetObjectAnnotation":
        named = "&annotationName=one"
    return f"{path}?{action.subresource}{named}"


@pytest.fixture
def kept(store):
    store.send("PUT", "/box/k", b"still here")
    return store


@pytest.mark.parametrize(
    ("subresource", "root"),
    [
        ("versioning", "VersioningConfiguration"),
        ("logging", "BucketLoggingStatus"),
        ("notification", "NotificationConfiguration"),
        ("accelerate", "AccelerateConfiguration"),
        ("requestPayment", "RequestPaymentConfiguration"),
        ("abac", "AbacStatus"),
        ("analytics", "ListBucketAnalyticsConfigurationResult"),
        ("intelligent-tiering", "ListBucketIntelligentTieringConfigurationsOutput"),
        ("inventory", "ListInventoryConfigurationsResult"),
        ("metrics", "ListMetricsConfigurationsResult"),
    ],
)
def test_an_empty_document(store, subresource, root):
    answer = store.send("GET", f"/box?{subresource}")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/xml")
    found = fromstring(answer.body)
    assert found.tag == NS + root
    inside = [(child.tag.removeprefix(NS), child.text) for child in found]
    expected = {"requestPayment": [("Payer", "BucketOwner")], "abac": [("Status", "Disabled")]}
    assert inside == expected.get(subresource, [("IsTruncated", "false")] if root.startswith("List") else [])


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("lifecycle", "NoSuchLifecycleConfiguration"),
        ("website", "NoSuchWebsiteConfiguration"),
        ("replication", "ReplicationConfigurationNotFoundError"),
        ("encryption", "ServerSideEncryptionConfigurationNotFoundError"),
        ("object-lock", "ObjectLockConfigurationNotFoundError"),
        ("metadataConfiguration", "MetadataConfigurationNotFound"),
        ("metadataTable", "MetadataConfigurationNotFound"),
        *((f"{name}&id=one", "NoSuchConfiguration") for name in ONE_OF_MANY),
    ],
)
def test_a_404_code(store, query, expected):
    answer = store.send("GET", f"/box?{query}")
    assert (answer.status, code(answer)) == (404, expected)


@pytest.mark.parametrize("query", ["legal-hold", "retention"])
def test_an_object_in_a_bucket_without_lock_has_neither_hold_nor_retention(kept, query):
    answer = kept.send("GET", f"/box/k?{query}")
    assert (answer.status, code(answer)) == (400, "InvalidRequest")
    assert b"Bucket is missing Object Lock Configuration" in answer.body


def test_an_object_has_no_annotations(kept):
    assert code(kept.send("GET", "/box/k?annotation&annotationName=one")) == "NoSuchAnnotation"
    assert kept.send("GET", "/box/k?annotation").status == 200
    assert kept.send("DELETE", "/box/k?annotation&annotationName=one").status == 204
    assert code(kept.send("GET", "/box/missing?annotation")) == "NoSuchKey"
    assert kept.send("GET", "/box/k").body == b"still here"


@pytest.mark.parametrize("action", [action for action in UNCONFIGURED if action.method == "DELETE"], ids=lambda action: action.name)
def test_there_is_nothing_to_delete(kept, action):
    assert kept.send("DELETE", target_of(action))[::2] == (204, b"")
    assert kept.send("GET", "/box/k").body == b"still here"


@pytest.mark.parametrize("action", UNBUILT, ids=lambda action: action.name)
def test_what_is_not_built_says_so_and_does_nothing_else(kept, action):
    answer = kept.send(action.method, target_of(action), b"<Anything/>" if action.method in ("PUT", "POST") else b"")
    assert (answer.status, code(answer)) == (501, "NotImplemented")
    assert action.name.encode() in answer.body
    assert kept.send("GET", "/box/k").body == b"still here"


@pytest.mark.parametrize("action", [*UNBUILT, *UNCONFIGURED], ids=lambda action: action.name)
def test_the_bucket_must_exist(store, action):
    answer = store.send(action.method, target_of(action, "nobodys-bucket"))
    assert (answer.status, code(answer)) == (404, "NoSuchBucket")


ACCEPTED = [
    ("versioning", b"<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>"),
    ("versioning", b"<VersioningConfiguration><Status>Suspended</Status><MfaDelete>Disabled</MfaDelete></VersioningConfiguration>"),
    ("logging", b'<BucketLoggingStatus xmlns="http://s3.amazonaws.com/doc/2006-03-01/"/>'),
    ("notification", b"<NotificationConfiguration/>"),
    ("requestPayment", b"<RequestPaymentConfiguration><Payer>BucketOwner</Payer></RequestPaymentConfiguration>"),
    ("accelerate", b"<AccelerateConfiguration><Status>Suspended</Status></AccelerateConfiguration>"),
    ("abac", b"<AbacStatus><Status>Disabled</Status></AbacStatus>"),
]
REFUSED = [
    ("versioning", b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>", "NotImplemented"),
    (
        "versioning",
        b"<VersioningConfiguration><Status>Suspended</Status><MfaDelete>Enabled</MfaDelete></VersioningConfiguration>",
        "NotImplemented",
    ),
    ("versioning", b"<VersioningConfiguration/>", "IllegalVersioningConfigurationException"),
    ("versioning", b"<VersioningConfiguration><Status>On</Status></VersioningConfiguration>", "MalformedXML"),
    ("versioning", b"", "MalformedXML"),
    (
        "logging",
        b"<BucketLoggingStatus><LoggingEnabled><TargetBucket>box</TargetBucket></LoggingEnabled></BucketLoggingStatus>",
        "NotImplemented",
    ),
    (
        "notification",
        b"<NotificationConfiguration><QueueConfiguration><Queue>q</Queue></QueueConfiguration></NotificationConfiguration>",
        "NotImplemented",
    ),
    ("notification", b"<NotificationConfiguration><EventBridgeConfiguration/></NotificationConfiguration>", "NotImplemented"),
    ("requestPayment", b"<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>", "NotImplemented"),
    ("requestPayment", b"<RequestPaymentConfiguration><Payer>Nobody</Payer></RequestPaymentConfiguration>", "MalformedXML"),
    ("accelerate", b"<AccelerateConfiguration><Status>Enabled</Status></AccelerateConfiguration>", "NotImplemented"),
    ("abac", b"<AbacStatus><Status>Enabled</Status></AbacStatus>", "NotImplemented"),
    ("abac", b"<Status>Disabled</Status>", "MalformedXML"),
    ("accelerate", b'<!DOCTYPE a SYSTEM "file:///etc/passwd"><AccelerateConfiguration/>', "MalformedXML"),
]


@pytest.mark.parametrize(("subresource", "body"), ACCEPTED)
def test_a_put_of_what_is_so_anyway_is_accepted(store, subresource, body):
    before = store.send("GET", f"/box?{subresource}").body
    assert store.send("PUT", f"/box?{subresource}", body).status == 200
    assert store.send("GET", f"/box?{subresource}").body == before


@pytest.mark.parametrize(("subresource", "body", "expected"), REFUSED)
def test_any_other_put_is_refused(store, subresource, body, expected):
    before = store.send("GET", f"/box?{subresource}").body
    answer = store.send("PUT", f"/box?{subresource}", body)
    assert code(answer) == expected
    assert store.send("GET", f"/box?{subresource}").body == before


def test_every_put_that_is_called_not_configured_is_in_the_tests_above():
    tested = {subresource for subresource, _ in ACCEPTED} & {subresource for subresource, _, _ in REFUSED}
    assert {action.subresource for action in UNCONFIGURED if action.method == "PUT"} == tested
    assert {action.name for action in UNCONFIGURED if action.resource == BUCKET and action.method == "GET"} == {*CODES, *DOCUMENTS}


def test_a_body_that_is_not_what_was_signed_is_refused(store):
    body = b"<NotificationConfiguration/>"
    assert code(store.send("PUT", "/box?notification", body, payload="0" * 64)) == "XAmzContentSHA256Mismatch"
