"""The systemd unit: its settings are settings, its command is one, and its signals and times are those that the node lives by.

No systemd has to run: the unit is read here, and by `systemd-analyze verify` where there is one.
"""

import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from dotenv import dotenv_values

from fasterstore.settings import SETTINGS, load
from tests.node import ROOT
from tools import node, serve
from tools.cli import cli
from tools.environment import merged_environment
from tools.supervisor import DRAIN_GRACE_SECS, STORAGE_STOP_SECS

FOLDER = ROOT / "examples" / "systemd"
UNIT = FOLDER / "fasterstore.service"
ENV = {name: value or "" for name, value in dotenv_values(FOLDER / "fasterstore.env", interpolate=False).items()}
NAMES = {setting.name for setting in SETTINGS}


def sections(text: str) -> dict[str, dict[str, list[str]]]:
    """{section: {key: values in order}} of a unit file."""
    found: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line or line.startswith(("#", ";")):
            continue
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), defaultdict(list))
        else:
            key, equals, value = line.partition("=")
            assert equals and not value.endswith("\\"), line
            section[key].append(value)
    return found


SERVICE = sections(UNIT.read_text())["Service"]
ENVIRONMENT = dict(pair.partition("=")[::2] for line in SERVICE["Environment"] for pair in line.split())


def only(key: str) -> str:
    """The value of a key that stands once."""
    (value,) = SERVICE[key]
    return value


def test_the_command_is_one_of_ours_run_by_the_virtual_environment_of_its_folder() -> None:
    python, flag, module, *arguments = only("ExecStart").split()
    assert python == f"{only('WorkingDirectory')}/.venv/bin/python" and flag == "-m"
    assert (ROOT / module / "__main__.py").is_file()
    assert arguments[-1] == "serve" and "serve" in cli.commands
    cli.make_context("fasterstore", list(arguments))  # raises for an option that there is not


def test_an_env_file_in_the_folder_does_not_count() -> None:
    arguments = only("ExecStart").split()
    env_file = Path(arguments[arguments.index("--env-file") + 1])
    assert merged_environment({"FS_DATA_DIR": "/x"}, env_file) == {"FS_DATA_DIR": "/x"}


def test_every_fs_variable_is_a_setting() -> None:
    for path in FOLDER.iterdir():
        assert set(re.findall(r"\bFS_[A-Z_0-9]+", path.read_text())) <= NAMES, path
    assert set(ENV) <= NAMES


def test_the_node_would_start_with_them_and_store_in_the_state_directory() -> None:
    settings = load({**ENVIRONMENT, **ENV, "FS_SECRET_KEY": "a-secret-of-my-own"})
    assert settings.data_dir == f"/var/lib/{only('StateDirectory')}"
    assert sections(UNIT.read_text())["Unit"]["RequiresMountsFor"] == [settings.data_dir]
    assert not settings.uses_built_in_secret and settings.metrics_token is None


def test_as_it_is_only_this_machine_is_served() -> None:
    assert load({**ENVIRONMENT, **ENV}).uses_built_in_secret
    assert "FS_DATA_DIR" not in ENV, "it would win over the unit's"


def test_a_stop_has_as_long_as_the_supervisor_takes_at_most() -> None:
    drain_secs = load({**ENVIRONMENT, **ENV}).request_timeout_secs + DRAIN_GRACE_SECS
    assert float(only("TimeoutStopSec")) >= drain_secs + 2 * STORAGE_STOP_SECS
    assert (only("KillSignal"), only("KillMode")) == ("SIGTERM", "mixed"), "the order of a stop is the supervisor's"


def test_it_counts_as_started_when_it_runs_for_the_node_tells_systemd_nothing() -> None:
    assert only("Type") == "exec"
    sources = [path for name in ("fasterstore", "actors", "web", "tools") for path in (ROOT / name).rglob("*.py")]
    assert not [path for path in sources if "NOTIFY_SOCKET" in path.read_text()]
    assert "TimeoutStartSec" not in SERVICE and "WatchdogSec" not in SERVICE


def test_a_reload_is_the_signal_by_which_certificates_are_read_again() -> None:
    assert only("ExecReload").split()[1:] == ["-HUP", "$MAINPID"]


def test_a_wrong_setting_is_not_tried_again() -> None:
    assert only("Restart") == "on-failure"
    assert {serve.EXIT_WRONG_SETTING, node.EXIT_WRONG_SETTING} == {int(only("RestartPreventExitStatus"))}


def test_it_runs_as_a_user_of_its_own_with_no_rights_and_descriptors_enough() -> None:
    assert only("User") == only("Group") == "fasterstore"
    assert (only("CapabilityBoundingSet"), only("AmbientCapabilities"), only("NoNewPrivileges")) == ("", "", "yes")
    assert (only("ProtectSystem"), only("StateDirectoryMode"), only("UMask"), only("LimitCORE")) == ("strict", "0700", "0077", "0")
    assert int(only("LimitNOFILE")) >= 65_536
    assert "ReadWritePaths" not in SERVICE


def test_the_files_that_the_first_lines_install_are_there() -> None:
    head = UNIT.read_text().partition("[Unit]")[0]
    named = re.findall(r"(?<![\w/])((?:examples|scripts)/\S+|requirements\.txt)", head)
    assert len(named) == 4
    assert all((ROOT / name).is_file() for name in named)
    assert only("EnvironmentFile") in head and f"systemctl enable --now {UNIT.stem}\n" in head


_WITHOUT_WRITABLE_CODE = """
import ctypes, sys
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE, PR_MDWE_REFUSE_EXEC_GAIN
    sys.exit("no such protection")
from gevent import monkey
monkey.patch_all()
import tools.node, tools.storage_process, tools.worker_process, tools.single_process, tools.roll_copy
from actors.runtime import offload, spawn
from fasterstore.aes_gcm import open_once, seal_once
key, associated = bytes(32), bytes(32)
assert open_once(key, associated, seal_once(key, associated, b"text")) == b"text"
assert (offload(lambda: 5), spawn(lambda: 6).get()) == (5, 6)
import mmap
try:
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
except PermissionError:
    print("served")
"""


def test_the_program_makes_no_code_in_memory_so_the_unit_may_forbid_it() -> None:
    assert only("MemoryDenyWriteExecute") == "yes"
    result = subprocess.run([sys.executable, "-c", _WITHOUT_WRITABLE_CODE], cwd=ROOT, capture_output=True, text=True, timeout=60)
    if "no such protection" in result.stderr:
        pytest.skip("a kernel before 6.3")
    assert (result.stdout, result.stderr) == ("served\n", "")


# ---- by systemd itself


def verified(folder: Path, text: str) -> str:
    """What `systemd-analyze verify` has to say of the unit, its interpreter taken from here."""
    path = folder / UNIT.name
    path.write_text(text.replace(only("ExecStart").split()[0], sys.executable))
    result = subprocess.run(["systemd-analyze", "verify", str(path)], capture_output=True, text=True, timeout=60)
    return result.stdout + result.stderr + (f"exit code {result.returncode}" if result.returncode else "")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_finds_nothing_wrong_with_it_and_would_say_so(tmp_path: Path) -> None:
    text = UNIT.read_text()
    assert verified(tmp_path, text) == ""
    assert "KillSgnal" in verified(tmp_path, text.replace("KillSignal", "KillSgnal"))
    assert "nobody-says-this" in verified(tmp_path, text.replace("ProtectSystem=strict", "ProtectSystem=nobody-says-this"))
