"""Data dirs that older versions left behind: opened, every object as it was, and usable; newer ones are refused by name.

The fixtures are made by `tests/fixtures/make_datadir.py`, each by the last version that wrote its format.
"""

import hashlib
import json
import random
import re
import tarfile
from pathlib import Path
from xml.etree.ElementTree import fromstring

import gevent
import pytest

from fasterstore.storage.atomic_file import CHECKSUM_FIELD, json_bytes
from fasterstore.storage.datadir import FORMAT
from tests.node import NodeEnded, RunningNode
from tools.client import Client, ResponseError

FIXTURES = Path(__file__).parents[1] / "fixtures"
ARCHIVES = sorted(FIXTURES.glob("datadir-v*-*.tar.xz"))
ENDS = ("killed", "stopped")
KILLS = 6
KILL_WITHIN_SECS = 0.7
"""After the node listens; about as long as it takes to become ready."""

pytestmark = pytest.mark.slow


def unpack(archive: Path, folder: Path) -> dict:
    """Put the data dir at `folder`; return what it holds."""
    folder.mkdir(mode=0o700)
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    number, end = re.fullmatch(r"datadir-v(\d+)-(\w+)\.tar\.xz", archive.name).groups()
    return json.loads((FIXTURES / f"datadir-v{number}.json").read_text())[end]


def test_every_older_format_has_its_fixtures() -> None:
    names = {archive.name for archive in ARCHIVES}
    needed = {f"datadir-v{number}-{end}.tar.xz" for number in range(1, FORMAT) for end in ENDS}
    assert names and not needed - names


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_a_data_dir_of_an_older_version_opens_with_everything_in_it(archive: Path, tmp_path: Path) -> None:
    expected = unpack(archive, tmp_path / "data")
    # Long enough that no upload expires by the years between its making and this test.
    node = RunningNode(tmp_path / "data", {"FS_MULTIPART_TTL_SECS": str(3650 * 86_400)}, workers=1)
    with node.start():
        compare(node.client(), expected)
        assert json.loads((node.data_dir / "format.json").read_text())["format"] == FORMAT
        _use(node.client(), expected)
        node.restart()
        compare(node.client(), expected)
        node.kill()
        node.start()
        compare(node.client(), expected)
    assert "defect" not in node.log()


def compare(client: Client, expected: dict) -> None:
    """Every object, setting and open upload is as it was, and there is nothing else."""
    listed = {f"{bucket}/{key}" for bucket in expected["settings"] for key in _keys(client, bucket)}
    assert listed == expected["objects"].keys()
    assert set(client.list_buckets()) == expected["settings"].keys()
    for place, made in expected["objects"].items():
        _compare_object(client, *place.split("/", 1), made)
    for bucket, settings in expected["settings"].items():
        if "policy" in settings:
            assert client.request("GET", bucket, b"", (("policy", ""),)).json() == json.loads(settings["policy"])
        if "cors" in settings:
            assert "<AllowedMethod>GET</AllowedMethod>" in client.request("GET", bucket, b"", (("cors", ""),)).text
    for upload in expected["uploads"]:
        answer = client.request("GET", "first-bucket", upload["key"], (("uploadId", upload["upload_id"]),))
        assert answer.status_code == 200, answer.text
        found = dict(zip(_texts(answer.content, "PartNumber"), _texts(answer.content, "Size"), strict=True))
        assert found == {part: str(held["size_bytes"]) for part, held in upload["parts"].items()}


def _compare_object(client: Client, bucket: str, key: str, made: dict) -> None:
    if made.get("damaged"):
        with pytest.raises(ResponseError) as refused:
            client.get(bucket, key)
        assert refused.value.status == 500
        assert client.head(bucket, key).headers["ETag"] == f'"{made["etag"]}"'
        return
    answer = client.get(bucket, key, {"x-amz-checksum-mode": "ENABLED"})
    assert len(answer.content) == made["size_bytes"], (bucket, key)
    assert hashlib.sha256(answer.content).hexdigest() == made["sha256"], (bucket, key)
    assert answer.headers["ETag"] == f'"{made["etag"]}"', (bucket, key)
    for name, value in made["system"].items():
        assert answer.headers[name] == value, (bucket, key, name)
    tags = client.request("GET", bucket, key, (("tagging", ""),)).content
    assert dict(zip(_texts(tags, "Key"), _texts(tags, "Value"), strict=True)) == made["tags"], (bucket, key)
    public = "AllUsers" in client.request("GET", bucket, key, (("acl", ""),)).text
    assert public == (made["acl"] == "public-read"), (bucket, key)
    if made["size_bytes"] > 10:
        middle = made["size_bytes"] // 2
        part = client.get(bucket, key, {"range": f"bytes={middle}-{middle + 4}"})
        assert part.content == answer.content[middle : middle + 5]


def _use(client: Client, expected: dict) -> None:
    """What was left open can be completed, what was damaged healed, and new objects stored; `expected` says so afterwards."""
    upload = expected["uploads"].pop()
    number, part = max(upload["parts"].items())
    listed = f"<Part><PartNumber>{number}</PartNumber><ETag>{part['etag']}</ETag></Part>"
    body = f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()
    answer = client.request("POST", "first-bucket", upload["key"], (("uploadId", upload["upload_id"]),), None, body)
    assert answer.status_code == 200 and b"<Error>" not in answer.content, answer.text
    kept = client.get("first-bucket", upload["key"])
    assert hashlib.md5(kept.content).hexdigest() == part["etag"]
    expected["objects"][f"first-bucket/{upload['key']}"] = _object(kept.content, kept.headers["ETag"].strip('"'))
    for key, body in (("new", b"new" * 40_000), ("described", b"overwritten")):
        client.put("first-bucket", key, body)
        expected["objects"][f"first-bucket/{key}"] = _object(body, hashlib.md5(body).hexdigest())
    client.delete("second.bucket", "public")
    del expected["objects"]["second.bucket/public"]


def _object(body: bytes, etag: str) -> dict:
    return {"size_bytes": len(body), "sha256": hashlib.sha256(body).hexdigest(), "etag": etag, "tags": {}, "acl": "", "system": {}}


def _keys(client: Client, bucket: str) -> list[str]:
    return _texts(client.request("GET", bucket, b"", (("list-type", "2"),)).content, "Key")


def _texts(document: bytes, name: str) -> list[str]:
    return [element.text or "" for element in fromstring(document).iter() if element.tag.rpartition("}")[2] == name]


@pytest.mark.parametrize("archive", ARCHIVES, ids=lambda path: path.name.removesuffix(".tar.xz"))
def test_an_upgrade_that_is_killed_again_and_again_loses_nothing(archive: Path, tmp_path: Path) -> None:
    expected = unpack(archive, tmp_path / "data")
    node = RunningNode(tmp_path / "data", {"FS_MULTIPART_TTL_SECS": str(3650 * 86_400)}, workers=1)
    dice = random.Random(archive.name)
    for _ in range(KILLS):
        node.start(wait_ready=False)
        gevent.sleep(dice.uniform(0, KILL_WITHIN_SECS))
        node.kill()
    with node.start():
        compare(node.client(), expected)


@pytest.mark.parametrize(
    ("name", "field", "says"),
    [("format.json", "format", "data format 99 is newer than"), ("keys.json", "version", "version 99")],
)
def test_a_newer_format_is_refused_by_name_and_left_as_it_is(name: str, field: str, says: str, tmp_path: Path) -> None:
    unpack(ARCHIVES[-1], tmp_path / "data")
    path = tmp_path / "data" / name
    document = json.loads(path.read_text()) | {field: 99}
    document.pop(CHECKSUM_FIELD, None)
    path.write_bytes(json_bytes(document))
    before = _tree(tmp_path / "data")
    with pytest.raises(NodeEnded) as ended:
        RunningNode(tmp_path / "data").start()
    assert ended.value.code not in {0, -9}
    assert name in ended.value.log and says in ended.value.log, ended.value.log
    after = _tree(tmp_path / "data")
    assert {path: after[path] for path in before} == before


def _tree(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file()}
