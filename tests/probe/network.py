"""The network between two nodes, in which packets or connections of one direction can be made to vanish.

`Namespaces`: each node has a network namespace of its own, and the process that made this object is the router between them, in a third
(`own_namespaces` starts a program in one). What is cut is dropped there without a word, as by a dead switch; the router's own way to
both nodes, on which the clients come, stays open. `Loopback`: where namespaces are refused; each node is known to the other under the
address of a relay in this process, and a cut relay takes in bytes and passes none on. Owns the namespaces, interfaces and relays it
made; changes nothing of the machine's own network.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from tests.node import ROOT
from tests.probe.relay import Relay

SIDES = ("a", "b")
PORT = 7480
_UNSHARE = ("unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc")
_WITHOUT_ROOT = ("--user", "--map-root-user")
_PREFERENCE = 100
_HOLDER_SECS = 5.0


class Place(NamedTuple):
    """Where a node is: what starts a program there, the address that it binds, and the URL under which its peer knows it."""

    launcher: tuple[str, ...]
    bind_addr: str
    advertise_addr: str


class Network(Protocol):
    """Between the sides "a" and "b"."""

    kind: str

    def place(self, side: str) -> Place:
        """Where the node of that side belongs."""

    def listens(self, side: str, port: int) -> None:
        """The node of that side has been started and listens on that port."""

    def cut(self, source: str, *, connects_only: bool) -> None:
        """Nothing passes from `source` to the other side any more.

        `connects_only`: what it sends to the other's port vanishes, but not its answers to the other's calls: a firewall's mistake.
        """

    def heal(self) -> None:
        """Everything passes again."""

    def close(self) -> None:
        """End what was started."""


def other(side: str) -> str:
    """The peer's side."""
    return SIDES[1 - SIDES.index(side)]


class Namespaces:
    """Made only by a process in a network namespace of its own: it becomes the router."""

    kind = "network namespaces"

    def __init__(self) -> None:
        """Raises RuntimeError in a network that has interfaces already, OSError with what the failing command said."""
        if interfaces := set(os.listdir("/proc/sys/net/ipv4/conf")) - {"all", "default", "lo"}:
            raise RuntimeError(f"this is no namespace of our own: it has {sorted(interfaces)}")
        self._holders: dict[str, subprocess.Popen[bytes]] = {}
        try:
            _run("ip", "link", "set", "lo", "up")
            Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
            for number, side in enumerate(SIDES, 1):
                self._add(side, number)
        except BaseException:
            self.close()
            raise

    def _add(self, side: str, number: int) -> None:
        # It only keeps the namespace alive, between the node's lives too.
        holder = self._holders[side] = subprocess.Popen(["unshare", "--net", "sleep", "infinity"], stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + _HOLDER_SECS
        while _namespace(holder.pid) == _namespace(os.getpid()):
            if holder.poll() is not None or time.monotonic() > deadline:
                raise OSError("unshare --net makes no namespace")
            time.sleep(0.005)
        inside = ("nsenter", f"--net=/proc/{holder.pid}/ns/net")
        _run("ip", "link", "add", f"to-{side}", "type", "veth", "peer", "name", "up0", "netns", str(holder.pid))
        _run("ip", "address", "add", f"10.77.{number}.1/24", "dev", f"to-{side}")
        _run("ip", "link", "set", f"to-{side}", "up")
        _run(*inside, "ip", "link", "set", "lo", "up")
        _run(*inside, "ip", "address", "add", f"10.77.{number}.2/24", "dev", "up0")
        _run(*inside, "ip", "link", "set", "up0", "up")
        _run(*inside, "ip", "route", "add", "default", "via", f"10.77.{number}.1")

    def place(self, side: str) -> Place:
        address = f"{_address(side)}:{PORT}"
        return Place(("nsenter", f"--net=/proc/{self._holders[side].pid}/ns/net"), address, f"http://{address}")

    def listens(self, side: str, port: int) -> None:
        """Nothing to be done: the address is the node's own."""

    def cut(self, source: str, *, connects_only: bool) -> None:
        only = ("ipproto", "tcp", "dport", str(PORT)) if connects_only else ()
        where = ("iif", f"to-{source}", "to", _address(other(source)))
        try:
            _run("ip", "rule", "add", *where, *only, "preference", str(_PREFERENCE), "blackhole")
        except OSError as error:
            if "File exists" not in str(error):  # two faults of one round may cut the same way
                raise

    def heal(self) -> None:
        with contextlib.suppress(OSError):  # says that there is no such rule, after the last
            while True:
                _run("ip", "rule", "delete", "preference", str(_PREFERENCE))

    def close(self) -> None:
        for holder in self._holders.values():
            holder.kill()
            holder.wait()


class Loopback:
    """All in one network: a relay before each node."""

    kind = "loopback"

    def __init__(self) -> None:
        self._relays = {side: Relay() for side in SIDES}

    def place(self, side: str) -> Place:
        return Place((), "127.0.0.1:0", f"http://127.0.0.1:{self._relays[side].port}")

    def listens(self, side: str, port: int) -> None:
        self._relays[side].target = ("127.0.0.1", port)

    def cut(self, source: str, *, connects_only: bool) -> None:
        """Packets cannot be dropped here: the calls of `source` stand still, and unless `connects_only` the other's answers' too."""
        self._relays[other(source)].cut()
        if not connects_only:
            self._relays[source].cut_answers()

    def heal(self) -> None:
        for relay in self._relays.values():
            relay.heal()

    def close(self) -> None:
        for relay in self._relays.values():
            relay.close()


def namespaces_refused() -> str:
    """Why this machine lets us make no network namespaces; empty if it does."""
    needed = (
        "ip link add probe0 type veth peer name probe1",
        "ip rule add iif probe0 ipproto tcp dport 1 preference 100 blackhole",
        "nsenter --net=/proc/self/ns/net true",
    )
    try:
        _run(*fresh_namespaces(), "sh", "-c", " && ".join(needed))
    except OSError as error:
        return str(error)
    return ""


def own_namespaces(module: str, arguments: Sequence[str], timeout_secs: float) -> int:
    """Run a module of ours as a program that is alone in new network and process namespaces: with it end all that it started.

    It writes to where this process writes; its exit code. Raises subprocess.TimeoutExpired.
    """
    command = [*fresh_namespaces(), sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, timeout=timeout_secs).returncode


def fresh_namespaces() -> tuple[str, ...]:
    """What starts a program alone in new network and process namespaces, with or without root."""
    return _UNSHARE if os.geteuid() == 0 else (*_UNSHARE, *_WITHOUT_ROOT)


def _address(side: str) -> str:
    return f"10.77.{SIDES.index(side) + 1}.2"


def _namespace(pid: int) -> str:
    return os.readlink(f"/proc/{pid}/ns/net")


def _run(*command: str) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except FileNotFoundError as error:
        raise OSError(f"{command[0]} is not installed") from error
    if done.returncode:
        raise OSError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
