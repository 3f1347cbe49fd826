"""scripts/power_cut.py: what it starts is what the command line says, and a round of it ends with a row."""

from pathlib import Path

import pytest

from scripts import power_cut
from scripts.power_cut import Started
from tests.probe.loop_volume import volume


def test_a_store_is_started_by_the_command_line_with_its_place_port_and_keys() -> None:
    names = ["ROOT_USER={access_key}", "ROOT_PASSWORD={secret_key}", "PLAIN=a=b"]
    store = Started(Path("/tmp"), Path("/mnt/data"), "server --at 127.0.0.1:{port} '{data}'", names, "/ready", "other")
    assert store.command() == ["server", "--at", f"127.0.0.1:{store.port}", "/mnt/data"]
    assert store.environment() == {"ROOT_USER": store.access_key, "ROOT_PASSWORD": store.secret_key, "PLAIN": "a=b"}
    assert tuple(store.credentials)[:2] == (store.access_key, store.secret_key)


@pytest.mark.faults
def test_a_cut_of_our_node_ends_with_a_row_and_success(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with volume(tmp_path, "ext4"):
        pass  # skips where there is none
    assert power_cut.main(["--cuts", "1", "--seed", "test"]) == 0
    titles, _, row = capsys.readouterr().out.splitlines()
    assert titles.startswith("| store")
    assert row.startswith("| fasterstore | ext4 | 1 | ")
    assert row.endswith("| 0 | 0 | 0 |")
