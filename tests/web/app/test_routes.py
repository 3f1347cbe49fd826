"""Default-deny: the whole route table, by every form of authentication, good, bad and absent."""

import bottle
import pytest

from fasterstore.s3.actions import ACTIONS, BUCKET, OBJECT, SERVICE
from fasterstore.s3.signer import Credentials
from web.app import HANDLERS, Wrapper

BAD = Credentials("test-key", "not-the-secret")
ADMIN = Credentials("operator", "operator-secret")
TARGETS = {
    "/healthz": ("GET", "/healthz"),
    "/readyz": ("GET", "/readyz"),
    "/metrics": ("GET", "/metrics"),
    "/minio/health/live": ("GET", "/minio/health/live"),
    "/minio/health/ready": ("GET", "/minio/health/ready"),
    "/minio/health/cluster": ("GET", "/minio/health/cluster"),
    "/_admin/actors": ("GET", "/_admin/actors"),
    "/_admin/compaction": ("GET", "/_admin/compaction"),
    "/_admin/scrub": ("GET", "/_admin/scrub"),
    "/_admin/replication": ("GET", "/_admin/replication"),
    "/_admin<:re:(?:/[\\s\\S]*)?>": ("PUT", "/_admin/nothing"),
    "/_admin/policy/<:re:[^/]+>": ("GET", "/_admin/policy/box"),
    "/_internal/replicate/object": ("POST", "/_internal/replicate/object"),
    "/_internal/replicate/delete": ("POST", "/_internal/replicate/delete"),
    "/_internal/replicate/snapshot": ("GET", "/_internal/replicate/snapshot"),
    "/_internal/replicate/digest": ("POST", "/_internal/replicate/digest"),
    "/_internal/replicate/status": ("GET", "/_internal/replicate/status"),
    "/_internal/blob/<:re:[^/]+>": ("GET", "/_internal/blob/00"),
    "/_internal<:re:(?:/[\\s\\S]*)?>": ("GET", "/_internal/nothing"),
    "<:re:[\\s\\S]*>": ("GET", "/box/missing"),
}
OPEN = {"/healthz", "/readyz", "/metrics", "/minio/health/live", "/minio/health/ready", "/minio/health/cluster"}


@pytest.fixture
def guarded(new_store):
    store = new_store(FS_ADMIN_ACCESS_KEY="operator", FS_ADMIN_SECRET_KEY="operator-secret", FS_INTERNAL_TOKEN="our-own-token")
    store.make_bucket("box")
    return store


def test_every_route_is_in_the_table_of_this_test(guarded):
    assert {route.rule for route in guarded.app.routes} == set(TARGETS)


@pytest.mark.parametrize("rule", TARGETS)
@pytest.mark.parametrize("sign", ["v4", "xfs"])
def test_a_bad_signature_or_none_opens_no_guarded_route(guarded, rule, sign):
    method, target = TARGETS[rule]
    for answer in (guarded.send(method, target, sign=""), guarded.send(method, target, sign=sign, credentials=BAD)):
        assert (answer.status == 200) if rule in OPEN else (answer.status == 403)
        assert answer.headers["x-amz-request-id"]


@pytest.mark.parametrize("sign", ["v4", "xfs"])
def test_each_key_opens_its_own_routes_only(guarded, sign):
    answered = {}
    for rule, (method, target) in TARGETS.items():
        answered[rule] = tuple(guarded.send(method, target, sign=sign, credentials=used).status for used in (guarded.credentials, ADMIN))
    assert answered == {
        **dict.fromkeys(OPEN, (200, 200)),
        "/_admin/actors": (403, 200),
        "/_admin/compaction": (403, 200),
        "/_admin/scrub": (403, 200),
        "/_admin/replication": (403, 200),
        "/_admin/policy/<:re:[^/]+>": (403, 404),
        "/_admin<:re:(?:/[\\s\\S]*)?>": (403, 501),
        **{rule: (403, 403) for rule in TARGETS if rule.startswith("/_internal")},
        "<:re:[\\s\\S]*>": (404, 403),
    }


def test_no_spelling_of_a_guarded_path_slips_into_an_open_route(guarded):
    for target in (
        "/_admin/../healthz",
        "/_admin%2Factors",
        "/_internal",
        "/_internal/",
        "//healthz",
        "/healthz/",
        "/healthz%00",
        "/readyz%2F",
    ):
        for method in ("GET", "PUT", "POST", "DELETE", "OPTIONS", "PATCH"):
            assert guarded.send(method, target, sign="").status in (400, 403, 404, 405), (method, target)
    for method in ("PUT", "POST", "DELETE"):
        # Elsewhere than for probes it is a bucket's name, and one that no bucket can have.
        assert guarded.send(method, "/healthz", sign="").status in (400, 403)


def test_the_internal_token_opens_the_seam_and_the_built_in_one_does_not(guarded, new_store):
    token = {"x-fs-internal-token": "our-own-token"}
    assert guarded.send("GET", "/_internal/replicate/status", headers=token, sign="").status == 200
    assert guarded.send("GET", "/_internal/nothing", headers=token, sign="").status == 501
    assert guarded.send("GET", "/_internal/replicate/object", headers=token, sign="").status == 501
    answer = new_store().send("GET", "/_internal/blob/00", headers={"x-fs-internal-token": "internal-replication-token"}, sign="")
    assert answer.status == 403
    assert b"FS_INTERNAL_TOKEN" in answer.body


def test_a_route_that_does_not_say_who_may_use_it_cannot_be_called(guarded):
    app = bottle.Bottle()
    app.install(Wrapper(guarded.worker))
    app.route("/forgotten", "GET", lambda worker, request: None)
    with pytest.raises(KeyError):
        app.routes[0].call()


def test_the_handlers_are_the_built_actions():
    assert set(HANDLERS) == {action.name for action in ACTIONS.values() if action.built}


@pytest.mark.parametrize("action", ACTIONS.values(), ids=lambda action: action.name)
def test_a_stranger_is_refused_before_anything_is_said_or_done(guarded, action):
    guarded.send("PUT", "/box/k", b"still here")
    path = {SERVICE: "/", BUCKET: "/box", OBJECT: "/box/k"}[action.resource]
    target = f"{path}?{action.subresource}" if action.subresource else path
    headers = {"x-amz-copy-source": "/box/k"} if "Copy" in action.name else {}
    answer = guarded.send(action.method, target, headers=headers, sign="")
    # A preflight has no signature, a form its own; both say first what is missing. No request at all is a WriteGetObjectResponse.
    asked = {"PreflightBucket": 400, "PreflightObject": 400, "PostObject": 400, "WriteGetObjectResponse": 405}
    assert answer.status in (403, asked.get(action.name, 403))
    assert guarded.send("GET", "/box/k").body == b"still here"


def test_every_answer_has_its_own_request_id_and_an_error_repeats_it(guarded):
    answers = [guarded.send("GET", target) for target in ("/", "/box/missing", "/none/k", "/box?website", "/%FF")]
    ids = [answer.headers["x-amz-request-id"] for answer in answers]
    assert len(set(ids)) == len(ids)
    for answer, request_id in zip(answers[1:], ids[1:], strict=True):
        assert f"<RequestId>{request_id}</RequestId>".encode() in answer.body
        assert answer.headers["x-amz-id-2"] == "node"


def test_health_answers_get_and_head_and_tells_what_is_waited_for(guarded):
    from web.worker import LinkState

    assert guarded.send("GET", "/healthz", sign="").body == b"ok\n"
    assert guarded.send("HEAD", "/readyz", sign="")[::2] == (200, b"")
    guarded.worker.link_state = lambda: LinkState(False, "replaying the log: 5 of 9")
    answer = guarded.send("GET", "/readyz", sign="")
    assert (answer.status, answer.body) == (503, b"waiting for the storage process: replaying the log: 5 of 9\n")
    guarded.worker.link_state = lambda: LinkState(True)
    guarded.worker.read_only = "fdatasync failed"
    answer = guarded.send("GET", "/readyz", sign="")
    assert answer.status == 503
    assert b"fdatasync failed" in answer.body
    assert guarded.send("GET", "/healthz", sign="").status == 200


def test_the_exposition_counts_requests_actors_and_usage(guarded):
    guarded.send("PUT", "/box/k", b"12345")
    guarded.send("GET", "/box/k")
    guarded.send("GET", "/box/missing")
    text = guarded.send("GET", "/metrics", sign="").body.decode()
    assert 'fasterstore_s3_requests_total{api="PutObject",code="200"} 1.0' in text
    assert 'fasterstore_s3_requests_total{api="GetObject",code="404"} 1.0' in text
    assert "fasterstore_s3_received_bytes_total 5.0" in text
    assert 'actor="segment-writer"' in text
    assert guarded.send("GET", "/_admin/actors", credentials=ADMIN).body.startswith(b'{"actors": [{')


def test_a_defect_in_a_handler_is_an_internal_error_without_its_text(guarded, caplog):
    class Broken:
        def locate(self, bucket, key):
            raise ZeroDivisionError("the secret of the defect")

        def close(self):
            pass

    guarded.worker.index.close()
    guarded.worker.index = Broken()
    answer = guarded.send("GET", "/box/k")
    assert answer.status == 500
    assert b"InternalError" in answer.body
    assert b"secret" not in answer.body
    assert "ZeroDivisionError" in caplog.text
