"""mc, MinIO's client: files, trees, links, anonymous access and tags. Built from its module with Go."""

import json
import os

import pytest
import requests

from tests.clients.program import installed
from tests.clients.tree import read_tree, write_tree

pytestmark = [pytest.mark.slow, pytest.mark.clients]


@pytest.fixture
def mc(program, node):
    """mc with the alias `fs` for the node."""
    made = program(installed("mc"), "--config-dir", "mc", "--no-color", "--disable-pager", "--quiet")
    made("alias", "set", "fs", node.endpoint, node.credentials.access_key, node.credentials.secret_key)
    return made


@pytest.fixture
def mc_json(mc):
    """mc_json(*arguments) -> the documents that mc prints, one a line."""

    def run(*arguments):
        return [json.loads(line) for line in mc("--json", *arguments).splitlines() if line]

    return run


def test_a_bucket_and_one_file(mc, mc_json, s3, tmp_path):
    name = f"mc-{os.urandom(4).hex()}"
    body = os.urandom(100_000)
    (tmp_path / "in").write_bytes(body)
    mc("mb", f"fs/{name}")
    mc("mb", "--ignore-existing", f"fs/{name}")
    assert f"{name}/" in [found["key"] for found in mc_json("ls", "fs")]
    mc("cp", "--attr", "colour=red", "in", f"fs/{name}/folder/a b+\u00fc")
    (stat,) = mc_json("stat", f"fs/{name}/folder/a b+\u00fc")
    assert (stat["size"], stat["metadata"]["X-Amz-Meta-Colour"]) == (100_000, "red")
    assert s3.get_object(Bucket=name, Key="folder/a b+\u00fc")["Body"].read() == body
    assert mc.bytes("cat", f"fs/{name}/folder/a b+\u00fc") == body
    assert mc.bytes("cat", "--offset", "10", f"fs/{name}/folder/a b+\u00fc") == body[10:]
    assert mc.bytes("head", "--lines", "1", f"fs/{name}/folder/a b+\u00fc").rstrip(b"\n") == body.split(b"\n", 1)[0]
    mc("pipe", f"fs/{name}/piped", stdin=b"from standard input")
    assert mc.bytes("cat", f"fs/{name}/piped") == b"from standard input"
    mc("mv", f"fs/{name}/piped", f"fs/{name}/moved")
    mc("cp", f"fs/{name}/moved", "out")
    assert (tmp_path / "out").read_bytes() == b"from standard input"
    assert "Object does not exist" in mc.fails("stat", f"fs/{name}/piped")
    assert "not empty" in mc.fails("rb", f"fs/{name}")
    mc("rb", "--force", f"fs/{name}")
    assert f"{name}/" not in [found["key"] for found in mc_json("ls", "fs")]


def test_a_tree_is_copied_mirrored_and_removed(mc, mc_json, bucket, tree, tmp_path):
    mc("cp", "--recursive", "tree/", f"fs/{bucket}/up/")
    listed = {found["key"]: found["size"] for found in mc_json("ls", "--recursive", f"fs/{bucket}/up/")}
    assert listed == {name: len(body) for name, body in tree.items()}
    assert sorted(found["key"].rpartition("/")[2] for found in mc_json("find", f"fs/{bucket}", "--name", "*.txt")) == sorted(
        name.rpartition("/")[2] for name in tree if name.endswith(".txt")
    )
    (usage,) = mc_json("du", f"fs/{bucket}")
    assert (usage["size"], usage["objects"]) == (sum(map(len, tree.values())), len(tree))
    assert mc_json("diff", "tree", f"fs/{bucket}/up") == []
    mc("mirror", f"fs/{bucket}/up", "down")
    assert read_tree(tmp_path / "down") == tree
    mc("mirror", f"fs/{bucket}/up", f"fs/{bucket}/across")
    (tmp_path / "tree" / "a.txt").unlink()
    write_tree(tmp_path / "tree", {"new.txt": b"new"})
    mc("mirror", "--remove", "--overwrite", "tree", f"fs/{bucket}/up")
    assert {found["key"] for found in mc_json("ls", "--recursive", f"fs/{bucket}/up/")} == {*tree, "new.txt"} - {"a.txt"}
    mc("rm", f"fs/{bucket}/up/new.txt")
    mc("rm", "--recursive", "--force", f"fs/{bucket}/up")
    assert [found["key"] for found in mc_json("ls", f"fs/{bucket}")] == ["across/"]
    mc("rm", "--recursive", "--force", f"fs/{bucket}")
    assert mc_json("ls", f"fs/{bucket}") == []


def test_a_large_file_goes_in_parts(mc, mc_json, s3, bucket, tmp_path):
    body = os.urandom(40 << 20)
    (tmp_path / "in").write_bytes(body)
    mc("cp", "in", f"fs/{bucket}/large")
    assert s3.head_object(Bucket=bucket, Key="large")["ETag"].endswith('-3"')
    mc("cp", f"fs/{bucket}/large", f"fs/{bucket}/copy")
    mc("rm", f"fs/{bucket}/large")
    mc("cp", f"fs/{bucket}/copy", "out")
    assert (tmp_path / "out").read_bytes() == body
    upload = s3.create_multipart_upload(Bucket=bucket, Key="half")["UploadId"]
    s3.upload_part(Bucket=bucket, Key="half", UploadId=upload, PartNumber=1, Body=b"part")
    assert [found["key"] for found in mc_json("ls", "--incomplete", "--recursive", f"fs/{bucket}")] == ["half"]
    mc("rm", "--incomplete", "--recursive", "--force", f"fs/{bucket}")
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_links_and_anonymous_access(mc, mc_json, s3, bucket, node):
    s3.put_object(Bucket=bucket, Key="folder/key", Body=b"body")
    url = f"{node.endpoint}/{bucket}/folder/key"
    (shared,) = mc_json("share", "download", "--expire", "10m", f"fs/{bucket}/folder/key")
    assert requests.get(shared["share"], timeout=30).content == b"body"
    assert requests.get(url, timeout=30).status_code == 403
    assert "private" in mc("anonymous", "get", f"fs/{bucket}")
    for level, reads, writes in (("download", 200, 403), ("upload", 403, 200), ("public", 200, 200)):
        mc("anonymous", "set", level, f"fs/{bucket}")
        assert level in mc("anonymous", "get", f"fs/{bucket}")
        assert requests.get(url, timeout=30).status_code == reads, level
        assert requests.put(f"{url}-{level}", data=b"x", timeout=30).status_code == writes, level
    mc("anonymous", "set", "private", f"fs/{bucket}")
    assert requests.get(url, timeout=30).status_code == 403
    mc("anonymous", "set", "download", f"fs/{bucket}/folder")
    assert requests.get(url, timeout=30).content == b"body"
    s3.put_object(Bucket=bucket, Key="other", Body=b"body")
    assert requests.get(f"{node.endpoint}/{bucket}/other", timeout=30).status_code == 403
    (form,) = mc_json("share", "upload", "--expire", "10m", f"fs/{bucket}/incoming")
    fields = dict(part.split("=", 1) for part in form["share"].split(" -F ")[1:-1])
    assert requests.post(form["share"].split()[1], data=fields, files={"file": b"from a form"}, timeout=30).status_code == 204
    assert s3.get_object(Bucket=bucket, Key="incoming")["Body"].read() == b"from a form"


def test_tags_and_what_is_not_configured(mc, mc_json, s3, bucket):
    s3.put_object(Bucket=bucket, Key="key", Body=b"body")
    mc("tag", "set", f"fs/{bucket}/key", "a=1&b=2")
    (found,) = mc_json("tag", "list", f"fs/{bucket}/key")
    assert found["tagset"] == {"a": "1", "b": "2"}
    mc("tag", "remove", f"fs/{bucket}/key")
    assert "No tags found" in mc("tag", "list", f"fs/{bucket}/key")
    assert "un-versioned" in mc("version", "info", f"fs/{bucket}")
    assert "NotImplemented" in mc.fails("--debug", "version", "enable", f"fs/{bucket}")
    told = mc("stat", f"fs/{bucket}")
    assert "Versioning: Un-versioned" in told
    assert "Location: us-east-1" in told
    assert mc("ready", "fs")
