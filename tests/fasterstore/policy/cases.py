"""Policies and requests drawn from a small vocabulary, so that they meet: most statements are about some of the requests."""

import json

from hypothesis import strategies as st

from fasterstore.policy.question import Question
from tests.fasterstore.policy.reference import Ask

BUCKET = "arn:aws:s3:::box"
ACTIONS = [
    "GetObject",
    "GetObjectVersion",
    "PutObject",
    "DeleteObject",
    "ListBucket",
    "ListBucketVersions",
    "GetObjectTagging",
    "PutObjectTagging",
    "GetObjectAcl",
    "PutObjectAcl",
    "GetBucketLocation",
    "AbortMultipartUpload",
]
BUCKET_ACTIONS = {"ListBucket", "ListBucketVersions", "GetBucketLocation"}
KEYS = ["a", "docs/a", "docs/b.txt", "docs/deep/b", "owner-key/a", "us*r/a", "us?r/a", "naïve/ü", "anonymous/x\ny", "private", "docs/"]
ACTION_PATTERNS = [f"s3:{action}" for action in ACTIONS] + [
    "*", "*", "s3:*", "s3:*", "s3:*", "s3:*",
    "s3:Get*", "s3:*Object", "s3:*Tagging", "s3:List*", "s3:Put?bject", "S3:GETOBJECT", "s3:?etObjec*", "s3:*Object*",
]  # fmt: skip
RESOURCES = [
    f"{BUCKET}/*", f"{BUCKET}*", f"{BUCKET}*",
    BUCKET, f"{BUCKET}/*", f"{BUCKET}*", "arn:aws:s3:::*", f"{BUCKET}/docs/*", f"{BUCKET}/docs/?", f"{BUCKET}/*/*", f"{BUCKET}/*a",
    f"{BUCKET}/*o*s*/*", f"{BUCKET}/${{aws:username}}/*", f"{BUCKET}/${{aws:userid}}/*", f"{BUCKET}/us${{*}}r/*", f"{BUCKET}/us${{?}}r/?",
    f"{BUCKET}/${{aws:username, 'docs'}}/*", f"{BUCKET}/${{s3:prefix}}*", f"{BUCKET}/private", f"{BUCKET}/naïve/*", f"{BUCKET}/*b*",
]  # fmt: skip
PRINCIPALS = [
    "*",
    "*",
    "*",
    {"AWS": "*"},
    {"AWS": ["*"]},
    {"AWS": "000000000000"},
    {"AWS": "arn:aws:iam::000000000000:root"},
    {"AWS": ["arn:aws:iam::000000000000:user/owner-key", "111122223333"]},
    {"AWS": "arn:aws:iam::111122223333:root"},
    {"CanonicalUser": "000000000000"},
    {"CanonicalUser": "79a59df900b949e55d96a1e698fbacedfd6e09d98eacf8f8d5218e7cd47ef2be"},
    {"Service": "logging.s3.amazonaws.com"},
]
# Key: values that may stand in a policy, values that a request may bring.
TEXT_KEYS = {
    "s3:prefix": (["", "docs/", "docs/*", "d?cs/", "${aws:username}/", "owner-key/*", "*"], ["", "docs/", "docs/deep/", "owner-key/", "x"]),
    "s3:delimiter": (["/", "", "*"], ["/", "", "-"]),
    "s3:x-amz-acl": (["public-read", "public*", "PRIVATE", "private"], ["public-read", "private"]),
    "s3:x-amz-copy-source": (["box/docs/*", "box/a"], ["box/docs/a", "box/a", "other/a"]),
    "s3:x-amz-metadata-directive": (["COPY", "REPLACE", "c*"], ["COPY", "REPLACE"]),
    "s3:x-amz-storage-class": (["STANDARD", "*_IA"], ["STANDARD", "STANDARD_IA"]),
    "aws:Referer": (["http://example.com/*", "https://*.example.com/?", "*"], ["http://example.com/x", "https://a.example.com/b", ""]),
    "aws:UserAgent": (["boto*", "curl/8.0"], ["boto3/1", "curl/8.0"]),
    "aws:username": (["owner-key", "own*", "someone"], []),
    "aws:userid": (["anonymous", "owner-key"], []),
    "aws:PrincipalType": (["User", "Anonymous", "user"], []),
    "s3:authType": (["REST-HEADER", "REST-QUERY-STRING", "rest-*"], []),
    "s3:signatureversion": (["AWS4-HMAC-SHA256", "AWS"], []),
    "s3:ExistingObjectTag/team": (["red", "blue", "r*", "${aws:username}"], ["red", "blue", "owner-key"]),
    "s3:ExistingObjectTag/Team": (["red"], ["red"]),
    "s3:RequestObjectTag/team": (["red", "b?ue"], ["red", "blue"]),
    "s3:RequestObjectTagKeys": (["team", "cost", "t*"], []),
    "s3:VersionId": (["null", "v*"], ["null", "v1"]),
    "aws:SourceVpc": (["vpc-1"], []),
}
TYPED_KEYS = {
    "Numeric": ("s3:max-keys", ["10", "100.5", "0", 50, -1], ["10", "100", "50", "-1", "ten", "1e2", ""]),
    "Date": ("aws:CurrentTime", ["2023-11-14T22:13:20Z", "2023-11-14", "2030-01-01T00:00:00+02:00", "1700000000", 1600000000], []),
    "Epoch": ("aws:EpochTime", ["1700000000", 1_700_000_001, "2023-11-14T22:13:20Z"], []),
    "Bool": ("aws:SecureTransport", ["true", "false", True, False, "TRUE"], []),
    "Ip": ("aws:SourceIp", ["192.0.2.0/24", "192.0.2.7", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32", "192.0.2.99/30"], []),
    "Arn": ("aws:PrincipalArn", ["arn:aws:iam::*:user/*", "arn:aws:iam::000000000000:root", "arn:*:user/owner-key", "*",
                                 "arn:aws:iam::000000000000:user/${aws:username}", "${aws:PrincipalArn}", "arn:aws:*:*:0*:u?er/*"], []),
    "Binary": ("aws:username", ["b3duZXIta2V5", "AAAA"], []),
}  # fmt: skip
STRING_OPERATORS = ["StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringNotEqualsIgnoreCase", "StringLike", "StringNotLike"]
ORDERS = ["Equals", "NotEquals", "LessThan", "LessThanEquals", "GreaterThan", "GreaterThanEquals"]
TYPED_OPERATORS = {
    "Numeric": [f"Numeric{order}" for order in ORDERS],
    "Date": [f"Date{order}" for order in ORDERS],
    "Epoch": [f"{kind}{order}" for kind in ("Date", "Numeric") for order in ORDERS],
    "Bool": ["Bool"],
    "Ip": ["IpAddress", "NotIpAddress"],
    "Arn": ["ArnEquals", "ArnLike", "ArnNotEquals", "ArnNotLike"],
    "Binary": ["BinaryEquals"],
}
NOWS_MS = [1_700_000_000_000, 1_700_000_000_999, 1_699_999_999_999, 1_650_000_000_000, 1_900_000_000_000]
IPS = ["192.0.2.7", "192.0.2.97", "10.1.2.3", "::ffff:192.0.2.7", "2001:db8::1", "::1"]


def some(values, most=3):
    """One of the values, or a list of a few."""
    return st.one_of(st.sampled_from(values), st.lists(st.sampled_from(values), min_size=1, max_size=most))


@st.composite
def conditions(draw):
    block = {}
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))):
        kind = draw(st.sampled_from(["text", "text", "text", "null", *TYPED_OPERATORS]))
        if kind in ("text", "null"):
            key = draw(st.sampled_from(sorted(TEXT_KEYS)))
            values = TEXT_KEYS[key][0]
            operator = draw(st.sampled_from(STRING_OPERATORS))
        else:
            key, values, _ = TYPED_KEYS[kind]
            operator = draw(st.sampled_from(TYPED_OPERATORS[kind]))
        if kind == "null":
            block.setdefault("Null", {})[key] = draw(st.sampled_from(["true", "false", True]))
            continue
        prefix = draw(st.sampled_from(["", "", "", "", "ForAllValues:", "ForAnyValue:"]))
        suffix = draw(st.sampled_from(["", "", "", "IfExists"]))
        if draw(st.booleans()):
            key = draw(st.sampled_from([key, key.upper() if "/" not in key else key]))
        block.setdefault(f"{prefix}{operator}{suffix}", {})[key] = draw(some(values))
    return block


@st.composite
def statements(draw):
    effect = draw(st.sampled_from(["Allow", "Allow", "Deny"]))
    who = "Principal" if effect == "Allow" else draw(st.sampled_from(["Principal", "Principal", "Principal", "NotPrincipal"]))
    rarely = st.sampled_from(["", "", "", "", "Not"])
    statement = {
        "Effect": effect,
        who: draw(st.sampled_from(PRINCIPALS)),
        f"{draw(rarely)}Action": draw(some(ACTION_PATTERNS)),
        f"{draw(rarely)}Resource": draw(some(RESOURCES)),
    }
    block = draw(conditions())
    if block:
        statement["Condition"] = block
    return statement


@st.composite
def policies(draw):
    policy = {"Version": draw(st.sampled_from(["2012-10-17", "2012-10-17", "2012-10-17", "2008-10-17"]))}
    policy["Statement"] = draw(st.lists(statements(), min_size=1, max_size=4))
    return json.loads(json.dumps(policy))


class Digits:
    """Choices read off a number: one draw for a whole request, where forty would take longer than the decisions."""

    def __init__(self, raw: bytes) -> None:
        self._left = int.from_bytes(raw)

    def one_of(self, values):
        self._left, digit = divmod(self._left, len(values))
        return values[digit]

    def often(self, one_in: int) -> bool:
        return self.one_of(range(one_in)) == 0


ASK_BYTES = 24


def asks(count):
    """Lists of `count` requests."""
    pieces = st.binary(min_size=ASK_BYTES * count, max_size=ASK_BYTES * count)
    return pieces.map(lambda raw: [ask_of(raw[place : place + ASK_BYTES]) for place in range(0, len(raw), ASK_BYTES)])


def ask_of(raw: bytes) -> Ask:
    """The request that these bytes choose."""
    digits = Digits(raw)
    action = digits.one_of(ACTIONS)
    owner = digits.often(2)
    given = {key: digits.one_of(TEXT_KEYS[key][1]) for key in sorted(TEXT_KEYS) if TEXT_KEYS[key][1] and digits.often(3)}
    headers = {key.partition(":")[2].lower(): value for key, value in given.items() if key.startswith("s3:x-amz-")}
    headers |= {name: given[key] for key, name in (("aws:Referer", "referer"), ("aws:UserAgent", "user-agent")) if key in given}
    query = {name: given[f"s3:{name}"] for name in ("prefix", "delimiter") if f"s3:{name}" in given}
    if digits.often(2):
        query["max-keys"] = digits.one_of(TYPED_KEYS["Numeric"][2])
    if "s3:VersionId" in given:
        query["versionId"] = given["s3:VersionId"]
    existing, brought = "s3:ExistingObjectTag/", "s3:RequestObjectTag/"
    request_tags = {key.removeprefix(brought): value for key, value in given.items() if key.startswith(brought)}
    if digits.often(2):
        request_tags["cost"] = "1"
    return Ask(
        owner=owner,
        action=action,
        resource=BUCKET if action in BUCKET_ACTIONS else f"{BUCKET}/{digits.one_of(KEYS)}",
        operation=action,
        headers=headers,
        query=query,
        source_ip=digits.one_of(IPS),
        secure=digits.often(2),
        now_ms=digits.one_of(NOWS_MS),
        scheme=digits.one_of(["sigv4", "sigv4-query"]) if owner else "none",
        existing_tags={key.removeprefix(existing): value for key, value in given.items() if key.startswith(existing)},
        request_tags=request_tags,
    )


def question_of(ask: Ask) -> Question:
    """The same request for the compiled policy."""
    return Question(
        ask.action.lower(),
        ask.resource,
        ask.owner,
        ask.operation,
        headers=ask.headers,
        query=ask.query,
        source_ip=ask.source_ip,
        is_secure=ask.secure,
        now_ms=ask.now_ms,
        scheme=ask.scheme,
        access_key="owner-key" if ask.owner else "",
        region="us-east-1",
        existing_tags=lambda: ask.existing_tags,
        request_tags=ask.request_tags,
    )
