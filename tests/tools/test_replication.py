"""The verbs of `replication`: asked with the admin key, followed to the end, told in words or JSON, and with exit codes for scripts."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import time
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from fasterstore.s3.authentication import Authenticator
from fasterstore.s3.errors import S3Error, render_error
from tools import replication

ADMIN, SECRET = "operator", "operator-secret"
B, C = "http://10.0.0.2:9000", "http://10.0.0.3:9000"
STAMP = 1_700_000_000_123 << 16
IN_STEP = {
    "peer": B, "state": "shipping", "node_id": "0b" * 16, "reason": "", "lag_entries": 0, "lag_bytes": 0, "lag_secs": 0.0,
    "degraded": False, "shipped_changes": 40, "shipped_bytes": 4000, "failures": 0, "resync": None, "diff": None,
}  # fmt: skip
AWAY = IN_STEP | {"peer": C, "state": "unreachable", "reason": "connection\x1b[31m refused", "lag_entries": 12, "lag_secs": 90.0}
DIFFERENCE = {"kind": "newer-here", "bucket": "photos", "key": "a key", "stamp_here": STAMP, "stamp_there": 0}
RESULT = {
    "number": 4, "running": False, "items": 900, "total": 900, "counts": {}, "differences": [], "healed": False, "error": "",
}  # fmt: skip


class Node(BaseHTTPRequestHandler):
    """Answers whoever signs as the operator with the server's `answers` in order, the last one again and again."""

    server: Any

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.asked.append((self.command, parts.path, parse_qs(parts.query)))
        try:
            Authenticator({ADMIN: SECRET}.get).authenticate(self.command, parts.path, parts.query, headers, int(time()))
            answer = self.server.answers[0] if len(self.server.answers) == 1 else self.server.answers.pop(0)
            if isinstance(answer, S3Error):
                raise answer
            status, body = 200, json.dumps(answer).encode()
        except S3Error as error:
            status, body = error.status, render_error(error, self.path, "ID", "HOST")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(replication, "POLL_SECS", 0.0)
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Node)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def run(node: Any, verb: str, *arguments: Any, **options: Any) -> int:
    environ = {
        "FS_ENDPOINT": f"http://127.0.0.1:{node.server_address[1]}", "FS_ADMIN_ACCESS_KEY": ADMIN, "FS_ADMIN_SECRET_KEY": SECRET,
    }  # fmt: skip
    options.setdefault("as_json", False)
    return replication.main(environ, lambda asked: getattr(replication, verb)(asked, *arguments, **options))


def peers(*rows: dict[str, Any]) -> dict[str, Any]:
    return {"node_id": "0a" * 16, "peers": list(rows)}


def test_status_is_a_line_for_each_peer_and_0_only_if_all_are_in_step(node: Any, capsys: pytest.CaptureFixture[str]) -> None:
    node.answers = [peers(IN_STEP)]
    assert run(node, "status") == 0
    heading, line = capsys.readouterr().out.splitlines()
    assert heading.split()[:3] == ["peer", "state", "entries"] and line.split()[:3] == [B, "shipping", "0"]
    node.answers = [peers(IN_STEP, AWAY)]
    assert run(node, "status") == 1
    shown = capsys.readouterr().out
    assert "unreachable" in shown and "90.0" in shown and "\x1b" not in shown


@pytest.mark.parametrize("change", [{"lag_secs": 6.0}, {"degraded": True}, {"state": "refusing"}, {"state": "resyncing"}])
def test_a_peer_that_is_behind_refuses_or_is_not_waited_for_is_not_in_step(node: Any, change: dict[str, Any]) -> None:
    node.answers = [peers(IN_STEP | change)]
    assert run(node, "status") == 1


def test_status_as_json_is_the_nodes_own_answer(node: Any, capsys: pytest.CaptureFixture[str]) -> None:
    node.answers = [peers(IN_STEP, AWAY)]
    assert run(node, "status", as_json=True) == 1
    assert json.loads(capsys.readouterr().out) == peers(IN_STEP, AWAY)


def test_status_waits_until_there_is_nothing_left_to_send(node: Any) -> None:
    late = IN_STEP | {"lag_entries": 30, "lag_secs": 1.0}
    node.answers = [peers(late), peers(late | {"lag_entries": 2}), peers(IN_STEP)]
    assert run(node, "status", wait_secs=30.0) == 0
    assert len(node.asked) == 3
    node.answers = [peers(late)]
    assert run(node, "status", wait_secs=0.01) == 1


def test_a_node_without_peers_says_so(node: Any, capsys: pytest.CaptureFixture[str]) -> None:
    node.answers = [peers()]
    assert run(node, "status") == 0
    assert capsys.readouterr().out == "the node has no peers\n"
    assert run(node, "diff", "", heal=False) == 2
    assert capsys.readouterr().err == "the node has no peers\n"


def test_a_resync_is_followed_to_its_end(node: Any, capsys: pytest.CaptureFixture[str]) -> None:
    going = IN_STEP | {"state": "resyncing", "resync": {"reason": "asked for", "done": 3, "total": 10}}
    node.answers = [peers(going, AWAY), peers(going, AWAY), peers(IN_STEP, AWAY)]
    assert run(node, "resync", B) == 0
    assert node.asked[0] == ("POST", "/_admin/replication", {"action": ["resync"], "peer": [B]})
    assert [method for method, _, _ in node.asked] == ["POST", "GET", "GET"]
    assert capsys.readouterr().out == f"{B} shipping, 0 entries behind\n"


def test_a_resync_of_a_peer_that_goes_away_is_not_done(node: Any, capsys: pytest.CaptureFixture[str]) -> None:
    going = IN_STEP | {"state": "resyncing", "resync": {"reason": "asked for", "done": 3, "total": 10}}
    node.answers = [peers(going), peers(going | {"state": "unreachable", "reason": "connection refused"})]
    assert run(node, "resync", "") == 1
    assert capsys.readouterr().out == f"{B} unreachable 30%, 0 entries behind: connection refused\n"


def test_a_resync_need_not_be_waited_for(node: Any) -> None:
    node.answers = [peers(IN_STEP | {"state": "resyncing", "resync": {"reason": "asked for", "done": 3, "total": 10}})]
    assert run(node, "resync", "", follow=False) == 0
    assert len(node.asked) == 1


def test_a_diff_is_followed_to_its_end_and_0_means_the_same(node: Any, capsys: pytest.CaptureFixture[str]) -> None:
    old, begun, ended = (IN_STEP | {"diff": RESULT | more} for more in ({"number": 3}, {"running": True}, {}))
    node.answers = [peers(old), peers(old), peers(begun), peers(ended)]
    assert run(node, "diff", "", heal=False) == 0
    assert node.asked[1] == ("POST", "/_admin/replication", {"action": ["diff"], "heal": ["false"]})
    assert len(node.asked) == 4
    assert capsys.readouterr().out == f"{B} has the same: 900 objects and buckets compared\n"


def test_a_comparison_that_is_under_way_is_waited_for_and_another_one_begun(node: Any) -> None:
    states = ({"running": True}, {}, {"number": 5, "running": True}, {"number": 5})
    going, ended, begun, done = (IN_STEP | {"diff": RESULT | more} for more in states)
    node.answers = [peers(going), peers(going), peers(ended), peers(begun), peers(done)]
    assert run(node, "diff", "", heal=True) == 0
    assert [method for method, _, _ in node.asked] == ["GET", "GET", "GET", "POST", "GET"]


def test_a_comparison_can_be_ended(node: Any) -> None:
    node.answers = [peers(IN_STEP | {"diff": RESULT | {"error": "it was stopped"}})]
    assert run(node, "stop_diff", B) == 0
    assert node.asked == [("POST", "/_admin/replication", {"action": ["stop-diff"], "peer": [B]})]


def test_a_comparison_that_a_restart_has_ended_is_not_waited_for(node: Any, capsys: pytest.CaptureFixture[str]) -> None:
    node.answers = [peers(IN_STEP), peers(IN_STEP | {"diff": RESULT | {"number": 1, "running": True}}), peers(IN_STEP)]
    assert run(node, "diff", "", heal=False) == 1
    assert "started anew" in capsys.readouterr().err


def test_differences_are_listed_counted_and_1(node: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = RESULT | {"counts": {"newer-here": 2}, "differences": [DIFFERENCE], "healed": True}
    node.answers = [peers(IN_STEP), peers(IN_STEP | {"diff": found})]
    assert run(node, "diff", B, heal=True) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["newer-here", "photos", "a", "key", "2023-11-14", "22:13:20", "-"]
    assert lines[2:] == ["... and 1 more", f"{B}: 2 differences (2 newer-here), healed"]


def test_a_comparison_that_failed_is_1_with_its_reason(node: Any, capsys: pytest.CaptureFixture[str]) -> None:
    node.answers = [peers(IN_STEP), peers(IN_STEP | {"diff": RESULT | {"error": "the peer does not answer"}})]
    assert run(node, "diff", "", heal=False) == 1
    assert capsys.readouterr().err == f"{B}: the peer does not answer\n"


def test_a_home_is_set_here_elsewhere_or_only_told(node: Any, capsys: pytest.CaptureFixture[str]) -> None:
    node.answers = [{"bucket": "photos", "home": "0b" * 16, "address": B}]
    for home, asked in (
        ("", ("POST", {"action": ["set-home"], "bucket": ["photos"], "node": ["here"]})),
        (B, ("POST", {"action": ["set-home"], "bucket": ["photos"], "node": [B]})),
        ("?", ("GET", {"bucket": ["photos"]})),
    ):
        assert run(node, "set_home", "photos", home) == 0
        method, _, query = node.asked.pop()
        assert (method, query) == asked
        assert capsys.readouterr().out == f"the home of photos is node {'0b' * 16} at {B}\n"


def test_refusals_and_silence_have_their_own_codes_and_one_line(node: Any, capsys: pytest.CaptureFixture[str]) -> None:
    for answer, code in ((S3Error("InvalidArgument"), 2), (S3Error("NoSuchBucket"), 2), (S3Error("AccessDenied"), 3), ([], 3)):
        node.answers = [answer]
        assert run(node, "set_home", "photos", "") == code
        assert len(capsys.readouterr().err.splitlines()) == 1
    assert replication.main({"FS_ENDPOINT": "http://127.0.0.1:1"}, lambda asked: replication.status(asked, as_json=False)) == 3
    assert capsys.readouterr().err == "http://127.0.0.1:1: no answer\n"
    assert replication.main({"FS_WORKERS": "many"}, lambda asked: 0) == 2


def test_an_unknown_peer_is_named_with_those_there_are(node: Any, capsys: pytest.CaptureFixture[str]) -> None:
    node.answers = [peers(IN_STEP, AWAY)]
    for given in ("http://10.0.0.9", ""):
        assert run(node, "diff", given, heal=False) == 2
        assert capsys.readouterr().err == f"the peer must be one of {B}, {C}\n"


def test_who_stops_watching_gets_a_line_and_no_traceback(node: Any, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    def interrupted(_secs: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(replication, "sleep", interrupted)
    node.answers = [peers(IN_STEP), peers(IN_STEP | {"diff": RESULT | {"running": True}})]
    assert run(node, "diff", "", heal=False) == 130
    assert capsys.readouterr().err.strip().splitlines()[-1] == "the node goes on with what it was asked for"
