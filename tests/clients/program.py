"""One S3 program as it is installed, and where the ones that `install.sh` brings are found.

Skips the calling test, by the program's name, when it is not there.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.node import ROOT

INSTALLED = Path(os.environ.get("CLIENTS_DIR") or ROOT / ".venv-clients").resolve()
"""Where install.sh puts what it does not put into the system."""

TIMEOUT_SECS = 240.0


class Program:
    """A command run in `folder` with exactly `environ`."""

    def __init__(self, command: list[str], environ: dict[str, str], folder: Path) -> None:
        self.command = command
        self.environ = environ
        self.folder = folder

    def __call__(self, *arguments: str | Path, code: int = 0, stdin: bytes = b"") -> str:
        """Run it; return what it wrote to standard output, or both outputs if another exit code than 0 is expected.

        Raises AssertionError with all that it wrote if it ends with another code than `code`.
        """
        done = self._run(arguments, stdin)
        assert done.returncode == code, self._told(arguments, done)
        return done.stdout.decode() if code == 0 else (done.stdout + done.stderr).decode()

    def bytes(self, *arguments: str | Path) -> bytes:
        """Run it and return its standard output as it is. Raises AssertionError if it fails."""
        done = self._run(arguments, b"")
        assert done.returncode == 0, self._told(arguments, done)
        return done.stdout

    def fails(self, *arguments: str | Path) -> str:
        """Run it and return what it wrote to both outputs. Raises AssertionError if it succeeds."""
        done = self._run(arguments, b"")
        assert done.returncode != 0, self._told(arguments, done)
        return (done.stdout + done.stderr).decode()

    def _run(self, arguments: tuple[str | Path, ...], stdin: bytes) -> subprocess.CompletedProcess[bytes]:
        command = [*self.command, *(str(argument) for argument in arguments)]
        return subprocess.run(command, input=stdin, env=self.environ, cwd=self.folder, capture_output=True, timeout=TIMEOUT_SECS)

    def _told(self, arguments: tuple[str | Path, ...], done: subprocess.CompletedProcess[bytes]) -> str:
        shown = " ".join([*self.command[-1:], *(str(argument) for argument in arguments)])
        return f"{shown} ended with {done.returncode}\n{done.stdout.decode(errors='replace')}\n{done.stderr.decode(errors='replace')}"


def on_path(name: str) -> str:
    """The program called `name`; skips the test if there is none."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def installed(name: str, path: str = "") -> Path:
    """What install.sh leaves at `path` below its folder (bin/`name` unless given); skips the test, by `name`, if it is not there."""
    found = INSTALLED / (path or f"bin/{name}")
    if not found.exists():
        pytest.skip(f"{name} is not installed (tests/clients/install.sh says why)")
    return found


def debian_awscli() -> str:
    """The awscli 2 of Debian's package; skips the test if it is not installed. (What else is called `aws` on this machine is not it.)"""
    if not Path("/usr/lib/python3/dist-packages/awscli/__init__.py").exists():
        pytest.skip("Debian's awscli is not installed (tests/clients/install.sh says why)")
    return "/usr/bin/aws"
