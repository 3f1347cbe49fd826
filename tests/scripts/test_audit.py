"""make audit: a known fault fails, and nothing is called checked that was not."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from scripts import audit
from tests.node import ROOT

FAULTY = "bottle"


class Advisories(BaseHTTPRequestHandler):
    """An advisory service (OSV's query) that knows of one fault, in FAULTY."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        known = {
            "id": "GHSA-test-0000-0000",
            "summary": "made up",
            "details": "made up",
            "published": "2026-01-01T00:00:00Z",
            "affected": [
                {"package": asked["package"], "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.0"}]}]}
            ],
        }
        body = json.dumps({"vulns": [known]} if asked["package"]["name"] == FAULTY else {}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def service() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), Advisories)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1/query"
    server.shutdown()
    server.server_close()
    thread.join()


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *files: str, url: str) -> tuple[int, str]:
    monkeypatch.setenv("AUDIT_OSV_URL", url)
    monkeypatch.setattr("sys.argv", ["audit", *files])
    return audit.main(), capsys.readouterr().out


@pytest.mark.slow
def test_a_known_fault_fails_and_is_named(service, capsys, monkeypatch):
    status, said = run(capsys, monkeypatch, str(ROOT / "requirements.txt"), url=service)
    assert status == 1
    assert f"FAULT {FAULTY} " in said and "GHSA-test-0000-0000" in said and "fixed in 99.0" in said
    assert "1 known faults" in said and "NOT AUDITED" not in said


@pytest.mark.slow
def test_without_a_fault_all_packages_are_checked_and_it_passes(service, capsys, monkeypatch, tmp_path):
    file = tmp_path / "some.txt"
    file.write_text("# two\nclick==8.5.1\nmsgpack==1.2.4\n")
    status, said = run(capsys, monkeypatch, str(file), url=service)
    assert (status, said) == (0, f"{file}: 2 of 2 packages checked, 0 known faults\n")


@pytest.mark.slow
def test_a_service_that_cannot_be_reached_is_said_and_does_not_fail(capsys, monkeypatch):
    status, said = run(capsys, monkeypatch, str(ROOT / "requirements.txt"), url="http://127.0.0.1:1/v1/query")
    assert status == 0
    assert "NOT AUDITED" in said and "checked" not in said


@pytest.mark.slow
def test_an_old_version_fails_where_nobody_can_be_asked(capsys, monkeypatch, tmp_path):
    file = tmp_path / "old.txt"
    file.write_text("gevent==23.7.0\nclick==8.5.1\n")
    status, said = run(capsys, monkeypatch, str(file), url="http://127.0.0.1:1/v1/query")
    assert status == 1
    assert "NOT AUDITED" in said and "FAULT gevent 23.7.0" in said


def test_what_is_pinned_has_none_of_the_faults_known_before():
    versions = audit.pinned(str(ROOT / "requirements.txt"))
    assert versions.keys() >= audit.FIXED_IN.keys()
    assert not audit.long_known(versions)


def test_a_package_that_the_service_does_not_know_is_not_called_checked():
    dependencies = [
        {"name": "a", "version": "1", "vulns": []},
        {"name": "b", "skip_reason": "Dependency not found on PyPI"},
        {"name": "c", "version": "2", "vulns": [{"id": "X-1", "fix_versions": [], "description": ""}]},
    ]
    report = audit.read_report(json.dumps({"dependencies": dependencies, "fixes": []}))
    assert report == audit.Report(2, ["c 2: X-1, fixed in no version yet"], ["b: Dependency not found on PyPI"])
    for text in ("", "{}", "[]", "No known vulnerabilities found"):
        with pytest.raises(ValueError):
            audit.read_report(text)
