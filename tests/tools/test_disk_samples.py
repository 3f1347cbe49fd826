"""Size and free space of the data dir's file system."""

import shutil

from tools.disk_samples import disk_samples


def test_size_and_free_space_are_those_of_the_file_system(tmp_path):
    found = {sample["name"]: sample["samples"] for sample in disk_samples(str(tmp_path))}
    usage = shutil.disk_usage(tmp_path)
    assert found["fasterstore_disk_bytes"] == [["", {}, usage.total]]
    ((_, _, free_bytes),) = found["fasterstore_disk_free_bytes"]
    assert abs(free_bytes - usage.free) < 1 << 30, "others write to it meanwhile"


def test_a_data_dir_that_is_gone_costs_these_figures_and_nothing_else(tmp_path, caplog):
    assert disk_samples(str(tmp_path / "gone")) == []
    assert "left out" in caplog.text
