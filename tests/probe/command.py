"""Our command line against a test's node: `python -m fasterstore ...` with the node's endpoint and keys."""

import os
import subprocess
import sys

from tests.node import ROOT, RunningNode

TIMEOUT_SECS = 120.0


def run_command(node: RunningNode, *arguments: str) -> tuple[int, str]:
    """Exit code, and what it wrote. Raises subprocess.TimeoutExpired."""
    environ = {
        "PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1",
        "FS_ENDPOINT": node.endpoint, "FS_ACCESS_KEY": node.credentials.access_key, "FS_SECRET_KEY": node.credentials.secret_key,
    }  # fmt: skip
    command = [sys.executable, "-m", "fasterstore", "--env-file", os.devnull, *arguments]
    done = subprocess.run(
        command, env=environ, cwd=node.data_dir.parent, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_SECS
    )
    return done.returncode, done.stdout + done.stderr
