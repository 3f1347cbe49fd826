"""What a policy is asked: may this principal do this action on this resource, in this request?"""

from collections.abc import Callable, Mapping

ACCOUNT_ID = "000000000000"
ROOT_ARN = f"arn:aws:iam::{ACCOUNT_ID}:root"
BUCKET_ARN_PREFIX = "arn:aws:s3:::"
_NOTHING: dict[str, str] = {}


def user_arn(access_key: str) -> str:
    """The ARN of the owner, by his access key."""
    return f"arn:aws:iam::{ACCOUNT_ID}:user/{access_key}"


def no_tags() -> Mapping[str, str]:
    """For a question that is not about an object there is."""
    return _NOTHING


class Question:
    """One decision to make. `action` and `resource` may be changed to ask the next about the same request.

    `action` is an IAM action, lower-case without `s3:`; `resource` the ARN of the bucket or object; `is_owner` tells the one owner from
    anybody else. The rest is what conditions can see: `operation` the S3 API action, `headers` by lower-case name, `query` decoded,
    `raw_query` as sent (for the time of a presigned URL), `source_ip` text, `is_secure` for TLS, `now_ms` Unix milliseconds, `scheme`
    the signature's scheme ("none": not signed), `access_key` the signer's, `region` this node's. `existing_tags` gives the tags of the
    object, called only if a condition asks; `request_tags` are those that the request brings, None if x-amz-tagging says. `prefix` takes
    the place of the query's when a missing key is asked for.
    """

    __slots__ = (
        "access_key", "action", "existing_tags", "headers", "is_owner", "is_secure", "now_ms", "operation", "prefix", "query", "raw_query",
        "region", "request_tags", "resource", "scheme", "source_ip",
    )  # fmt: skip

    def __init__(
        self,
        action: str,
        resource: str,
        is_owner: bool,
        operation: str = "",
        *,
        headers: Mapping[str, str] = _NOTHING,
        query: Mapping[str, str] = _NOTHING,
        raw_query: str = "",
        source_ip: str = "",
        is_secure: bool = False,
        now_ms: int = 0,
        scheme: str = "none",
        access_key: str = "",
        region: str = "",
        existing_tags: Callable[[], Mapping[str, str]] = no_tags,
        request_tags: Mapping[str, str] | None = None,
    ) -> None:
        self.action = action
        self.resource = resource
        self.is_owner = is_owner
        self.operation = operation
        self.headers = headers
        self.query = query
        self.raw_query = raw_query
        self.source_ip = source_ip
        self.is_secure = is_secure
        self.now_ms = now_ms
        self.scheme = scheme
        self.access_key = access_key
        self.region = region
        self.existing_tags = existing_tags
        self.request_tags = request_tags
        self.prefix: str | None = None
