"""The node: composition root. Settings, data dir, lock, listening socket, then the supervisor; `python -m tools.node` is its process.

Until the fork only the standard library and our own pure modules are imported (a test asserts it): nothing is patched, no hub exists.
Each child's first statement is gevent's `patch_all`; its imports come after.
"""

import logging
import os
import resource
import socket
import sys
import time
from collections.abc import Callable
from functools import partial

from fasterstore import settings as settings_module
from fasterstore.errors import StoreError
from fasterstore.replication.board import ReplicationBoard
from fasterstore.settings import Settings
from fasterstore.storage.datadir import DataDir, DirInUse, DirLock, open_datadir
from fasterstore.storage.disk import RealDisk
from fasterstore.storage.key_file import require_master_key
from tools import logs
from tools.banner import banner
from tools.address_board import AddressBoard
from tools.connection_board import ConnectionBoard
from tools.internal_board import InternalBoard

from tools.supervisor import Child, Supervisor
from tools.tls_check import check, check_authorities

logger = logging.getLogger("fasterstore.node")

LISTEN_BACKLOG = 1024
EXIT_WRONG_SETTING = 2
EXIT_CANNOT_START = 1


def main() -> int:
    """Run the node with the environment as it is; return its exit code."""
    try:
        settings = settings_module.load(os.environ)
    except settings_module.SettingsError as error:
        print(error, file=sys.stderr)
        return EXIT_WRONG_SETTING
    warnings = list(settings.warnings)
    if settings.tls_cert_path is not None and settings.tls_key_path is not None:
        verdict = check(settings.tls_cert_path, settings.tls_key_path)
        if verdict.refusal:
            print(verdict.refusal, file=sys.stderr)
            return EXIT_WRONG_SETTING
        warnings += [verdict.warning] if verdict.warning else []
    if settings.ca_cert_path is not None and any(peer.startswith("https://") for peer in settings.replication_peers):
        refusal = check_authorities(settings.ca_cert_path).refusal
        if refusal:
            print(refusal, file=sys.stderr)
            return EXIT_WRONG_SETTING
    _configure_logs(settings, "supervisor")
    for warning in warnings:
        logger.warning(warning)
    try:
        lock_fd = DirLock(settings.data_dir).acquire(wait=False)
        datadir = open_datadir(RealDisk(), settings.data_dir, os.urandom)
        require_master_key(datadir.keys, settings.encryption_key)
        if settings.encryption_key is not None:
            prepare_keys(datadir, settings.encryption_key)
            datadir = open_datadir(RealDisk(), settings.data_dir, os.urandom)
        listener = listen(settings.bind_addr.host, settings.bind_addr.port)
    except DirInUse:
        print(f"FS_DATA_DIR {settings.data_dir}: another node serves this data dir", file=sys.stderr)
        return EXIT_CANNOT_START
    except StoreError as error:
        print(error.detail, file=sys.stderr)
        return EXIT_CANNOT_START
    except OSError as error:
        print(f"cannot start on {settings.bind_addr} with data in {settings.data_dir}: {error}", file=sys.stderr)
        return EXIT_CANNOT_START
    raise_open_files_limit()
    os.set_inheritable(lock_fd, False)
    if sys.stderr.isatty():
        print(banner(settings), file=sys.stderr, flush=True)
    scheme = "https" if settings.speaks_tls else "http"
    logger.info("serving %s on %s, data in %s, %d workers", scheme, settings.bind_addr, datadir.path, settings.workers)
    slots = max(settings.workers, 1) + 1  # a single process that has become read-only gets a worker in slot 1
    board = ConnectionBoard(slots)
    addresses = AddressBoard(slots) if settings.max_connections_per_addr else None
    peers = ReplicationBoard(settings.replication_peers) if settings.replication_peers else None
    internal = InternalBoard()
    supervisor = Supervisor(
        data_dir=datadir.path,
        workers=settings.workers,
        storage_main=_child(
            "single" if settings.workers == 0 else "storage", settings, datadir, listener, board, addresses, peers, internal
        ),
        worker_main=_child("worker", settings, datadir, listener, board, addresses, peers, internal),
        worker_ended=partial(_clear_slot, board, addresses),
        drain_secs=settings.request_timeout_secs,
    )
    code = supervisor.run()
    os.close(lock_fd)
    return code


def prepare_keys(datadir: DataDir, master_key: bytes) -> None:
    """Have the keys opened once, and made if there are none yet, by a process of its own: the ciphers are not standard library.

    Raises StoreError with what that process said; OSError.
    """
    report, answer = os.pipe()
    pid = os.fork()
    if not pid:
        code = 1
        try:
            from tools.key_preparation import prepare

            prepare(RealDisk(), datadir, master_key, os.urandom)
            code = 0
        except (StoreError, OSError) as error:
            os.write(answer, str(error).encode()[:4096])
        finally:
            os._exit(code)
    os.close(answer)
    with open(report, encoding="utf-8", errors="replace") as said:
        text = said.read()
    _pid, status = os.waitpid(pid, 0)
    if status:
        raise StoreError(text or f"the keys could not be opened: that process ended with {os.waitstatus_to_exitcode(status)}")


def listen(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket on an IPv4 or IPv6 address; `::` takes IPv4 too. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        # No SO_REUSEPORT: two nodes could share a port without noticing, and closing one would reset queued connections.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        listener.bind((host, port))
        listener.listen(LISTEN_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def raise_open_files_limit() -> None:
    """Raise RLIMIT_NOFILE to the hard limit: each connection and each open segment takes a descriptor."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _child(
    role: str,
    settings: Settings,
    datadir: DataDir,
    listener: socket.socket,
    board: ConnectionBoard,
    addresses: AddressBoard | None,
    peers: ReplicationBoard | None,
    internal: InternalBoard,
) -> Callable[[Child], None]:
    """What a forked child of that role runs."""

    def run(child: Child) -> None:
        from gevent import monkey

        monkey.patch_all()
        _configure_logs(settings, f"worker-{child.number}" if role == "worker" else "storage")
        from fasterstore.keyring import unlock

        keyring = unlock(datadir.keys, settings.encryption_key)
        if role == "storage":
            listener.close()
            from tools import storage_process

            storage_process.run(settings, datadir, keyring, child, peers)
        elif role == "worker":
            from tools import worker_process

            worker_process.run(settings, datadir, keyring, child, listener, board, addresses, peers, internal)
        else:
            from tools import single_process

            single_process.run(settings, datadir, keyring, child, listener, addresses, peers)

    return run


def _clear_slot(board: ConnectionBoard, addresses: AddressBoard | None, slot: int) -> None:
    board.clear(slot)
    if addresses is not None:
        addresses.clear(slot)


def _configure_logs(settings: Settings, process: str) -> None:
    logging.Formatter.converter = time.gmtime
    logs.configure(as_json=settings.log_json, process=process, secrets=settings.secrets)


if __name__ == "__main__":
    sys.exit(main())
