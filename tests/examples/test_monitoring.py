"""The dashboard, the alerts and the scrape: they name only what a node exports, and every alert says where to read on.

What is exported is taken from the program (`tests/exported_metrics.py`), so a metric or label that is renamed there fails here.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import pytest
import yaml  # type: ignore[import-untyped]

from fasterstore.settings import SETTINGS
from tests.examples.promql import TARGET_LABELS, parse, trouble
from tests.exported_metrics import TOKEN, answer, exported
from tests.node import ROOT

GRAFANA = ROOT / "examples" / "grafana" / "fasterstore.json"
PROMETHEUS = ROOT / "examples" / "prometheus"
DASHBOARD = json.loads(GRAFANA.read_text())
RULES = [rule for group in yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"] for rule in group["rules"]]
SCRAPE = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())

_SHOWN = re.compile(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}")
_LABEL_VALUES = re.compile(r"label_values\((.+), (\w+)\)")


class Use(NamedTuple):
    """An expression, where it stands, and the labels that the text beside it shows."""

    place: str
    expression: str
    shown: frozenset[str]


def panels() -> Iterator[dict[str, Any]]:
    return (panel for panel in DASHBOARD["panels"] if panel["type"] != "row")


def uses() -> Iterator[Use]:
    for rule in RULES:
        yield Use(rule["alert"], rule["expr"], frozenset(_SHOWN.findall(str(rule["annotations"]))))
    for panel in panels():
        for target in panel["targets"]:
            yield Use(panel["title"], target["expr"], frozenset(_SHOWN.findall(target["legendFormat"])))
    for variable in DASHBOARD["templating"]["list"]:
        if found := _LABEL_VALUES.fullmatch(str(variable.get("definition", ""))):
            yield Use(f"variable {variable['name']}", found[1], frozenset({found[2]}))


USES = list(uses())


@pytest.fixture(scope="module")
def series(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Mapping[str, set[str]]]:
    return exported(tmp_path_factory.mktemp("exported"))


@pytest.mark.parametrize("use", USES, ids=lambda use: use.place)
def test_every_metric_and_label_is_one_that_a_node_exports(use: Use, series: Mapping[str, Mapping[str, set[str]]]) -> None:
    assert list(trouble(use.expression, series, use.shown)) == []


def test_a_metric_that_is_renamed_in_the_program_is_noticed(series: Mapping[str, Mapping[str, set[str]]]) -> None:
    used = {selector.name for use in USES for selector in parse(use.expression)[0]} - {"up"}
    assert len(used) > 50
    for name in used:
        renamed = {f"{known}_renamed" if known == name else known: labels for known, labels in series.items()}
        assert f"no metric {name}" in {line for use in USES for line in trouble(use.expression, renamed, use.shown)}


def test_a_label_that_is_renamed_in_the_program_is_noticed(series: Mapping[str, Mapping[str, set[str]]]) -> None:
    renamed = {name: {f"{label}_renamed": values for label, values in labels.items()} for name, labels in series.items()}
    found = "\n".join(line for use in USES for line in trouble(use.expression, renamed, use.shown))
    assert set(re.findall(r"has (?:no|a) label (\w+)", found)) == {
        "api", "code", "le", "actor", "process", "bucket", "peer", "state", "kind", "result",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("fasterstore_wal_byte > 1", "no metric fasterstore_wal_byte"),
        ("rate(fasterstore_s3_requests[5m])", "no metric fasterstore_s3_requests"),
        ('fasterstore_s3_requests_total{action="x"}', "fasterstore_s3_requests_total has no label action"),
        ('fasterstore_replication_peer_state{state="refused"}', "fasterstore_replication_peer_state is never state=refused"),
        ("sum by (worker) (fasterstore_http_connections)", "has a label worker"),
        ("fasterstore_read_only and on (peer) up", "has a label peer"),
    ],
)
def test_a_wrong_name_in_an_expression_is_noticed(expression: str, said: str, series: Mapping[str, Mapping[str, set[str]]]) -> None:
    assert said in "\n".join(trouble(expression, series))


@pytest.mark.parametrize("expression", ["rate(fasterstore_wal_bytes)", "sum by fasterstore_wal_bytes", "fasterstore_wal_bytes[5m] > 1"])
def test_an_expression_that_prometheus_refuses_is_noticed(expression: str) -> None:
    with pytest.raises(ValueError):
        parse(expression)


# ---- alerts


def headings() -> list[str]:
    return re.findall(r"^#+ (.+)$", (ROOT / "docs" / "monitoring.md").read_text(), re.MULTILINE)


def anchor(heading: str) -> str:
    """As GitHub makes them."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def test_every_alert_has_its_own_heading_in_the_runbook_and_every_heading_its_alert() -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(set(names)) == len(names)
    for rule in RULES:
        assert rule["annotations"]["runbook"] == f"docs/monitoring.md#{anchor(rule['alert'])}"
    assert sorted(names) == sorted(heading for heading in headings() if heading.startswith("FasterStore"))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_compares_says_how_bad_it_is_and_names_the_node(rule: dict[str, Any]) -> None:
    assert re.search(r"[<>=]=? *[\d(]|unless", rule["expr"])
    assert rule["labels"] == {"severity": rule["labels"]["severity"]} and rule["labels"]["severity"] in ("critical", "warning")
    assert set(rule["annotations"]) == {"summary", "runbook"} and "{{ $labels.instance }}" in rule["annotations"]["summary"]
    assert re.fullmatch(r"\d+[mh]", rule.get("for", "1m"))


@pytest.mark.parametrize(
    "said",
    ["Down", "NotReady", "VolumeSuspect", "DamagedBlobs", "DiskNearlyFull", "ReplicationLag", "PeerRefusing", "AcksDegraded", "ScrubBehind",
     "CertificateExpiring", "WalGrowing"],
)  # fmt: skip
def test_there_is_an_alert_for(said: str) -> None:
    assert f"FasterStore{said}" in {rule["alert"] for rule in RULES}


def test_links_of_the_runbook_lead_to_headings() -> None:
    text = (ROOT / "docs" / "monitoring.md").read_text()
    links = re.findall(r"\]\(([\w.-]+)(?:#([\w-]+))?\)", text)
    assert len(links) > 10
    for name, place in links:
        found = re.findall(r"^#+ (.+)$", (ROOT / "docs" / name).read_text(), re.MULTILINE)
        assert not place or place in {anchor(heading) for heading in found}, (name, place)


def test_every_setting_that_is_named_is_one() -> None:
    names = {setting.name for setting in SETTINGS}
    for path in (ROOT / "docs" / "monitoring.md", GRAFANA, *PROMETHEUS.iterdir()):
        assert set(re.findall(r"FS_[A-Z_0-9]+", path.read_text())) <= names, path


# ---- the scrape


def test_the_scrape_asks_for_metrics_with_the_token_as_the_node_wants_it(tmp_path: Any) -> None:
    (job,) = SCRAPE["scrape_configs"]
    assert job["metrics_path"] == "/metrics" and set(job["authorization"]) == {"type", "credentials_file"}
    assert not job["authorization"]["credentials_file"].startswith("/")
    kind = job["authorization"]["type"]
    assert answer(tmp_path / "good", {"authorization": f"{kind} {TOKEN}"}).status == 200
    assert answer(tmp_path / "none", {}).status == 403
    assert answer(tmp_path / "bad", {"authorization": f"{kind} {TOKEN}x"}).status == 403


def test_the_alerts_name_the_job_of_the_scrape_and_its_rule_file_is_there() -> None:
    (job,) = SCRAPE["scrape_configs"]
    named = {value for rule in RULES for selector in parse(rule["expr"])[0] for label, value in selector.matchers if label == "job"}
    assert named == {job["job_name"]}
    assert all((PROMETHEUS / name).is_file() for name in SCRAPE["rule_files"])


# ---- the dashboard


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert place["x"] + place["w"] <= 24 and not cells & taken, panel["title"]
        taken |= cells


def test_every_panel_follows_the_variables_for_source_job_and_node() -> None:
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", *sorted(TARGET_LABELS, reverse=True)]
    for panel in panels():
        assert panel["datasource"]["uid"] == "${datasource}"
        for target in panel["targets"]:
            asked = parse(target["expr"])[0]
            assert asked and all({label for label, _ in selector.matchers} >= TARGET_LABELS for selector in asked), panel["title"]
            assert 'instance=~"$instance"' in target["expr"]


@pytest.mark.parametrize(
    "name",
    [
        "s3_requests_total", "s3_request_seconds_bucket", "s3_ttfb_seconds_bucket", "journal_batch_requests_sum",
        "wal_fsync_seconds_bucket", "actor_mailbox_depth", "compaction_live_bytes", "compaction_held_bytes",
        "compaction_reclaimable_bytes", "compaction_moved_bytes_total", "scrub_round_done_ratio", "damaged_blobs",
        "cache_hits_total", "http_connections", "http_connections_over_limit_total", "internal_refused_total",
        "replication_lag_seconds", "replication_peer_state", "process_memory_bytes",
    ],
)  # fmt: skip
def test_the_dashboard_shows(name: str) -> None:
    shown = {selector.name for panel in panels() for target in panel["targets"] for selector in parse(target["expr"])[0]}
    assert f"fasterstore_{name}" in shown
