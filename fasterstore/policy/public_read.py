"""The policy of a bucket that everybody may list and read: what `FS_BUCKETS=name:public` sets, as `mc anonymous set download` does."""

import json


def public_read_policy(bucket: str) -> bytes:
    """The document for that bucket, as PutBucketPolicy takes it."""
    arn = f"arn:aws:s3:::{bucket}"
    statements = (
        {"Sid": "PublicList", "Action": ["s3:GetBucketLocation", "s3:ListBucket"], "Resource": arn},
        {"Sid": "PublicRead", "Action": "s3:GetObject", "Resource": f"{arn}/*"},
    )
    document = {"Version": "2012-10-17", "Statement": [{**one, "Effect": "Allow", "Principal": "*"} for one in statements]}
    return json.dumps(document).encode()
