"""The supervisor's look at the TLS certificate before anything starts, in a short-lived process of its own.

The supervisor imports no `ssl`: gevent's `patch_all` in the children forked later finds a module that is already loaded, and its
SSLContext would then call itself for ever. So this forks, and what comes back through a pipe is text. Only for a process without threads.
"""

import os
import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, NoReturn

_DAY_SECS = 86_400
EXPIRES_SOON_DAYS = 14
"""Programs that renew certificates do so at 30 days: one that comes this near is not being renewed."""


class Verdict(NamedTuple):
    """`refusal` is one line, "" if the pair can be served; `warning` is one more, "" if there is nothing to say."""

    refusal: str
    warning: str = ""


def check(cert_path: str, key_path: str) -> Verdict:
    """Load the pair as the workers will, and throw it away. Never raises."""
    return _in_a_child(f"FS_TLS_CERT_PATH={cert_path!r}", partial(_verdict, cert_path, key_path))


def check_authorities(ca_path: str) -> Verdict:
    """Load the certificates by which peers are known as their clients will, and throw them away. Never raises."""
    return _in_a_child(f"FS_CA_CERT={ca_path!r}", partial(_verdict_of_authorities, ca_path))


def _in_a_child(named: str, look: Callable[[], Verdict]) -> Verdict:
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read_fd)
        _report(write_fd, look)
    os.close(write_fd)
    with open(read_fd, encoding="utf-8", errors="replace") as pipe:
        lines = pipe.read().split("\n")
    _, status = os.waitpid(pid, 0)
    if len(lines) != len(Verdict._fields):
        return Verdict(f"{named}: the check ended with code {os.waitstatus_to_exitcode(status)}")
    return Verdict(*lines)


def _report(write_fd: int, look: Callable[[], Verdict]) -> NoReturn:
    code = 1
    try:
        os.write(write_fd, "\n".join(look()).encode())
        code = 0
    finally:
        os._exit(code)


def _verdict(cert_path: str, key_path: str) -> Verdict:
    from web.tls_context import CertificateRefused, load_certificate  # noqa: PLC0415  (this brings in ssl)

    try:
        validity = load_certificate(cert_path, key_path).validity
    except CertificateRefused as error:
        return Verdict(" ".join(str(error).split()))
    left_secs = validity.not_after - time.time()
    named = f"FS_TLS_CERT_PATH={cert_path!r}: the certificate"
    if validity.not_before > time.time():
        return Verdict("", f"{named} is not valid yet: clients will refuse it")
    if left_secs <= 0:
        return Verdict("", f"{named} has expired: clients will refuse it")
    if left_secs < EXPIRES_SOON_DAYS * _DAY_SECS:
        return Verdict("", f"{named} expires in {int(left_secs // _DAY_SECS)} days")
    return Verdict("")


def _verdict_of_authorities(ca_path: str) -> Verdict:
    import ssl  # noqa: PLC0415  (not in the supervisor)

    try:
        ssl.create_default_context(cafile=ca_path)
    except OSError as error:  # ssl.SSLError is one too
        return Verdict(f"FS_CA_CERT={ca_path!r}: must name a readable PEM certificate ({error.strerror or error})")
    return Verdict("")
