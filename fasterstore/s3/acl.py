"""Canned ACLs, and the documents and headers that say the same. Grants to accounts are not built: there is one account.

A stored ACL is the name of a canned one. A bucket keeps it as the setting "acl" (the name as ASCII bytes; no setting: private), an
object as `ObjectRow.acl` (the name; "": private). Of the canned names that differ only in what the bucket's owner may do with other
accounts' objects nothing is left to keep: they are private. Source: S3 user guide, "Access control list (ACL) overview"; API pages
PutBucketAcl, PutObjectAcl.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple
from xml.etree.ElementTree import Element

from fasterstore.s3.errors import S3Error
from fasterstore.s3.xml import OWNER_ID, owner
from fasterstore.s3.xml_reader import children, local_name, need_text, parse_document, text_of
from fasterstore.s3.xml_text import document, element

PRIVATE = "private"
ALL_USERS = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED_USERS = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
LOG_DELIVERY = "http://acs.amazonaws.com/groups/s3/LogDelivery"
FULL_CONTROL = "FULL_CONTROL"

_GROUPS = frozenset((ALL_USERS, AUTHENTICATED_USERS, LOG_DELIVERY))
_PERMISSIONS = frozenset((FULL_CONTROL, "READ", "WRITE", "READ_ACP", "WRITE_ACP"))
_GRANT_HEADERS = {
    "x-amz-grant-full-control": FULL_CONTROL,
    "x-amz-grant-read": "READ",
    "x-amz-grant-write": "WRITE",
    "x-amz-grant-read-acp": "READ_ACP",
    "x-amz-grant-write-acp": "WRITE_ACP",
}
_XSI = "http://www.w3.org/2001/XMLSchema-instance"


class Grant(NamedTuple):
    """`grantee` is the owner's id or a group's URI."""

    grantee: str
    permission: str


CANNED: dict[str, tuple[Grant, ...]] = {
    PRIVATE: (),
    "public-read": (Grant(ALL_USERS, "READ"),),
    "public-read-write": (Grant(ALL_USERS, "READ"), Grant(ALL_USERS, "WRITE")),
    "authenticated-read": (Grant(AUTHENTICATED_USERS, "READ"),),
}
"""What each canned ACL that is kept grants beside the owner's FULL_CONTROL."""
PUBLIC = frozenset(("public-read", "public-read-write", "authenticated-read"))
"""Those that S3 calls public: they grant something to AllUsers or AuthenticatedUsers (user guide, "The meaning of public")."""
_SAME_AS_PRIVATE = frozenset(("bucket-owner-read", "bucket-owner-full-control"))
_NOT_BUILT = frozenset(("aws-exec-read", "log-delivery-write"))
_BY_GRANTS = {frozenset((Grant(OWNER_ID, FULL_CONTROL), *grants)): name for name, grants in CANNED.items()}


def requested_acl(headers: Mapping[str, str]) -> str | None:
    """The canned ACL that the headers of a request ask for, a key of CANNED; None if they ask for none.

    Raises S3Error InvalidArgument for an unknown name or grantee, InvalidRequest for name and grants at once, NotImplemented for grants
    that no canned ACL has, UnresolvableGrantByEmailAddress.
    """
    name = headers.get("x-amz-acl")
    grants = [grant for header, permission in _GRANT_HEADERS.items() if header in headers for grant in _grants(headers[header], permission)]
    if not grants:
        return None if name is None else canned_name(name)
    if name is not None:
        raise S3Error("InvalidRequest", "Specifying both Canned ACLs and Header Grants is not allowed")
    return _canned(grants)


def canned_name(name: str) -> str:
    """The canned ACL under which `name` is kept. Raises S3Error InvalidArgument, NotImplemented."""
    if name in CANNED:
        return name
    if name in _SAME_AS_PRIVATE:
        return PRIVATE
    if name in _NOT_BUILT:
        raise S3Error("NotImplemented", f"The canned ACL {name} is not implemented.", Header="x-amz-acl")
    raise S3Error("InvalidArgument", "", ArgumentName="x-amz-acl", ArgumentValue=name)


def parse_acl(body: bytes) -> str:
    """The canned ACL that an AccessControlPolicy document is equal to.

    Raises S3Error MalformedACLError, AccessDenied for another owner, and as `requested_acl` for its grants.
    """
    try:
        root = parse_document(body, "AccessControlPolicy")
        owners, lists = list(children(root, "Owner")), list(children(root, "AccessControlList"))
        if len(owners) != 1 or len(lists) != 1:
            raise S3Error("MalformedACLError")
        if need_text(owners[0], "ID") != OWNER_ID:
            raise S3Error("AccessDenied")
        return _canned([_grant(node) for node in lists[0]])
    except S3Error as error:
        raise S3Error("MalformedACLError") if error.code == "MalformedXML" else error from None


def render_acl(name: str) -> bytes:
    """AccessControlPolicy for a canned ACL's name ("" is private).

    Groups come before the owner: the order means nothing, and ceph/s3-tests compares it.
    """
    parts = [owner(), "<AccessControlList>"]
    for grantee, permission in CANNED[name or PRIVATE]:
        parts.append(_rendered(f'<Grantee xmlns:xsi="{_XSI}" xsi:type="Group">{element("URI", grantee)}</Grantee>', permission))
    inner = owner().removeprefix("<Owner>").removesuffix("</Owner>")
    parts.append(_rendered(f'<Grantee xmlns:xsi="{_XSI}" xsi:type="CanonicalUser">{inner}</Grantee>', FULL_CONTROL))
    parts.append("</AccessControlList>")
    return document("AccessControlPolicy", parts)


def _rendered(grantee: str, permission: str) -> str:
    return f"<Grant>{grantee}{element('Permission', permission)}</Grant>"


def _canned(grants: Iterable[Grant]) -> str:
    name = _BY_GRANTS.get(frozenset(grants))
    if name is None:
        raise S3Error("NotImplemented", "Only the grants of a canned ACL, beside the owner's FULL_CONTROL, are implemented.")
    return name


def _grant(node: Element) -> Grant:
    """One `<Grant>` of a document."""
    permission = need_text(node, "Permission")
    grantees = list(children(node, "Grantee"))
    if local_name(node) != "Grant" or len(grantees) != 1 or permission not in _PERMISSIONS:
        raise S3Error("MalformedACLError")
    for kind, element_name in (("id", "ID"), ("uri", "URI"), ("emailAddress", "EmailAddress")):
        value = text_of(grantees[0], element_name)
        if value is not None:
            return Grant(_grantee(kind, value), permission)
    raise S3Error("MalformedACLError")


def _grants(value: str, permission: str) -> list[Grant]:
    """The grants of one x-amz-grant-* header: `uri="...", id="..."`, the quotes optional."""
    grants = []
    for item in value.split(","):
        kind, _, grantee = item.strip().partition("=")
        grants.append(Grant(_grantee(kind, grantee.strip().strip('"')), permission))
    return grants


def _grantee(kind: str, value: str) -> str:
    if kind == "id":
        if value != OWNER_ID:
            raise S3Error("InvalidArgument", "Invalid id", ArgumentName="CanonicalUser/ID", ArgumentValue=value)
    elif kind == "uri":
        if value not in _GROUPS:
            raise S3Error("InvalidArgument", "Invalid group uri", ArgumentName="Group/URI", ArgumentValue=value)
    elif kind == "emailAddress":
        raise S3Error("UnresolvableGrantByEmailAddress")
    else:
        raise S3Error("InvalidArgument", "Argument format not recognized", ArgumentName="x-amz-grant", ArgumentValue=value)
    return value
