"""The volume whose power is cut: it comes back with what was on stable storage, whoever else has it mounted."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fasterstore.storage.atomic_file import write_atomically
from fasterstore.storage.disk import RealDisk
from tests.probe.eventually import eventually
from tests.probe.loop_volume import volume


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("unshare") is None, reason="unshare is not installed")
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_it_comes_back_though_another_mount_namespace_has_it(kind: str, tmp_path: Path) -> None:
    with volume(tmp_path, kind) as disk:
        with subprocess.Popen(["unshare", "--mount", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdin is not None
            own = os.readlink("/proc/self/ns/mnt")
            eventually(lambda: os.readlink(f"/proc/{other.pid}/ns/mnt") != own, "a namespace of its own")
            for text in (b"one", b"two"):
                write_atomically(RealDisk(), str(disk.path / "synced"), text)
                disk.cut()
                disk.remount()
                assert (disk.path / "synced").read_bytes() == text
            other.stdin.close()
