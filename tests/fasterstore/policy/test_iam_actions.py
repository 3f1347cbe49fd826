"""Every S3 action needs a known IAM action, and patterns name those that they should."""

import pytest

from fasterstore.policy.iam_actions import ALL_ACTIONS, BUCKET_ACTIONS, OBJECT_ACTIONS, display_name, matching_actions, needed_actions
from fasterstore.s3.actions import ACTIONS, BUCKET, OBJECT, SERVICE


def test_every_s3_action_on_a_bucket_or_object_needs_known_iam_actions_of_its_own_kind():
    for action in ACTIONS.values():
        needed = needed_actions(action.name)
        assert bool(needed) == (action.resource != SERVICE and action.method != "OPTIONS"), action.name
        assert set(needed) <= ALL_ACTIONS
        if action.resource == OBJECT:
            assert set(needed) <= OBJECT_ACTIONS, action.name
        elif action.resource == BUCKET and action.name not in ("PostObject", "DeleteObjects"):
            assert set(needed) <= BUCKET_ACTIONS, action.name


def test_no_iam_action_acts_on_both_kinds():
    assert not BUCKET_ACTIONS & OBJECT_ACTIONS


@pytest.mark.parametrize(
    ("api_action", "plain", "versioned"),
    [
        ("GetObject", ("getobject",), ("getobjectversion",)),
        ("HeadObject", ("getobject",), ("getobjectversion",)),
        ("HeadBucket", ("listbucket",), ("listbucket",)),
        ("ListObjectsV2", ("listbucket",), ("listbucket",)),
        ("ListObjectVersions", ("listbucketversions",), ("listbucketversions",)),
        ("GetObjectAttributes", ("getobject", "getobjectattributes"), ("getobjectversion", "getobjectversionattributes")),
        ("DeleteObject", ("deleteobject",), ("deleteobjectversion",)),
        ("CompleteMultipartUpload", ("putobject",), ("putobject",)),
        ("ListParts", ("listmultipartuploadparts",), ("listmultipartuploadparts",)),
        ("DeleteBucketCors", ("putbucketcors",), ("putbucketcors",)),
        ("DeletePublicAccessBlock", ("putbucketpublicaccessblock",), ("putbucketpublicaccessblock",)),
        ("PutObjectTagging", ("putobjecttagging",), ("putobjectversiontagging",)),
    ],
)
def test_requests_need_what_the_user_guide_lists(api_action, plain, versioned):
    assert needed_actions(api_action) == plain
    assert needed_actions(api_action, versioned=True) == versioned


@pytest.mark.parametrize(
    ("pattern", "some", "none"),
    [
        ("s3:GetObject", {"getobject"}, {"getobjectacl", "putobject"}),
        ("S3:getobject", {"getobject"}, {"putobject"}),
        ("s3:Get*", {"getobject", "getbucketpolicy"}, {"putobject", "listbucket"}),
        ("s3:???Object", {"getobject", "putobject"}, {"deleteobject"}),
        ("s3:*", set(ALL_ACTIONS), set()),
        ("*", set(ALL_ACTIONS), set()),
        ("s3:GetObjects", set(), {"getobject"}),
        ("GetObject", set(), {"getobject"}),
        ("*GetObject", set(), {"getobject"}),
        ("iam:*", set(), set(ALL_ACTIONS)),
        ("s3:", set(), set(ALL_ACTIONS)),
        ("", set(), set(ALL_ACTIONS)),
    ],
)
def test_patterns_name_known_actions_only(pattern, some, none):
    named = matching_actions(pattern)
    assert some <= named
    assert not none & named


def test_names_are_shown_as_aws_writes_them():
    assert display_name("getbucketcors") == "s3:GetBucketCORS"
