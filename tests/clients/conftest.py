"""Real S3 programs against one node for the whole session: no setting of theirs is changed but endpoint, keys, region and path style.

The node is set as `.env.example` ships it, but for ports, folders and keys.
"""

import itertools
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from dotenv import dotenv_values

from tests.clients.program import Program, debian_awscli
from tests.clients.tree import write_tree
from tests.node import ROOT, RunningNode

SHIPPED = dotenv_values(ROOT / ".env.example")
TREE = {"a.txt": 10, "folder/b c+d.bin": 100_000, "folder/deep/\u00fcml\u00e4ut.txt": 0, "folder/deep/&x=y.txt": 5000}
"""Path to size in bytes."""
LARGE_BYTES = 1 << 20
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node with two workers and the shipped limit on the size of a request."""
    data_dir = tmp_path_factory.mktemp("clients") / "data"
    with RunningNode(data_dir, {"FS_MAX_REQUEST_BYTES": str(SHIPPED["FS_MAX_REQUEST_BYTES"])}, workers=2) as running:
        yield running
    told = running.log()
    assert "Traceback" not in told and " defect " not in told, told  # no program brought a defect to light, even one that it survived
    shutil.rmtree(data_dir, ignore_errors=True)  # hundreds of megabytes: pytest would keep them for three sessions


@pytest.fixture(autouse=True)
def _keep_no_large_files(tmp_path: Path) -> Iterator[None]:
    """Remove what a test leaves that is large, as pytest keeps the folders of three sessions."""
    yield
    for path in tmp_path.rglob("*"):
        if path.is_file() and path.stat().st_size > LARGE_BYTES:
            path.unlink()


@pytest.fixture(scope="session")
def connect(node: RunningNode) -> Callable[..., Any]:
    """connect(**options of botocore's Config) -> a new boto3 client with boto3's defaults; no retries, so that no failure is hidden."""

    def make(**options: Any) -> Any:
        return boto3.session.Session().client(
            "s3",
            endpoint_url=node.endpoint,
            region_name="us-east-1",
            aws_access_key_id=node.credentials.access_key,
            aws_secret_access_key=node.credentials.secret_key,
            config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}, **options),
        )

    return make


@pytest.fixture(scope="session")
def s3(connect: Callable[..., Any]) -> Any:
    """A boto3 client."""
    return connect()


@pytest.fixture(scope="session")
def s3v4(connect: Callable[..., Any]) -> Any:
    """A boto3 client that presigns by Signature Version 4: for us-east-1 boto3 takes Version 2 unless it is told otherwise."""
    return connect(signature_version="s3v4")


@pytest.fixture
def bucket(s3: Any) -> str:
    """A new, empty bucket."""
    name = f"clients-{os.getpid()}-{next(_numbers)}"
    s3.create_bucket(Bucket=name)
    return name


@pytest.fixture
def program_environ(node: RunningNode, tmp_path: Path) -> dict[str, str]:
    """The environment for a program: the node's keys, and nothing of this machine's configuration."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "AWS_ACCESS_KEY_ID": node.credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": node.credentials.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": node.endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }


@pytest.fixture
def program(program_environ: dict[str, str], tmp_path: Path) -> Callable[..., Program]:
    """program(*command, **variables) -> that command, run in the test's folder."""

    def make(*command: str | Path, **variables: str) -> Program:
        return Program([str(part) for part in command], {**program_environ, **variables}, tmp_path)

    return make


@pytest.fixture(params=["pypi", pytest.param("debian", marks=pytest.mark.clients)])
def aws(request: pytest.FixtureRequest, program: Callable[..., Program], node: RunningNode) -> Program:
    """aws(*arguments): the command line from PyPI, and Debian's 2.9."""
    command = [sys.executable, Path(sys.executable).with_name("aws")] if request.param == "pypi" else [debian_awscli()]
    return program(*command, "--endpoint-url", node.endpoint)


@pytest.fixture
def tree(tmp_path: Path) -> dict[str, bytes]:
    """A folder `tree` of files with odd names, one of them empty; gives {path below it: content}."""
    contents = {name: os.urandom(size) for name, size in TREE.items()}
    write_tree(tmp_path / "tree", contents)
    return contents
