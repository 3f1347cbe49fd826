"""Canned ACLs and what says the same: headers, grants, documents."""

import pytest
from defusedxml.ElementTree import fromstring

from fasterstore.s3 import acl
from fasterstore.s3.errors import S3Error
from fasterstore.s3.xml import OWNER_ID

NS = "{http://s3.amazonaws.com/doc/2006-03-01/}"
XSI = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'
ALL = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
LOGS = "http://acs.amazonaws.com/groups/s3/LogDelivery"


def user(permission: str = "FULL_CONTROL", user_id: str = OWNER_ID) -> str:
    grantee = f'<Grantee {XSI} xsi:type="CanonicalUser"><ID>{user_id}</ID></Grantee>'
    return f"<Grant>{grantee}<Permission>{permission}</Permission></Grant>"


def group(uri: str, permission: str) -> str:
    return f'<Grant><Grantee {XSI} xsi:type="Group"><URI>{uri}</URI></Grantee><Permission>{permission}</Permission></Grant>'


def policy(*grants: str, owner_id: str = OWNER_ID) -> bytes:
    owner = f"<Owner><ID>{owner_id}</ID></Owner>"
    return f"<AccessControlPolicy>{owner}<AccessControlList>{''.join(grants)}</AccessControlList></AccessControlPolicy>".encode()


def refusal_of(call, *arguments) -> S3Error:
    with pytest.raises(S3Error) as refused:
        call(*arguments)
    return refused.value


@pytest.mark.parametrize("name", acl.CANNED)
def test_a_canned_acl_survives_its_document(name: str) -> None:
    assert acl.parse_acl(acl.render_acl(name)) == name


def test_a_document_names_the_owner_and_each_grant() -> None:
    root = fromstring(acl.render_acl("public-read-write"))
    assert root.findtext(f"{NS}Owner/{NS}ID") == OWNER_ID
    grants = [
        (node.findtext(f"{NS}Grantee/{NS}URI") or node.findtext(f"{NS}Grantee/{NS}ID"), node.findtext(f"{NS}Permission"))
        for node in root.iter(f"{NS}Grant")
    ]
    assert sorted(grants) == sorted([(OWNER_ID, "FULL_CONTROL"), (ALL, "READ"), (ALL, "WRITE")])
    kinds = {grantee.get("{http://www.w3.org/2001/XMLSchema-instance}type") for grantee in root.iter(f"{NS}Grantee")}
    assert kinds == {"CanonicalUser", "Group"}
    assert acl.render_acl("") == acl.render_acl("private")


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (policy(user()), "private"),
        (policy(user(), user()), "private"),
        (policy(group(ALL, "READ"), user()), "public-read"),
        (policy(user(), group(ALL, "WRITE"), group(ALL, "READ")), "public-read-write"),
        (policy(user(), group(AUTHENTICATED, "READ")), "authenticated-read"),
    ],
)
def test_a_document_that_equals_a_canned_acl_is_that(body: bytes, name: str) -> None:
    assert acl.parse_acl(body) == name


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (policy(), "NotImplemented"),
        (policy(group(ALL, "READ")), "NotImplemented"),
        (policy(user("READ")), "NotImplemented"),
        (policy(user(), user("WRITE_ACP")), "NotImplemented"),
        (policy(user(), group(ALL, "FULL_CONTROL")), "NotImplemented"),
        (policy(user(), group(ALL, "WRITE")), "NotImplemented"),
        (policy(user(), group(LOGS, "WRITE")), "NotImplemented"),
        (policy(user(), group("http://acs.amazonaws.com/groups/global/Nobody", "READ")), "InvalidArgument"),
        (policy(user(), user("READ", "another")), "InvalidArgument"),
        (policy(user(), group(ALL, "READ").replace("URI>", "EmailAddress>")), "UnresolvableGrantByEmailAddress"),
        (policy(user(), owner_id="another"), "AccessDenied"),
        (policy(user("ALL")), "MalformedACLError"),
        (policy(user().replace("<ID>000000000000</ID>", "")), "MalformedACLError"),
        (policy("<Grant/>"), "MalformedACLError"),
        (policy(user()).replace(b"Grant>", b"Gift>"), "MalformedACLError"),
        (b"<AccessControlPolicy/>", "MalformedACLError"),
        (b"<AccessControlPolicy><AccessControlList/></AccessControlPolicy>", "MalformedACLError"),
        (b"<Other/>", "MalformedACLError"),
        (b"{}", "MalformedACLError"),
        (b'<!DOCTYPE a [<!ENTITY b "c">]>' + policy(user()), "MalformedACLError"),
    ],
)
def test_any_other_document_is_refused(body: bytes, code: str) -> None:
    assert refusal_of(acl.parse_acl, body).code == code


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ({}, None),
        ({"x-amz-meta-acl": "public-read"}, None),
        ({"x-amz-acl": "private"}, "private"),
        ({"x-amz-acl": "public-read"}, "public-read"),
        ({"x-amz-acl": "bucket-owner-full-control"}, "private"),
        ({"x-amz-acl": "bucket-owner-read"}, "private"),
        ({"x-amz-grant-full-control": f'id="{OWNER_ID}"', "x-amz-grant-read": f'uri="{ALL}"'}, "public-read"),
        ({"x-amz-grant-full-control": f"id={OWNER_ID}", "x-amz-grant-read": f'uri="{AUTHENTICATED}"'}, "authenticated-read"),
        (
            {"x-amz-grant-full-control": f'id="{OWNER_ID}"', "x-amz-grant-read": f'uri="{ALL}"', "x-amz-grant-write": f"uri={ALL}"},
            "public-read-write",
        ),
    ],
)
def test_headers_ask_for_a_canned_acl_by_name_or_by_its_grants(headers: dict[str, str], name: str | None) -> None:
    assert acl.requested_acl(headers) == name


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"x-amz-acl": "public"}, "InvalidArgument"),
        ({"x-amz-acl": ""}, "InvalidArgument"),
        ({"x-amz-acl": "log-delivery-write"}, "NotImplemented"),
        ({"x-amz-acl": "private", "x-amz-grant-read": f'uri="{ALL}"'}, "InvalidRequest"),
        ({"x-amz-grant-read": f'uri="{ALL}"'}, "NotImplemented"),
        ({"x-amz-grant-full-control": f'id="{OWNER_ID}", uri="{ALL}"'}, "NotImplemented"),
        ({"x-amz-grant-read-acp": f'id="{OWNER_ID}"'}, "NotImplemented"),
        ({"x-amz-grant-read": 'id="another"'}, "InvalidArgument"),
        ({"x-amz-grant-read": "everybody"}, "InvalidArgument"),
        ({"x-amz-grant-read": ""}, "InvalidArgument"),
        ({"x-amz-grant-read": 'emailAddress="a@example.org"'}, "UnresolvableGrantByEmailAddress"),
    ],
)
def test_headers_that_ask_for_anything_else_are_refused(headers: dict[str, str], code: str) -> None:
    assert refusal_of(acl.requested_acl, headers).code == code


def test_what_counts_as_public_is_every_canned_acl_that_grants_something() -> None:
    assert {name for name, grants in acl.CANNED.items() if grants} == acl.PUBLIC
