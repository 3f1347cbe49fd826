"""Everything in a bucket's settings that decides who may do what: policy, ACL, object ownership, public access block.

The owner may do all that the policy does not explicitly deny. Anybody else may do what the policy allows, or what a public canned ACL of
the bucket or object grants, unless the policy denies it; the public access block takes back what it takes back. Sources: S3 user guide,
"Access control list (ACL) overview" (mapping of ACL permissions), "Blocking public access", "Controlling ownership of objects".
"""

from collections import OrderedDict
from collections.abc import Mapping

from fasterstore.model import BucketRow
from fasterstore.policy.compiled import CompiledPolicy, Verdict
from fasterstore.policy.document import parse_document
from fasterstore.policy.question import Question
from fasterstore.s3.errors import S3Error

PUBLIC_READ, PUBLIC_READ_WRITE = "public-read", "public-read-write"
ACLS_DISABLED = b"BucketOwnerEnforced"
# The order of the four characters of the setting.
_BLOCKS_NOTHING = b"0000"
_IGNORE_PUBLIC_ACLS, _BLOCK_PUBLIC_POLICY, _RESTRICT_PUBLIC_BUCKETS = 1, 2, 3
_ON = ord("1")

# IAM actions that an ACL grants everybody. Who may write objects by the bucket's ACL may give them an ACL and tags while he does.
_OBJECT_READ = frozenset(("getobject", "getobjectversion"))
_BUCKET_READ = frozenset(("listbucket", "listbucketversions", "listbucketmultipartuploads"))
_BUCKET_WRITE = frozenset(("putobject", "deleteobject"))
_WITH_A_WRITE = frozenset(("putobjectacl", "putobjecttagging"))
_WRITES = frozenset(("PutObject", "PostObject", "CopyObject", "CreateMultipartUpload"))

_SETTINGS = ("policy", "acl", "ownership", "public-access-block")


def blocks_public_policies(settings: Mapping[str, bytes]) -> bool:
    """Does the public access block refuse a public policy?"""
    return settings.get("public-access-block", _BLOCKS_NOTHING)[_BLOCK_PUBLIC_POLICY] == _ON


class BucketAccess:
    """The rules of one bucket as of one version of its settings."""

    __slots__ = ("_acl_counts", "_bucket_acl", "_policy_allows_anonymous", "_unreadable", "policy")

    def __init__(self, settings: Mapping[str, bytes], owner_access_key: str) -> None:
        """`settings` as in `BucketRow.settings`. A stored policy that cannot be read denies everything."""
        block = settings.get("public-access-block", _BLOCKS_NOTHING)
        self._acl_counts = settings.get("ownership") != ACLS_DISABLED and block[_IGNORE_PUBLIC_ACLS] != _ON
        self._bucket_acl = settings.get("acl", b"").decode("ascii", "replace")
        self._unreadable = False
        self.policy: CompiledPolicy | None = None
        """The bucket's policy, if it has one."""
        text = settings.get("policy")
        if text is not None:
            try:
                self.policy = CompiledPolicy(parse_document(text), owner_access_key)
            except S3Error:
                self._unreadable = True
        is_restricted = block[_RESTRICT_PUBLIC_BUCKETS] == _ON and self.policy is not None and self.policy.is_public
        self._policy_allows_anonymous = self.policy is not None and not is_restricted

    @property
    def has_public_acl(self) -> bool:
        """Does the bucket's ACL grant anything to everybody, or to everybody with an AWS account?"""
        return self._acl_counts and self._bucket_acl in (PUBLIC_READ, PUBLIC_READ_WRITE, "authenticated-read")

    def decide(self, question: Question, object_acl: str = "") -> Verdict:
        """ALLOWED, DENIED (explicitly), or SILENT: not allowed, for somebody who is not the owner.

        `object_acl` is the canned ACL of the object that the question is about, "" without one.
        """
        if self._unreadable:
            return Verdict.DENIED
        said = Verdict.SILENT if self.policy is None else self.policy.decide(question)
        if said is Verdict.DENIED:
            return said
        if question.is_owner or (said is Verdict.ALLOWED and self._policy_allows_anonymous):
            return Verdict.ALLOWED
        return Verdict.ALLOWED if self._acl_counts and self._acl_grants(question, object_acl) else Verdict.SILENT

    def may_delete_some(self) -> bool:
        """Could anybody be allowed to delete some object? Otherwise a request to delete many is refused as a whole."""
        by_policy = self._policy_allows_anonymous and self.policy is not None and self.policy.may_allow_anonymous("deleteobject")
        return by_policy or (self._acl_counts and self._bucket_acl == PUBLIC_READ_WRITE)

    def _acl_grants(self, question: Question, object_acl: str) -> bool:
        action = question.action
        if action in _OBJECT_READ:
            return object_acl in (PUBLIC_READ, PUBLIC_READ_WRITE)
        if action in _BUCKET_READ:
            return self._bucket_acl in (PUBLIC_READ, PUBLIC_READ_WRITE)
        if action in _BUCKET_WRITE or (action in _WITH_A_WRITE and question.operation in _WRITES):
            return self._bucket_acl == PUBLIC_READ_WRITE
        return False


class AccessCache:
    """The rules of the buckets used last, by bucket and version: a policy is compiled once for each version of the row.

    The settings themselves are compared too: numbers mean nothing under another log, which a restored node has.
    """

    __slots__ = ("_entries", "_limit")

    def __init__(self, limit: int) -> None:
        """`limit`: how many buckets are kept."""
        self._limit = limit
        self._entries: OrderedDict[tuple[int, int, str], tuple[list[bytes | None], BucketAccess]] = OrderedDict()

    def of(self, row: BucketRow, owner_access_key: str) -> BucketAccess:
        """The rules of that bucket as of `row`."""
        key = (row.bucket_id, row.version, owner_access_key)
        source = [row.settings.get(name) for name in _SETTINGS]
        found = self._entries.get(key)
        if found is not None and found[0] == source:
            self._entries.move_to_end(key)
            return found[1]
        access = BucketAccess(row.settings, owner_access_key)
        self._entries[key] = (source, access)
        self._entries.move_to_end(key)
        while len(self._entries) > self._limit:
            self._entries.popitem(last=False)
        return access
