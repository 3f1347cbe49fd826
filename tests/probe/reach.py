"""Who can connect to whom between two namespaces, before, during and after each kind of cut: `python -m tests.probe.reach`.

For a fresh network namespace. Prints one word for each moment, a digit for each way: a to b's port and to another of b's, b to a's port
and to another, then the clients' to a and to b; 1 is open.
"""

import subprocess
import sys

from tests.probe.network import PORT, SIDES, Namespaces, other

ANSWER_SECS = 1.0
_SERVE = """
import socket
server = socket.create_server(("", {port}))
print("listens", flush=True)
while True:
    server.accept()[0].send(b"x")
"""
_CALL = """
import socket
try:
    print(socket.create_connection(("{host}", {port}), {timeout}).recv(1).decode())
except OSError:
    pass
"""


def ways(network: Namespaces) -> str:
    """The digits of now."""
    hosts = {side: network.place(side).bind_addr.partition(":")[0] for side in SIDES}
    between = [_reaches(network.place(side).launcher, hosts[other(side)], port) for side in SIDES for port in (PORT, PORT + 1)]
    return "".join("01"[open_] for open_ in between + [_reaches((), hosts[side], PORT) for side in SIDES])


def _reaches(launcher: tuple[str, ...], host: str, port: int) -> bool:
    code = _CALL.format(host=host, port=port, timeout=ANSWER_SECS)
    return subprocess.run([*launcher, sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "x"


def main() -> None:
    """Make the namespaces, serve on two ports of each, print, end it all."""
    network = Namespaces()
    servers = []
    try:
        for side in SIDES:
            for port in (PORT, PORT + 1):
                command = [*network.place(side).launcher, sys.executable, "-c", _SERVE.format(port=port)]
                server = subprocess.Popen(command, stdout=subprocess.PIPE)
                servers.append(server)
                assert server.stdout is not None
                server.stdout.readline()
        print(ways(network))
        network.cut("a", connects_only=True)
        print(ways(network))
        network.heal()
        network.cut("a", connects_only=False)
        print(ways(network))
        network.cut("b", connects_only=False)
        print(ways(network))
        network.heal()
        print(ways(network))
    finally:
        for server in servers:
            server.kill()
        network.close()


if __name__ == "__main__":
    main()
