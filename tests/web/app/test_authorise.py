"""Who may do what: the whole action table for strangers, and each rule that a request can meet."""

import json
import time
from base64 import b64encode
from hashlib import md5
from io import BytesIO

import pytest

from actors.messages import ConfigureBucket
from fasterstore.policy.iam_actions import display_name, needed_actions
from fasterstore.s3.actions import ACTIONS, BUCKET, OBJECT
from fasterstore.s3.errors import S3Error
from fasterstore.s3.signer import presign_v4
from web.authorise import authorise, authorise_as, authorise_keys, authorise_source, authorise_tags
from web.context import Request

ARN, OBJECTS = "arn:aws:s3:::box", "arn:aws:s3:::box/*"
HANDED_ON = {"PreflightBucket", "PreflightObject", "PostObject"}
NEVER_ANYBODYS = {"CreateBucket", "GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy"}


def statement(**changes):
    given = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": OBJECTS, **changes}
    if "NotAction" in given:
        del given["Action"]
    return given


def set_policy(store, *statements, bucket="box"):
    document = json.dumps({"Version": "2012-10-17", "Statement": list(statements)}).encode()
    store.directory.get("metadata-journal").ask(ConfigureBucket(bucket, "policy", document))


def request_of(method, target, headers=None, action="", identity=None):
    """A request as it comes to `authorise`."""
    environ = {
        "REQUEST_METHOD": method,
        "REQUEST_URI": target,
        "fs.headers": {"host": "h", **(headers or {})},
        "fs.peer": ("192.0.2.7", 1),
        "wsgi.input": BytesIO(),
    }
    request = Request(environ, "ID", 0.0)
    request.split_resource()
    request.action = action
    if identity is not None:
        request.identity = identity
    return request


def code_of(call, *arguments):
    """The code of the refusal, "" if there is none."""
    try:
        call(*arguments)
    except S3Error as refusal:
        return refusal.code
    return ""


def stranger_does(action):
    """A stranger's request of that S3 action on the object or bucket there is."""
    path = "/box/k" if action.resource == OBJECT else "/box"
    return request_of(action.method, f"{path}?{action.subresource}" if action.subresource else path, action=action.name)


ON_BUCKETS = [action for action in ACTIONS.values() if action.resource in (BUCKET, OBJECT) and action.name not in HANDED_ON]


def test_every_action_is_denied_to_strangers_by_default_and_open_by_exactly_its_own_permissions(store):
    store.send("PUT", "/box/k", b"body")
    wrong = []
    for action in ON_BUCKETS:
        names = [display_name(name) for name in needed_actions(action.name)]
        outcomes = []
        for granted in (None, {"Action": names}, {"NotAction": names}):
            if granted is None:
                store.directory.get("metadata-journal").ask(ConfigureBucket("box", "policy", None))
            else:
                set_policy(store, statement(Resource=[ARN, OBJECTS], **granted))
            outcomes.append(code_of(authorise, store.worker, stranger_does(action)))
        opened = "AccessDenied" if action.name in NEVER_ANYBODYS else ""
        if outcomes != ["AccessDenied", opened, "AccessDenied"]:
            wrong.append((action.name, outcomes))
    assert not wrong


def test_what_acts_on_no_bucket_is_the_owners(store):
    for action in ACTIONS.values():
        if action.resource not in (BUCKET, OBJECT):
            assert code_of(authorise, store.worker, request_of(action.method, "/", action=action.name)) == "AccessDenied"
    assert store.send("GET", "/", sign="").status == 403
    assert store.send("GET", "/").status == 200


def test_a_preflight_needs_no_permission_and_a_form_asks_for_its_own(store):
    for method, target, name in (
        ("OPTIONS", "/box", "PreflightBucket"),
        ("OPTIONS", "/box/k", "PreflightObject"),
        ("POST", "/box", "PostObject"),
    ):
        assert code_of(authorise, store.worker, request_of(method, target, action=name)) == ""
    form = request_of("POST", "/box", action="PostObject")
    form.key = b"k"
    assert code_of(authorise_as, store.worker, form, "PutObject") == "AccessDenied"
    set_policy(store, statement(Action="s3:PutObject", Resource=f"{ARN}/k"))
    again = request_of("POST", "/box", action="PostObject")
    again.key = b"k"
    assert code_of(authorise_as, store.worker, again, "PutObject") == ""


def test_strangers_read_exactly_what_the_policy_allows(store):
    for key in ("public/a", "private/a"):
        store.send("PUT", f"/box/{key}", b"body of a")
    assert store.send("GET", "/box/public/a", sign="").status == 403
    set_policy(store, statement(Resource=f"{ARN}/public/*"))
    answer = store.send("GET", "/box/public/a", sign="")
    assert (answer.status, answer.body) == (200, b"body of a")
    assert store.send("HEAD", "/box/public/a", sign="").status == 200
    assert store.send("HEAD", "/box/private/a", sign="")[::2] == (403, b"")
    for method, target in (
        ("GET", "/box/private/a"),
        ("PUT", "/box/public/a"),
        ("DELETE", "/box/public/a"),
        ("GET", "/box"),
        ("HEAD", "/box"),
    ):
        refused = store.send(method, target, sign="")
        assert refused.status == 403
        assert b"explicit deny" not in refused.body
    store.directory.get("metadata-journal").ask(ConfigureBucket("box", "policy", None))
    assert store.send("GET", "/box/public/a", sign="").status == 403


def test_strangers_write_exactly_what_the_policy_allows(store):
    set_policy(store, statement(Action=["s3:PutObject", "s3:AbortMultipartUpload"], Resource=f"{ARN}/in/*"))
    assert store.send("PUT", "/box/in/a", b"body", sign="").status == 200
    assert store.send("PUT", "/box/out/a", b"body", sign="").status == 403
    assert store.send("GET", "/box/in/a", sign="").status == 403
    assert store.send("DELETE", "/box/in/a", sign="").status == 403
    upload = store.send("POST", "/box/in/large?uploads", sign="").body.partition(b"<UploadId>")[2].partition(b"<")[0].decode()
    part = store.send("PUT", f"/box/in/large?partNumber=1&uploadId={upload}", b"part", sign="")
    complete = (
        f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{part.headers['etag']}</ETag></Part></CompleteMultipartUpload>"
    ).encode()
    assert store.send("GET", f"/box/in/large?uploadId={upload}", sign="").status == 403
    assert store.send("POST", f"/box/in/large?uploadId={upload}", complete, sign="").status == 200
    assert store.send("GET", "/box/in/large").body == b"part"


def test_an_acl_or_tags_on_the_way_need_their_own_permission(store):
    def put(**headers):
        return store.send(
            "PUT", "/box/a", b"body", headers={name.replace("_", "-"): value for name, value in headers.items()}, sign=""
        ).status

    set_policy(store, statement(Action="s3:PutObject"))
    assert [put(), put(x_amz_tagging="")] == [200, 200]
    assert [put(x_amz_acl="public-read"), put(x_amz_grant_read="id=000000000000"), put(x_amz_tagging="a=b")] == [403] * 3
    set_policy(store, statement(Action=["s3:PutObject", "s3:PutObjectAcl"]))
    assert [put(x_amz_acl="public-read"), put(x_amz_tagging="a=b")] == [200, 403]
    set_policy(store, statement(Action=["s3:PutObject", "s3:PutObjectTagging"]))
    assert [put(x_amz_acl="public-read"), put(x_amz_tagging="a=b")] == [403, 200]


@pytest.mark.parametrize(("method", "name"), [("GET", ""), ("HEAD", ""), ("GET", "?acl"), ("GET", "?tagging"), ("GET", "?attributes")])
def test_only_who_may_list_is_told_that_a_key_is_missing(store, method, name):
    def missing(key, sign=""):
        return store.send(method, f"/box/{key}{name}", headers={"x-amz-object-attributes": "ETag"}, sign=sign).status

    reads = statement(Action=["s3:GetObject*"])
    lists = statement(Action="s3:ListBucket", Resource=ARN, Condition={"StringLike": {"s3:prefix": "public/*"}})
    assert missing("public/none") == 403
    set_policy(store, reads)
    assert missing("public/none") == 403
    set_policy(store, reads, lists)
    assert [missing("public/none"), missing("private/none")] == [404, 403]
    set_policy(store, lists)
    assert [missing("public/none"), missing("private/none")] == [404, 403]
    set_policy(store, lists, statement(Effect="Deny", Action="s3:GetObject*"))
    assert missing("public/none") == 403
    set_policy(store, statement(Effect="Deny", Action="s3:ListBucket", Resource=ARN))
    assert missing("public/none", sign="v4") == 403
    set_policy(store, reads)
    assert missing("public/none", sign="v4") == 404


def test_a_missing_bucket_is_missing_for_everybody(store):
    for method, target in (("GET", "/nobox"), ("GET", "/nobox/k"), ("PUT", "/nobox/k"), ("DELETE", "/nobox/k"), ("GET", "/nobox?acl")):
        answer = store.send(method, target, sign="")
        assert (answer.status, b"NoSuchBucket" in answer.body) == (404, True), (method, target)
    assert store.send("GET", "/No_Box", sign="").status == 400
    for target in ("/nobox", "/nobox?policy", "/box"):
        assert store.send("PUT", target, sign="").status == 403


def test_a_public_canned_acl_opens_the_object_or_the_bucket(store):
    for key, acl in (("open", "public-read"), ("closed", "private")):
        assert store.send("PUT", f"/box/{key}", b"body", headers={"x-amz-acl": acl}).status == 200
    assert [store.send("GET", f"/box/{key}", sign="").status for key in ("open", "closed", "none")] == [200, 403, 403]
    assert store.send("GET", "/box/open?acl", sign="").status == 403
    assert store.send("GET", "/box?list-type=2", sign="").status == 403
    store.send("PUT", "/box?acl", headers={"x-amz-acl": "public-read"})
    assert store.send("GET", "/box?list-type=2", sign="").status == 200
    assert store.send("HEAD", "/box", sign="").status == 200
    assert [store.send("GET", f"/box/{key}", sign="").status for key in ("open", "closed", "none")] == [200, 403, 404]
    assert store.send("PUT", "/box/new", b"body", sign="").status == 403
    store.send("PUT", "/box?acl", headers={"x-amz-acl": "public-read-write"})
    assert store.send("PUT", "/box/new", b"body", headers={"x-amz-acl": "public-read"}, sign="").status == 200
    assert store.send("GET", "/box/new", sign="").body == b"body"
    assert store.send("DELETE", "/box/closed", sign="").status == 204
    for method, target in (
        ("PUT", "/box?acl"),
        ("DELETE", "/box"),
        ("PUT", "/box/open?acl"),
        ("PUT", "/box?cors"),
        ("GET", "/box?location"),
    ):
        assert store.send(method, target, headers={"x-amz-acl": "private"}, sign="").status == 403


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (
            "/box?ownershipControls",
            b"<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule></OwnershipControls>",
        ),
        (
            "/box?publicAccessBlock",
            b"<PublicAccessBlockConfiguration><IgnorePublicAcls>true</IgnorePublicAcls></PublicAccessBlockConfiguration>",
        ),
    ],
)
def test_a_public_acl_opens_nothing_where_acls_do_not_count(store, target, body):
    store.send("PUT", "/box/open", b"body", headers={"x-amz-acl": "public-read"})
    assert store.send("GET", "/box/open", sign="").status == 200
    assert store.send("PUT", target, body).status == 200
    assert store.send("GET", "/box/open", sign="").status == 403
    assert store.send("GET", "/box/open").status == 200


def test_a_deny_stops_the_owner_and_says_so(store):
    store.send("PUT", "/box/locked/a", b"body")
    set_policy(store, statement(Effect="Deny", Action=["s3:GetObject", "s3:DeleteObject"], Resource=f"{ARN}/locked/*"))
    answer = store.send("GET", "/box/locked/a")
    assert answer.status == 403
    assert (
        b"User: arn:aws:iam::000000000000:user/test-key is not authorized to perform: s3:GetObject on resource: "
        b"&quot;arn:aws:s3:::box/locked/a&quot; with an explicit deny in a resource-based policy"
    ) in answer.body
    assert store.send("GET", "/box/locked/a", sign="xfs").status == 403
    assert store.send("DELETE", "/box/locked/a").status == 403
    assert store.send("PUT", "/box/locked/a", b"new").status == 200
    assert store.send("PUT", "/box/open/a", b"body").status == 200
    assert store.send("GET", "/box/open/a").status == 200


def test_conditions_see_the_request(store):
    store.send("PUT", "/box/a", b"body", headers={"x-amz-tagging": "team=red"})

    def get(**condition):
        set_policy(store, statement(Condition=condition))
        return store.send("GET", "/box/a", headers={"referer": "http://example.com/x"}, sign="", peer="192.0.2.7").status

    assert get(IpAddress={"aws:SourceIp": "192.0.2.0/24"}) == 200
    assert get(IpAddress={"aws:SourceIp": "198.51.100.0/24"}) == 403
    assert get(StringLike={"aws:Referer": "http://example.com/*"}) == 200
    assert get(StringLike={"aws:Referer": "http://example.org/*"}) == 403
    assert get(Bool={"aws:SecureTransport": "true"}) == 403
    assert get(StringEquals={"s3:ExistingObjectTag/team": "red"}) == 200
    assert get(StringEquals={"s3:ExistingObjectTag/team": "blue"}) == 403
    assert get(DateGreaterThan={"aws:CurrentTime": "2020-01-01T00:00:00Z"}) == 200
    assert get(DateLessThan={"aws:CurrentTime": "2020-01-01T00:00:00Z"}) == 403


def test_listing_can_be_confined_to_a_prefix(store):
    conditions = {"StringLike": {"s3:prefix": "public/*"}, "NumericLessThanEquals": {"s3:max-keys": 10}}
    set_policy(store, statement(Action="s3:ListBucket", Resource=ARN, Condition=conditions))
    for version in ("", "list-type=2&"):
        assert store.send("GET", f"/box?{version}prefix=public/&max-keys=10", sign="").status == 200
        for query in ("prefix=public/", "prefix=public/&max-keys=11", "prefix=&max-keys=1", "max-keys=1", "prefix=private/&max-keys=1"):
            assert store.send("GET", f"/box?{version}{query}", sign="").status == 403, query


def test_the_form_of_a_signature_can_be_asked_for(store):
    store.send("PUT", "/box/a", b"body")
    set_policy(store, statement(Effect="Deny", Condition={"StringNotEquals": {"s3:authType": "REST-HEADER"}}))
    assert store.send("GET", "/box/a").status == 200
    query = presign_v4("GET", "/box/a", "", {"host": "localhost"}, store.credentials, int(time.time()), 60)
    assert store.send("GET", f"/box/a?{query}", sign="").status == 403
    set_policy(store, statement(Effect="Deny", Condition={"NumericGreaterThan": {"s3:signatureAge": 100_000}}))
    assert store.send("GET", f"/box/a?{query}", sign="").status == 200


def test_a_version_has_permissions_of_its_own(store):
    store.send("PUT", "/box/a", b"body")
    set_policy(store, statement(Action="s3:GetObject"))
    assert [store.send("GET", target, sign="").status for target in ("/box/a", "/box/a?versionId=null")] == [200, 403]
    set_policy(store, statement(Action="s3:GetObjectVersion"))
    assert [store.send("GET", target, sign="").status for target in ("/box/a", "/box/a?versionId=null")] == [403, 200]


def test_a_copy_needs_to_read_its_source_and_to_write_its_target(store):
    store.make_bucket("source-box")
    store.send("PUT", "/source-box/a", b"body")
    copy = {"x-amz-copy-source": "/source-box/a"}
    reads = statement(Resource="arn:aws:s3:::source-box/*")
    writes = statement(Action="s3:PutObject", Condition={"StringLike": {"s3:x-amz-copy-source": "source-box/*"}})
    outcomes = []
    for source, target in ((None, None), (reads, None), (None, writes), (reads, writes)):
        for bucket, one in (("source-box", source), ("box", target)):
            if one is None:
                store.directory.get("metadata-journal").ask(ConfigureBucket(bucket, "policy", None))
            else:
                set_policy(store, one, bucket=bucket)
        outcomes.append(store.send("PUT", "/box/copied", headers=copy, sign="").status)
    assert outcomes == [403, 403, 403, 200]
    assert store.send("PUT", "/box/plain", b"body", sign="").status == 403
    # What denies reading denies the owner the copy, too.
    set_policy(store, statement(Effect="Deny", Resource="arn:aws:s3:::source-box/a"), bucket="source-box")
    assert store.send("PUT", "/box/copied", headers=copy).status == 403


def test_a_source_that_is_not_there_is_told_only_to_who_may_list(store):
    copying = request_of("PUT", "/box/k", {"x-amz-copy-source": "box/none"}, "CopyObject")
    assert code_of(authorise_source, store.worker, copying, "nobox", b"a") == "NoSuchBucket"
    assert code_of(authorise_source, store.worker, copying, "box", b"none") == "AccessDenied"
    set_policy(store, statement(Action=["s3:GetObject", "s3:ListBucket"], Resource=[ARN, OBJECTS]))
    assert code_of(authorise_source, store.worker, copying, "box", b"none") == ""


def test_a_rename_reads_and_removes_its_source(store):
    store.send("PUT", "/box/a", b"body")
    renaming = request_of("PUT", "/box/b?renameObject", {"x-amz-rename-source": "/box/a"}, "RenameObject")
    outcomes = []
    for actions in (["s3:GetObject"], ["s3:DeleteObject"], ["s3:GetObject", "s3:DeleteObject"]):
        set_policy(store, statement(Action=actions))
        outcomes.append(code_of(authorise_source, store.worker, renaming, "box", b"a"))
    assert outcomes == ["AccessDenied", "AccessDenied", ""]


DELETE_TWO = b"<Delete><Object><Key>tmp/a</Key></Object><Object><Key>kept/a</Key></Object></Delete>"


def delete_two(store, sign):
    from base64 import b64encode
    from hashlib import md5

    digest = b64encode(md5(DELETE_TWO).digest()).decode()
    return store.send("POST", "/box?delete", DELETE_TWO, headers={"content-md5": digest}, sign=sign)


def test_of_many_keys_those_are_deleted_that_may_be(store):
    for key in ("tmp/a", "kept/a"):
        store.send("PUT", f"/box/{key}", b"body")
    assert delete_two(store, "").status == 403
    set_policy(store, statement(Action="s3:GetObject"))
    assert delete_two(store, "").status == 403
    set_policy(store, statement(Action="s3:DeleteObject", Resource=f"{ARN}/tmp/*"))
    answer = delete_two(store, "")
    assert answer.status == 200
    assert b"<Deleted><Key>tmp/a</Key></Deleted>" in answer.body
    assert b"<Error><Key>kept/a</Key><Code>AccessDenied</Code>" in answer.body
    assert [store.send("HEAD", f"/box/{key}").status for key in ("tmp/a", "kept/a")] == [404, 200]
    set_policy(store, statement(Effect="Deny", Action="s3:DeleteObject", Resource=f"{ARN}/kept/*"))
    assert b"<Error><Key>kept/a</Key><Code>AccessDenied</Code>" in delete_two(store, "v4").body
    assert store.send("HEAD", "/box/kept/a").status == 200


def test_a_thousand_keys_are_judged_in_order(store):
    set_policy(store, statement(Action="s3:DeleteObject", Resource=f"{ARN}/*0"))
    keys = [b"%d" % number for number in range(1000)]
    request = request_of("POST", "/box?delete", action="DeleteObjects")
    assert authorise_keys(store.worker, request, [(key, False) for key in keys]) == [key.endswith(b"0") for key in keys]


def tag(store, name, sign=""):
    body = f"<Tagging><TagSet><Tag><Key>{name}</Key><Value>1</Value></Tag></TagSet></Tagging>".encode()
    return store.send("PUT", "/box/a?tagging", body, sign=sign).status


def test_tags_that_stand_in_a_body_are_judged_when_they_are_read(store):
    store.send("PUT", "/box/a", b"body")
    assert tag(store, "good") == 403
    confined = {"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["good"]}}
    set_policy(store, statement(Action="s3:PutObjectTagging", Condition=confined))
    assert [tag(store, "good"), tag(store, "bad")] == [200, 403]
    set_policy(store, statement(Effect="Deny", Action="s3:PutObjectTagging", Condition={"StringEquals": {"s3:RequestObjectTag/bad": "1"}}))
    assert [tag(store, "good"), tag(store, "good", "v4"), tag(store, "bad", "v4")] == [403, 200, 403]
    stranger = request_of("PUT", "/box/a?tagging", action="PutObjectTagging")
    assert code_of(authorise, store.worker, stranger) == ""
    assert code_of(authorise_tags, store.worker, stranger, {"good": "1"}) == "AccessDenied"


def test_without_authentication_no_policy_stops_anybody(new_store):
    store = new_store(FS_AUTH_ENABLED="false")
    store.make_bucket("box")
    set_policy(store, statement(Effect="Deny", Action="s3:*", Resource=[ARN, OBJECTS]))
    assert store.send("PUT", "/box/a", b"body", sign="").status == 200
    assert store.send("GET", "/box/a", sign="").body == b"body"
    assert store.send("PUT", "/box/b", headers={"x-amz-copy-source": "/box/a"}, sign="").status == 200
    assert b"<Error>" not in delete_two(store, "").body
    assert store.send("GET", "/", sign="").status == 200
    assert tag(store, "any") == 200
    assert store.send("GET", "/box?policy", sign="").status == 200


def test_a_version_that_delete_objects_names_needs_the_permission_that_delete_object_needs(store):
    store.send("PUT", "/box/a", b"body")
    named = b"<Delete><Object><Key>a</Key><VersionId>null</VersionId></Object></Delete>"
    digest = {"content-md5": b64encode(md5(named).digest()).decode()}
    set_policy(store, statement(Action="s3:DeleteObject"))
    assert store.send("DELETE", "/box/a?versionId=null", sign="").status == 403
    assert b"<Code>AccessDenied</Code>" in store.send("POST", "/box?delete", named, digest, sign="").body
    set_policy(store, statement(Effect="Deny", Action="s3:DeleteObjectVersion"))
    assert b"<Code>AccessDenied</Code>" in store.send("POST", "/box?delete", named, digest).body
    assert store.send("HEAD", "/box/a").status == 200
    set_policy(store, statement(Action=["s3:DeleteObject", "s3:DeleteObjectVersion"]))
    assert b"<Deleted><Key>a</Key>" in store.send("POST", "/box?delete", named, digest, sign="").body


def test_a_copy_source_in_a_presigned_url_makes_the_request_a_copy(store):
    store.send("PUT", "/box/a", b"body")
    for key, denied, outcome in (("b", "s3:DeleteObject", (200, b"body")), ("c", "s3:GetObject", (403, b""))):
        set_policy(store, statement(Effect="Deny", Action=denied, Resource=f"{ARN}/a"))
        source, now = "x-amz-copy-source=box%2Fa", int(time.time())
        query = presign_v4("PUT", f"/box/{key}", source, {"host": "localhost"}, store.credentials, now, 60)
        status = store.send("PUT", f"/box/{key}?{query}", sign="").status
        found = store.send("GET", f"/box/{key}")
        assert (status, found.body if found.status == 200 else b"") == outcome
