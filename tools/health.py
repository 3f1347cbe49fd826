"""The verb `health`: ask a node whether it is alive and ready. Standard library only, so that it starts fast as a container's check."""

import sys
import urllib.error
import urllib.request
from collections.abc import Mapping

from fasterstore import settings

_TIMEOUT_SECS = 5.0
_BODY_MAX_BYTES = 4096
_THIS_MACHINE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
# The node is asked directly: a proxy's answer would say nothing about it.
_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def main(environ: Mapping[str, str], *, only_alive: bool = False) -> int:
    """Print one line for each question, and answer as an exit code.

    Args:
        environ: FS_ENDPOINT names the node; without it FS_BIND_ADDR does.
        only_alive: ask /healthz and not /readyz.

    Returns:
        0 if every answer was 200, 1 if not, 2 if the settings are wrong.
    """
    try:
        endpoint = _endpoint(environ)
    except settings.SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    paths = ("/healthz",) if only_alive else ("/healthz", "/readyz")
    good = True
    for path in paths:
        status, text = _ask(endpoint + path)
        print(f"{endpoint}{path}: {status or 'no answer'} {text}".rstrip())
        good = good and status == 200
    return 0 if good else 1


def _endpoint(environ: Mapping[str, str]) -> str:
    endpoint = environ.get("FS_ENDPOINT")
    if endpoint:
        return endpoint.rstrip("/")
    bound = settings.load(environ).bind_addr
    return f"http://{bound._replace(host=_THIS_MACHINE.get(bound.host, bound.host))}"


def _ask(url: str) -> tuple[int, str]:
    """The status (0 if there is none) and the start of the body, on one line."""
    try:
        with _opener.open(url, timeout=_TIMEOUT_SECS) as answer:
            return answer.status, _one_line(answer.read(_BODY_MAX_BYTES))
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _one_line(error.read(_BODY_MAX_BYTES))
    except (OSError, ValueError) as error:
        return 0, str(getattr(error, "reason", error))


def _one_line(body: bytes) -> str:
    return " ".join(body.decode("utf-8", "replace").split())
