"""The compose examples: every variable in them is a setting, they start nodes by the settings' own rules, and the ports are those promised.

No container engine is needed: the files are read as Compose reads them, variables put in, merge keys resolved.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from dotenv import dotenv_values

from fasterstore.settings import SETTINGS, Settings, load
from tests.node import ROOT

FOLDER = ROOT / "examples" / "docker"
NAMES = {setting.name for setting in SETTINGS}
ENV = {name: value or "" for name, value in dotenv_values(FOLDER / ".env.example").items()}
_VARIABLE = re.compile(r"\$\{(\w+)(?::([-?])([^}]*))?\}")


def compose(name: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """A compose file with its variables put in. Raises KeyError for a variable that must be set (`:?`) and is not."""

    def value(found: "re.Match[str]") -> str:
        given = environment.get(found[1], "")
        if given or found[2] == "-":
            return given or found[3]
        raise KeyError(found[1])

    text = (FOLDER / name).read_text()
    code = "\n".join(line.partition(" #")[0] for line in text.splitlines() if not line.startswith("#"))
    return dict(yaml.safe_load(_VARIABLE.sub(value, code)))


def settings_of(service: Mapping[str, Any]) -> Settings:
    """What the node of a service would start with: the image's variables under the service's."""
    image = dict(re.findall(r"\b(FS_\w+)=(\S+)", (ROOT / "Dockerfile").read_text().partition("\nENV ")[2]))
    return load(image | {name: str(value) for name, value in service["environment"].items()})


def published(service: Mapping[str, Any]) -> list[tuple[str, int, int]]:
    """(address of the host, its port, the container's) of each port."""
    parts = [port.rsplit(":", 2) for port in service["ports"]]
    return [(host, int(outside), int(inside)) for host, outside, inside in parts]


@pytest.mark.parametrize(
    ("name", "ports"), [("docker-compose.single.yml", [9000]), ("docker-compose.cluster.yml", [9001, 9002])], ids=["single", "cluster"]
)
def test_the_ports_are_those_promised_and_lead_to_the_port_the_node_binds(name: str, ports: list[int]) -> None:
    services = compose(name, ENV)["services"].values()
    assert [port for service in services for _, port, _ in published(service)] == ports
    for service in services:
        assert {inside for _, _, inside in published(service)} == {settings_of(service).bind_addr.port}
        assert {host for host, _, _ in published(service)} == {"127.0.0.1"}, "with keys that everybody can read"


@pytest.mark.parametrize("name", ["docker-compose.single.yml", "docker-compose.cluster.yml"])
def test_every_fs_variable_is_a_setting_and_the_node_would_start_with_them(name: str) -> None:
    services = compose(name, ENV)["services"]
    for service in services.values():
        assert set(service["environment"]) <= NAMES
        loaded = settings_of(service)
        assert not loaded.uses_built_in_secret and not loaded.uses_built_in_internal_token
        assert loaded.data_dir == "/data" and [volume.partition(":")[2] for volume in service["volumes"]] == ["/data"]
        assert (ROOT / "Dockerfile").samefile(FOLDER / service["build"]["context"] / service["build"]["dockerfile"])


def test_each_node_of_the_cluster_is_the_others_peer_under_its_service_name() -> None:
    services = compose("docker-compose.cluster.yml", ENV)["services"]
    settings = {name: settings_of(service) for name, service in services.items()}
    assert list(settings) == ["node-1", "node-2"]
    for (name, mine), (_, others) in zip(settings.items(), reversed(settings.items()), strict=True):
        assert mine.advertise_addr == f"http://{name}:{mine.bind_addr.port}"
        assert mine.replication_peers == (others.advertise_addr,)
        assert (mine.access_key, mine.secret_key, mine.internal_token) == (others.access_key, others.secret_key, others.internal_token)


def test_each_service_has_a_volume_of_its_own_that_down_v_removes() -> None:
    for name in ("docker-compose.single.yml", "docker-compose.cluster.yml"):
        found = compose(name, ENV)
        used = [volume.partition(":")[0] for service in found["services"].values() for volume in service["volumes"]]
        assert sorted(used) == sorted(found["volumes"]), "named and not external: `down -v` removes those"
        assert all(volume is None for volume in found["volumes"].values())


def test_the_example_sets_keys_and_a_token_and_nothing_that_no_file_uses() -> None:
    used = {found[1] for path in FOLDER.glob("*.yml") for found in _VARIABLE.finditer(path.read_text())}
    assert set(ENV) == used
    assert {"FS_ACCESS_KEY", "FS_SECRET_KEY", "FS_INTERNAL_TOKEN"} <= set(ENV)


@pytest.mark.parametrize("missing", ["FS_ACCESS_KEY", "FS_SECRET_KEY", "FS_INTERNAL_TOKEN"])
def test_without_a_key_compose_refuses_to_start(missing: str) -> None:
    with pytest.raises(KeyError, match=missing):
        compose("docker-compose.cluster.yml", {**ENV, missing: ""})


def test_the_commands_in_the_files_name_the_files() -> None:
    for path in FOLDER.glob("*.yml"):
        (command,) = re.findall(r"docker compose .*", path.read_text())
        assert command == f"docker compose --env-file examples/docker/.env.example -f examples/docker/{path.name} up --build -d"
        assert all(Path(ROOT, name).is_file() for name in re.findall(r"examples/\S+", command))
