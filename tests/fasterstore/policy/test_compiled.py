"""Who is meant by a principal, which statement wins, and that a stored policy is decided as it was written."""

import json

import pytest

from fasterstore.policy.compiled import CompiledPolicy, Verdict
from fasterstore.policy.document import parse_document
from fasterstore.policy.question import Question

OBJECT = "arn:aws:s3:::box/a"
ALLOWED, DENIED, SILENT = Verdict.ALLOWED, Verdict.DENIED, Verdict.SILENT


def compiled(*statements):
    given = [{"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::box/*", **one} for one in statements]
    for statement in given:
        for name in ("Principal", "Action", "Resource"):
            if f"Not{name}" in statement:
                del statement[name]
    return CompiledPolicy(parse_document(json.dumps({"Version": "2012-10-17", "Statement": given}).encode()), "owner-key")


def decide(policy, owner=False, action="getobject", resource=OBJECT):
    return policy.decide(Question(action, resource, owner, access_key="owner-key" if owner else ""))


@pytest.mark.parametrize(
    ("principal", "owner", "anonymous"),
    [
        ("*", True, True),
        ({"AWS": "*"}, True, True),
        ({"AWS": ["111122223333", "*"]}, True, True),
        ({"AWS": "000000000000"}, True, False),
        ({"AWS": "arn:aws:iam::000000000000:root"}, True, False),
        ({"AWS": "arn:aws:iam::000000000000:user/owner-key"}, True, False),
        ({"AWS": "arn:aws:iam::000000000000:user/another"}, False, False),
        ({"AWS": "arn:aws:iam::111122223333:root"}, False, False),
        ({"CanonicalUser": "000000000000"}, True, False),
        ({"CanonicalUser": "111122223333"}, False, False),
        ({"Service": "logging.s3.amazonaws.com"}, False, False),
        ({"Service": "logging.s3.amazonaws.com", "AWS": "*"}, True, True),
    ],
)
def test_a_principal_is_the_owner_everybody_or_nobody_here(principal, owner, anonymous):
    policy = compiled({"Principal": principal})
    assert (decide(policy, owner=True) is ALLOWED, decide(policy) is ALLOWED) == (owner, anonymous)
    inverted = compiled({"Effect": "Deny", "NotPrincipal": principal})
    assert (decide(inverted, owner=True) is DENIED, decide(inverted) is DENIED) == (not owner, not anonymous)


def test_a_deny_wins_wherever_it_stands():
    deny = {"Effect": "Deny", "Resource": OBJECT}
    for statements in (({}, deny), (deny, {})):
        policy = compiled(*statements)
        assert decide(policy) is DENIED
        assert decide(policy, owner=True) is DENIED
        assert decide(policy, resource="arn:aws:s3:::box/b") is ALLOWED


def test_what_no_statement_is_about_is_neither_allowed_nor_denied():
    policy = compiled({})
    assert decide(policy, action="putobject") is SILENT
    assert decide(policy, action="listbucket", resource="arn:aws:s3:::box") is SILENT
    assert decide(policy, resource="arn:aws:s3:::other/a") is SILENT
    assert decide(policy, action="") is SILENT


def test_the_not_forms_are_about_everything_else():
    policy = compiled({"NotAction": ["s3:Delete*", "s3:PutObject"], "NotResource": ["arn:aws:s3:::box/private/*"]})
    assert decide(policy) is ALLOWED
    assert decide(policy, action="listbucket", resource="arn:aws:s3:::box") is ALLOWED
    assert decide(policy, action="putobject") is SILENT
    assert decide(policy, action="deleteobject") is SILENT
    assert decide(policy, resource="arn:aws:s3:::box/private/a") is SILENT


def test_a_policy_tells_what_it_asks_for_before_it_is_asked():
    assert not compiled({}).needs_request_tags
    tagged = {"Action": "s3:PutObject*", "Condition": {"StringEquals": {"s3:requestobjecttag/a": "b"}}}
    assert compiled({}, tagged).needs_request_tags
    assert compiled(tagged).may_allow_anonymous("putobject")
    assert not compiled(tagged).may_allow_anonymous("getobject")
    assert not compiled({"Effect": "Deny"}).may_allow_anonymous("getobject")
    assert not compiled({"Principal": {"AWS": "000000000000"}}).may_allow_anonymous("getobject")
