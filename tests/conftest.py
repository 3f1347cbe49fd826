from gevent import monkey

monkey.patch_all()

import pytest
from gevent import get_hub

_WATCHER = pytest.StashKey[object]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that last longest, so that no worker is left alone with one of them at the end."""
    items.sort(key=lambda item: max((mark.args[0] for mark in item.iter_markers("lasts")), default=0), reverse=True)


def pytest_configure(config: pytest.Config) -> None:
    """Let a pytest-xdist worker wait for its next test.

    It waits on an event that a native thread sets; without a watcher of its own the hub would see nobody who could, and give up.
    Never stopped: at its very end it waits like that once more.
    """
    if hasattr(config, "workerinput"):
        watcher = get_hub().loop.async_()
        watcher.start(lambda: None)
        config.stash[_WATCHER] = watcher
