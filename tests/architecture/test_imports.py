"""Imports point one way, tools -> web -> actors -> fasterstore, and the runtime comes in through few doors."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("fasterstore", "actors", "web", "tools")
UPWARD_EXEMPT = {"fasterstore/__main__.py"}
DOORS = {
    "pykka": {"actors/mailbox.py", "actors/runtime.py"},
    "gevent": {
        "actors/mailbox.py", "actors/runtime.py", "actors/native_thread.py", "actors/transport.py", "web/connection.py", "web/server.py",
        "web/wire.py", "tools/node.py",
    },
    "greenlet": {"actors/runtime.py"},
    "apsw": {"fasterstore/metadata/index.py", "fasterstore/metadata/index_file.py", "fasterstore/metadata/index_writer.py"},
}  # fmt: skip
"""Third-party name -> the only files that may import it."""
NOT_IN_THE_PURE_LAYER = {
    "asyncio", "bottle", "click", "dotenv", "http", "httptools", "multiprocessing", "requests", "selectors", "signal", "socket",
    "socketserver", "ssl", "subprocess",
}  # fmt: skip
CLOCKS = {
    "time.time", "time.time_ns", "time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns", "time.sleep",
    "datetime.now", "datetime.utcnow", "datetime.today", "date.today", "datetime.datetime.now", "datetime.datetime.utcnow",
}  # fmt: skip


def source_files() -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


def imported_modules(source: str, path: str) -> Iterator[str]:
    """Every module that a file imports, wherever in the file it does so; relative imports are resolved."""
    package = path.removesuffix(".py").removesuffix("/__init__").split("/")
    if not path.endswith("__init__.py"):
        package = package[:-1]
    for node in ast.walk(ast.parse(source, path)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            yield ".".join(part for part in (base, node.module) if part)


def violations(source: str, path: str) -> list[str]:
    """What is wrong with the imports of one file, in words."""
    found = []
    layer = path.split("/", 1)[0]
    for module in imported_modules(source, path):
        top = module.split(".", 1)[0]
        if top in LAYERS and LAYERS.index(top) > LAYERS.index(layer) and path not in UPWARD_EXEMPT:
            found.append(f"{path}: imports {module}, which lies above {layer}")
        if top in DOORS and path not in DOORS[top]:
            found.append(f"{path}: imports {module}; only {', '.join(sorted(DOORS[top]))} may")
        if layer == "fasterstore" and top in NOT_IN_THE_PURE_LAYER:
            found.append(f"{path}: imports {module}; this layer has no sockets and no processes")
        if top == "tests":
            found.append(f"{path}: imports {module}")
    if layer == "fasterstore":
        found += [f"{path}: reads a clock with {name}; take `now` as an argument" for name in clocks_read(source, path)]
    return found


def clocks_read(source: str, path: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source, path)):
        if isinstance(node, ast.Attribute) and (name := ast.unparse(node)) in CLOCKS:
            yield name
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            yield from (f"time.{alias.name}" for alias in node.names if f"time.{alias.name}" in CLOCKS)


@pytest.mark.parametrize("path", source_files())
def test_imports_point_down_and_the_runtime_comes_in_by_its_doors(path: str) -> None:
    assert violations((ROOT / path).read_text(encoding="utf-8"), path) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("fasterstore/model.py", "import actors.runtime"),
        ("actors/cache.py", "from web import app"),
        ("actors/cache.py", "def f():\n    from tools.node import main"),
        ("web/app.py", "from tools import client"),
        ("fasterstore/s3/names.py", "from ...actors import runtime"),
        ("web/object.py", "import gevent.event"),
        ("web/object.py", "import pykka"),
        ("actors/metadata_journal.py", "import apsw"),
        ("fasterstore/model.py", "import socket"),
        ("fasterstore/model.py", "import time\nnow = time.time()"),
        ("fasterstore/model.py", "from time import monotonic"),
        ("fasterstore/model.py", "from datetime import datetime\nnow = datetime.now()"),
    ],
)
def test_the_check_itself_catches_each_kind_of_wrong_import(path: str, source: str) -> None:
    assert violations(source, path)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("tools/node.py", "import gevent, web.app, actors.runtime, fasterstore.model"),
        ("actors/runtime.py", "import pykka, gevent"),
        ("fasterstore/__main__.py", "from tools.cli import main"),
        ("fasterstore/s3/names.py", "from . import errors\nfrom ..model import Lsn"),
    ],
)
def test_the_check_itself_lets_right_imports_pass(path: str, source: str) -> None:
    assert violations(source, path) == []


def modules_after(statement: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after one statement."""
    program = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True)
    return set(json.loads(run.stdout))


@pytest.mark.skipif(not (ROOT / "tools/node.py").exists(), reason="tools/node.py is not there yet")
def test_the_supervisor_loads_only_the_standard_library_and_our_pure_modules() -> None:
    # What is there anyway comes from the interpreter's own start (site hooks of the environment).
    loaded = modules_after("import tools.node") - modules_after("pass")
    foreign = {
        name
        for name in loaded
        if (top := name.split(".")[0]) not in sys.stdlib_module_names and top not in ("fasterstore", "tools")
    }
    assert foreign == set()


def test_the_supervisor_leaves_ssl_for_its_children_to_load_after_they_are_patched() -> None:
    assert not {"ssl", "_ssl"} & modules_after("import tools.node")


@pytest.mark.parametrize("module", ["fasterstore.settings", "tools.logs"])
def test_what_the_supervisor_needs_is_standard_library_only(module: str) -> None:
    loaded = modules_after(f"import {module}") - modules_after("pass")
    assert {name.split(".")[0] for name in loaded} - set(sys.stdlib_module_names) <= {"fasterstore", "tools"}


def test_each_verb_is_imported_only_when_it_is_called() -> None:
    loaded = modules_after("import tools.cli")
    ours_or_heavy = {name for name in loaded if name.startswith(("tools.", "fasterstore", "gevent", "requests"))}
    assert ours_or_heavy == {"tools.cli", "tools.environment"}
