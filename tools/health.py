"""The verb `health`: ask a node whether it is alive and ready. Standard library only, so that it starts fast as a container's check."""

import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping

from fasterstore import settings
from tools.endpoint import endpoint_of

_TIMEOUT_SECS = 5.0
_BODY_MAX_BYTES = 4096
_THIS_MACHINE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def main(environ: Mapping[str, str], *, only_alive: bool = False) -> int:
    """Print one line for each question, and answer as an exit code.

    Args:
        environ: FS_ENDPOINT names the node, and FS_CA_CERT who signed its certificate; without it FS_BIND_ADDR names it, and a certificate
            is not looked at: it is made for the node's name and not for this machine's address, and nothing secret is sent.
        only_alive: ask /healthz and not /readyz.

    Returns:
        0 if every answer was 200, 1 if not, 2 if the settings are wrong.
    """
    try:
        endpoint, context = _endpoint(environ)
    except (settings.SettingsError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    # The node is asked directly: a proxy's answer would say nothing about it.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    paths = ("/healthz",) if only_alive else ("/healthz", "/readyz")
    good = True
    for path in paths:
        status, text = _ask(opener, endpoint + path)
        print(f"{endpoint}{path}: {status or 'no answer'} {text}".rstrip())
        good = good and status == 200
    return 0 if good else 1


def _endpoint(environ: Mapping[str, str]) -> tuple[str, ssl.SSLContext | None]:
    if environ.get("FS_ENDPOINT"):
        url, ca_cert = endpoint_of(environ)
        return url, ssl.create_default_context(cafile=ca_cert) if url.startswith("https://") else None
    node = settings.load(environ)
    where = node.bind_addr._replace(host=_THIS_MACHINE.get(node.bind_addr.host, node.bind_addr.host))
    if not node.speaks_tls:
        return f"http://{where}", None
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return f"https://{where}", context


def _ask(opener: urllib.request.OpenerDirector, url: str) -> tuple[int, str]:
    """The status (0 if there is none) and the start of the body, on one line."""
    try:
        with opener.open(url, timeout=_TIMEOUT_SECS) as answer:
            return answer.status, _one_line(answer.read(_BODY_MAX_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _one_line(error.read(_BODY_MAX_BYTES))
    except (OSError, ValueError) as error:
        return 0, str(getattr(error, "reason", error))


def _one_line(body: bytes) -> str:
    return " ".join(body.decode("utf-8", "replace").split())
