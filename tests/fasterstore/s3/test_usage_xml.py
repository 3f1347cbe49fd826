"""How much is stored, as Ceph's clients read it."""

from defusedxml.ElementTree import fromstring

from fasterstore.model import UsageRow
from fasterstore.s3.usage_xml import QUOTA_HEADERS, render_usage, usage_headers


def test_totals_are_the_sums_of_all_buckets_and_quotas_are_none():
    root = fromstring(render_usage([UsageRow("a", 2, 5), UsageRow("b", 3, 7)]))
    summary = {child.tag: child.text for child in root.find("Summary")}
    assert (root.tag, summary["TotalBytes"], summary["TotalEntries"]) == ("Usage", "12", "5")
    assert (summary["QuotaMaxBytes"], summary["QuotaMaxObjCountPerBucket"], summary["QuotaMaxBuckets"]) == ("-1", "-1", "1000")
    entries = root.findall("CapacityUsed/User/Buckets/Entry")
    assert [(entry.findtext("Bucket"), entry.findtext("Bytes")) for entry in entries] == [("a", "5"), ("b", "7")]


def test_of_no_bucket_nothing_is_told_but_zeros():
    root = fromstring(render_usage([]))
    assert (root.findtext("Summary/TotalBytes"), root.findtext("Summary/TotalEntries")) == ("0", "0")
    assert root.find("CapacityUsed/User/Buckets/Entry") is None


def test_a_bucket_tells_its_counters_in_headers():
    assert usage_headers(UsageRow("a", 2, 5)) == [("X-RGW-Object-Count", "2"), ("X-RGW-Bytes-Used", "5")]
    assert dict(QUOTA_HEADERS)["X-RGW-Quota-Max-Buckets"] == "1000"
