"""Real S3 programs against one node for the whole session: no setting of theirs is changed but endpoint, keys and path style."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.node import RunningNode


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """A node with two workers."""
    with RunningNode(tmp_path_factory.mktemp("clients") / "data", workers=2) as running:
        yield running


@pytest.fixture
def program_environ(node: RunningNode, tmp_path: Path) -> dict[str, str]:
    """The environment for a program: the node's keys, and nothing of this machine's configuration."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": node.credentials.access_key,
        "AWS_SECRET_ACCESS_KEY": node.credentials.secret_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": node.endpoint,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }
