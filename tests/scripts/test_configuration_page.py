"""The page on configuration is what the table of settings says."""

from pathlib import Path

from fasterstore.settings import CLIENT_NAMES, SETTINGS
from scripts import configuration_page
from tools import bench
from tools.endpoint import endpoint_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_the_page_is_what_the_script_prints():
    assert PAGE.read_text() == configuration_page.page(), "run: python -m scripts.configuration_page > docs/configuration.md"


def test_every_setting_stands_in_one_section():
    listed = [name for names in configuration_page.SECTIONS.values() for name in names]
    assert sorted(listed) == sorted(setting.name for setting in SETTINGS)


def test_the_page_has_every_default_and_what_is_allowed():
    rows = {line.split("`")[1]: line for line in PAGE.read_text().splitlines() if line.startswith("| `")}
    for setting in SETTINGS:
        assert setting.default in rows[setting.name]
        assert setting.allowed in rows[setting.name]
        assert ("**secret**" in rows[setting.name].split(" | ")[0]) == setting.secret


def test_every_variable_of_the_tools_is_there():
    of_the_tools = CLIENT_NAMES - {"FS_CA_CERT"}
    assert {name for name in of_the_tools if not name.endswith("_FILE")} == set(configuration_page.TOOL_VARIABLES)
    assert all(f"`{name}`" in PAGE.read_text() for name in of_the_tools)


def test_the_defaults_of_the_tools_are_those_they_use():
    plan = bench._plan({})
    used = {
        "FS_ENDPOINT": endpoint_of({}).url,
        "FS_BUCKET": plan.bucket,
        "FS_OBJECTS": str(plan.objects),
        "FS_SIZE_BYTES": str(plan.size_bytes),
        "FS_CONCURRENCY": str(plan.concurrency),
    }
    assert used == {name: configuration_page.TOOL_VARIABLES[name][0] for name in used}


def test_a_default_is_called_computed_only_where_the_table_has_none():
    empty = {setting.name for setting in SETTINGS if not setting.default}
    assert set(configuration_page.COMPUTED) <= empty
