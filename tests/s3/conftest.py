"""S3 over HTTP against real nodes: one shared node for most tests, others for tests that need settings of their own."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.node import RunningNode
from tests.raw_connection import RawConnection
from tools.client import Client

SHARED_SETTINGS = {"FS_SEGMENT_TARGET_SIZE_MB": "12", "FS_MAX_REQUEST_BYTES": str(32 << 20)}
"""Small enough that a test can cross each limit."""

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningNode]:
    """The shared node: two workers, so that consecutive connections meet different processes."""
    with RunningNode(tmp_path_factory.mktemp("shared") / "data", SHARED_SETTINGS, workers=2) as running:
        yield running


@pytest.fixture
def client(node: RunningNode) -> Iterator[Client]:
    """A SigV4 client of the shared node."""
    with node.client() as made:
        yield made


@pytest.fixture
def bucket(node: RunningNode) -> str:
    """A new, empty bucket on the shared node."""
    name = f"bucket-{next(_numbers)}"
    with node.client() as made:
        made.create_bucket(name)
    return name


@pytest.fixture
def connect(node: RunningNode) -> Iterator[Callable[..., RawConnection]]:
    """connect(another_node=None) -> a raw connection, closed after the test."""
    made: list[RawConnection] = []

    def make(to: RunningNode | None = None) -> RawConnection:
        made.append(RawConnection(to or node))
        return made[-1]

    yield make
    for connection in made:
        connection.close()


@pytest.fixture
def start_node(tmp_path: Path) -> Iterator[Callable[..., RunningNode]]:
    """start_node(workers=1, **FS_ settings) -> a ready node of its own with one worker, stopped after the test."""
    made: list[RunningNode] = []

    def start(workers: int = 1, **settings: str) -> RunningNode:
        made.append(RunningNode(tmp_path / f"node-{len(made)}" / "data", settings, workers=workers))
        return made[-1].start()

    yield start
    for running in made:
        running.stop()
