"""How much is stored, as Ceph's object gateway tells it: an extension of its own, unknown to AWS. Values in, texts out.

Quotas: a node has none, which Ceph writes -1. Of buckets Ceph always names a number, and its clients read one: its default of 1000 is
told, and nothing is refused by it. What only Ceph counts (traffic by category, sizes rounded up to its blocks) is left out.
Source: Ceph documentation, "Get Usage" and "Head Bucket" of the S3 API; its sources, rgw_rest_s3.cc.
"""

from collections.abc import Sequence

from fasterstore.model import UsageRow
from fasterstore.s3.xml_text import document, element

NO_QUOTA = "-1"
BUCKETS_TOLD = "1000"
_QUOTAS = (
    ("QuotaMaxBytes", NO_QUOTA),
    ("QuotaMaxBuckets", BUCKETS_TOLD),
    ("QuotaMaxObjCount", NO_QUOTA),
    ("QuotaMaxBytesPerBucket", NO_QUOTA),
    ("QuotaMaxObjCountPerBucket", NO_QUOTA),
)

QUOTA_HEADERS = [
    ("X-RGW-Quota-User-Size", NO_QUOTA),
    ("X-RGW-Quota-User-Objects", NO_QUOTA),
    ("X-RGW-Quota-Max-Buckets", BUCKETS_TOLD),
    ("X-RGW-Quota-Bucket-Size", NO_QUOTA),
    ("X-RGW-Quota-Bucket-Objects", NO_QUOTA),
]
"""What HEAD of a bucket tells its owner of quotas."""


def usage_headers(usage: UsageRow) -> list[tuple[str, str]]:
    """What HEAD of a bucket tells of what it holds."""
    return [("X-RGW-Object-Count", str(usage.objects)), ("X-RGW-Bytes-Used", str(usage.size_bytes))]


def render_usage(buckets: Sequence[UsageRow]) -> bytes:
    """The Usage document: quotas and totals, then each bucket's bytes. It has no namespace."""
    summary = [element(name, value) for name, value in _QUOTAS]
    summary.append(element("TotalBytes", str(sum(bucket.size_bytes for bucket in buckets))))
    summary.append(element("TotalEntries", str(sum(bucket.objects for bucket in buckets))))
    entries = [f"<Entry>{element('Bucket', usage.bucket)}{element('Bytes', str(usage.size_bytes))}</Entry>" for usage in buckets]
    parts = ("<Summary>", *summary, "</Summary><CapacityUsed><User><Buckets>", *entries, "</Buckets></User></CapacityUsed>")
    return document("Usage", parts, namespace="")
