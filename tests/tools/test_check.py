"""The verbs `check` and `dump` as a person runs them: exit codes, JSON, locks, beside a running node; nothing secret is shown."""

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from fasterstore.metadata import schema
from fasterstore.metadata.index import IndexView
from fasterstore.storage.datadir import KEYS_NAME, DataDir, read_datadir
from fasterstore.storage.disk import RealDisk
from fasterstore.storage.segment import segment_name
from fasterstore.storage.wal_format import unpack_file_header
from tests.customer_keys import A, bring
from tests.node import RunningNode
from tests.s3.test_multipart import PART_BYTES, Upload
from tests.storage_node import change
from tools import check, dump
from tools.dump import _printable

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A verb, on the data dir of that folder."""
    return subprocess.run(
        [sys.executable, "-m", "fasterstore", *arguments],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "FS_DATA_DIR": str(folder / "data")},
        capture_output=True,
        text=True,
        timeout=60,
    )


def as_json(done: subprocess.CompletedProcess[str]) -> dict:
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def node(tmp_path):
    made = RunningNode(tmp_path / "data", {"FS_SCRUB_INTERVAL_DAYS": "0"}, workers=1)
    made.start()
    client = made.client()
    client.create_bucket("box")
    for number in range(10):
        client.put("box", f"key {number}", b"%d," % number * 200)
    client.put("box", "large", bytes(range(256)) * 3000)
    yield made
    made.kill()


@pytest.fixture
def stopped(node, tmp_path):
    """The folder of a node that has stopped."""
    assert node.stop() == 0
    return tmp_path


def index_of(folder: Path) -> str:
    return str(folder / "data" / "index" / "index.db")


def blob_of(folder: Path, key: bytes):
    view = IndexView(index_of(folder))
    try:
        return view.locate("box", key).blob
    finally:
        view.close()


def datadir_of(folder: Path) -> DataDir:
    return read_datadir(RealDisk(), str(folder / "data"))


def head_of(folder: Path) -> int:
    view = IndexView(index_of(folder))
    try:
        return view.applied_lsn()
    finally:
        view.close()


def miscount(folder: Path):
    blob = blob_of(folder, b"key 3")
    change(index_of(folder), "UPDATE blobs SET value = ? WHERE number = ?", (schema.pack_blob(blob._replace(refs=5)), blob.number))
    return blob


# ---- check


def test_a_clean_store_ends_with_0_stopped_and_running(node, tmp_path):
    beside = run(tmp_path, "check", "--full", "--json")
    assert (beside.returncode, as_json(beside)["clean"], as_json(beside)["node_running"]) == (0, True, True)
    assert run(tmp_path, "check").stdout.endswith("clean\n")
    node.stop()
    alone = run(tmp_path, "check", "--full", "--json")
    assert (alone.returncode, as_json(alone)["clean"], as_json(alone)["node_running"]) == (0, True, False)
    node.start()
    assert node.client().get("box", "key 3").content == b"3," * 200


def test_objects_under_customers_keys_are_clean_without_the_key(node, tmp_path):
    client = node.client()
    for size, key in ((0, "none"), (10, "small"), (300_000, "large"), (5_000_000, "larger")):
        client.put("box", f"own {key}", os.urandom(size), bring(A))
    client.put("box", "own small", b"appended", {"x-amz-write-offset-bytes": "10", **bring(A)})
    upload = Upload(client, "box", headers=bring(A))
    upload.put(client, 1, os.urandom(PART_BYTES), bring(A))
    upload.put(client, 2, b"end", bring(A))
    assert upload.complete(client).status_code == 200
    for _ in range(2):
        done = run(tmp_path, "check", "--full", "--json")
        assert (done.returncode, as_json(done)["findings"]) == (0, [])
        node.stop()


def test_a_node_that_was_killed_is_clean_to_a_check(node, tmp_path):
    node.kill()
    done = run(tmp_path, "check", "--full", "--json")
    assert (done.returncode, as_json(done)["findings"]) == (0, [])


def test_findings_end_with_1_and_what_is_derivable_can_be_repaired(stopped):
    blob = miscount(stopped)
    found = run(stopped, "check", "--json")
    assert found.returncode == 1
    assert as_json(found)["findings"] == [
        {"kind": "refs", "where": f"blob {blob.number}", "detail": "5 references are stored, 1 counted", "repairable": True}
    ]
    text = run(stopped, "check")
    assert (text.returncode, "1 findings, 1 of which --repair can put right" in text.stdout) == (1, True)
    mended = run(stopped, "check", "--repair", "--json")
    assert (mended.returncode, as_json(mended)["clean"], as_json(mended)["left"]) == (0, True, [])
    with open(as_json(mended)["report"], encoding="utf-8") as report:
        assert json.load(report)["changes"] == [{"kind": "refs", "where": f"blob {blob.number}", "was": "5", "is": "1"}]
    assert run(stopped, "check").returncode == 0
    assert RunningNode(stopped / "data", workers=0).start().restart().stop() == 0


def test_a_damaged_index_is_marked_by_repair_and_made_anew_by_the_next_start(node, stopped):
    change(index_of(stopped), "UPDATE objects SET value = CAST(x'00' || substr(value, 2) AS BLOB) WHERE key = x'6b65792033'")
    assert run(stopped, "check").returncode == 1
    marked = run(stopped, "check", "--repair")
    assert (marked.returncode, "the next start builds it anew" in marked.stdout) == (1, True)
    node.start()
    assert node.client().get("box", "key 3").content == b"3," * 200
    assert run(stopped, "check", "--full").returncode == 0


def test_a_running_node_is_not_repaired(node, tmp_path):
    done = run(tmp_path, "check", "--repair")
    assert (done.returncode, done.stdout) == (2, "")
    assert "stop it" in done.stderr


def test_no_check_ends_with_2_and_one_line(tmp_path, stopped):
    (tmp_path / "empty").mkdir()
    done = run(tmp_path, "check", "--data-dir", str(tmp_path / "empty"))
    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert os.listdir(tmp_path / "empty") == [], "nothing is made"


def test_no_node_starts_under_a_check(stopped, monkeypatch):
    seen = []
    plain = check.StoreCheck.run

    def during(self):
        late = RunningNode(stopped / "data", workers=0)
        try:
            late.start()
        except Exception as error:
            seen.append(str(error))
        else:
            late.stop()
        yield from plain(self)

    monkeypatch.setattr(check.StoreCheck, "run", during)
    assert check.main({"FS_DATA_DIR": str(stopped / "data")}, full=False, mend=False, as_json=False, data_dir=None) == 0
    assert len(seen) == 1
    assert "another node serves this data dir" in seen[0]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("stream", "drawn"), [(Terminal(), True), (io.StringIO(), False)])
def test_progress_is_drawn_on_a_terminal_only(stopped, monkeypatch, stream, drawn):
    monkeypatch.setattr("sys.stderr", stream)
    assert check.main({"FS_DATA_DIR": str(stopped / "data")}, full=True, mend=False, as_json=True, data_dir=None) == 0
    assert ("log [" in stream.getvalue()) is drawn
    assert stream.getvalue().endswith("\r\x1b[K" if drawn else "")


# ---- dump


@pytest.mark.parametrize("is_running", [True, False])
def test_dump_shows_one_thing_by_any_of_its_names(node, tmp_path, is_running):
    if not is_running:
        node.stop()
    blob = blob_of(tmp_path, b"key 3")
    place = blob.location
    shown = as_json(run(tmp_path, "dump", "--json", "object", "box", "key 3"))
    assert (shown["size_bytes"], shown["blob"], shown["blob_row"]["blob_id"]) == (400, blob.number, blob.blob_id.hex())
    assert shown["blob_row"]["record"]["content"] == "sound: every chunk verifies"
    assert as_json(run(tmp_path, "dump", "--json", "blob", str(blob.number))) == shown["blob_row"]
    record = as_json(run(tmp_path, "dump", "--json", "record", str(place.segment_id), str(place.offset)))
    assert record == shown["blob_row"]["record"]
    assert (record["record_id"], record["data_key"]) == (place.record_id.hex(), "none (plain)")
    lsn = next(lsn for lsn in range(1, head_of(tmp_path) + 1) if dump.entry_of(datadir_of(tmp_path), lsn).get("key") == "key 3")
    entry = as_json(run(tmp_path, "dump", "--json", "entry", str(lsn)))
    assert (entry["entry"], entry["blob"], entry["source"]) == ("ObjectPut", blob.number, "NEW")
    frame = as_json(run(tmp_path, "dump", "--json", "frame", str(lsn)))
    assert frame["first_lsn"] <= lsn <= frame["last_lsn"]
    assert as_json(run(tmp_path, "dump", "--json", "frame", frame["file"], str(frame["offset"]))) == frame
    text = run(tmp_path, "dump", "frame", str(lsn)).stdout
    assert "ObjectPut" in text and "key 3" in text


def test_dump_says_what_is_damaged_and_what_is_not_there(stopped):
    blob = blob_of(stopped, b"large")
    path = stopped / "data" / "segments" / segment_name(blob.location.segment_id)
    with open(path, "r+b") as file:
        file.seek(blob.location.offset + 300_000)
        file.write(b"rot")
    shown = as_json(run(stopped, "dump", "--json", "blob", str(blob.number)))
    assert "DAMAGED: chunk 1" in shown["record"]["content"]
    with open(path, "r+b") as file:
        file.seek(blob.location.offset + 5)
        file.write(b"rot")
    assert "DAMAGED" in as_json(run(stopped, "dump", "--json", "blob", str(blob.number)))["record"]["header"]
    for arguments in (("blob", "999"), ("object", "box", "nothing"), ("object", "nobox", "k"), ("entry", "99999"), ("record", "77", "64"),
                      ("frame", "0000000000000001.wal", "5"), ("frame", "nothing.wal", "5")):  # fmt: skip
        done = run(stopped, "dump", *arguments)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (1, "", 1)


def test_nothing_secret_is_shown(node, tmp_path):
    client = node.client()
    begun = client.send("POST", "/box/upload", "uploads=").text
    token_of_id = begun.split("<UploadId>")[1].split("<")[0]
    blob_key = json.loads((tmp_path / "data" / KEYS_NAME).read_text())["blob_id_key"]
    log = next((tmp_path / "data" / "journal").glob("*.wal"))
    salt = unpack_file_header(log.read_bytes()).salt
    datadir = datadir_of(tmp_path)
    printed = json.dumps([dump.frame_of(datadir, lsn) for lsn in range(1, head_of(tmp_path) + 1)])
    printed += run(tmp_path, "dump", "object", "box", "large").stdout + run(tmp_path, "check", "--full", "--json").stdout
    assert "UploadCreated" in printed
    for secret in (blob_key, base64.b64decode(blob_key).hex(), salt.hex(), token_of_id):
        assert secret not in printed
    assert "(hidden)" in printed


def test_what_a_terminal_would_obey_is_spelled_out():
    assert _printable("a\x1b[2Jb\nc") == "a\\x1b[2Jb\\nc"
