"""The verb `actors`: every actor in every process of a node: mailbox, current message and its age, counts, latency, last error.

Asks `GET /_admin/actors` once, with the admin key, and changes nothing.
"""

import json
import sys
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from time import time
from typing import Any

import requests

from fasterstore import settings
from tools.client import Client, ResponseError
from tools.endpoint import endpoint_of
from tools.text_table import aligned, printable

EXIT_NO_ANSWER, EXIT_WRONG_SETTING = 1, 2
_PATH = "/_admin/actors"
_TIMEOUT_SECS = 10.0
_LAST_ERROR_MAX_CHARS = 100
_HEADINGS = (
    "process", "pid", "actor", "state", "mailbox", "current", "age", "handled", "failed",
    "queue mean", "queue max", "busy", "restarts", "last error",
)  # fmt: skip
_RIGHT_ALIGNED = frozenset(("pid", "mailbox", "age", "handled", "failed", "queue mean", "queue max", "busy", "restarts"))

_PEER_HEADINGS = ("peer", "state", "entries behind", "bytes behind", "for")

Row = dict[str, Any]


def main(environ: Mapping[str, str], *, as_json: bool) -> int:
    """Print the node's actors.

    Args:
        environ: FS_ENDPOINT names the node and FS_CA_CERT who signed its certificate; FS_ADMIN_ACCESS_KEY and FS_ADMIN_SECRET_KEY
            (or what they fall back to) sign.
        as_json: print the list as the node gave it, and no table.

    Returns:
        0; 1 after one line on stderr if the node does not answer or refuses; 2 if a setting is wrong.
    """
    try:
        endpoint, ca_cert = endpoint_of(environ)
        keys = settings.load(environ)
        client = Client(
            endpoint, keys.admin_access_key, keys.admin_secret_key, region=keys.region, timeout_secs=_TIMEOUT_SECS, ca_cert=ca_cert
        )
    except (settings.SettingsError, ValueError) as error:
        print(error, file=sys.stderr)
        return EXIT_WRONG_SETTING
    with client:
        try:
            rows, peers, now = _ask(client)
        except requests.exceptions.SSLError:
            print(f"{endpoint}: its certificate is not trusted; FS_CA_CERT names the file of whoever signed it", file=sys.stderr)
            return EXIT_NO_ANSWER
        except (requests.ConnectionError, requests.Timeout):
            print(f"{endpoint}: no answer", file=sys.stderr)
            return EXIT_NO_ANSWER
        except ResponseError as error:
            print(f"{endpoint}{_PATH}: {error}", file=sys.stderr)
            return EXIT_NO_ANSWER
        except (requests.RequestException, ValueError, KeyError, TypeError):
            print(f"{endpoint}{_PATH}: the answer is not that of a node", file=sys.stderr)
            return EXIT_NO_ANSWER
    print(json.dumps(rows, indent=2) if as_json else table(rows, now))
    if peers and not as_json:
        print("\n" + table_of_peers(peers))
    return 0


def _ask(client: Client) -> tuple[list[Row], list[Row], float]:
    """The actors, the peers, and the node's own time as Unix seconds (to the second): its clock and this one's may differ."""
    response = client.send("GET", _PATH)
    if response.status_code != requests.codes.ok:
        raise ResponseError(response)
    document = response.json()
    rows, peers = document["actors"], document.get("peers", [])
    if not all(isinstance(row, dict) for row in (*rows, *peers)):
        raise ValueError("each actor and each peer must be an object")
    date = response.headers.get("date")
    return rows, peers, parsedate_to_datetime(date).timestamp() if date else time()


def table(rows: list[Row], now: float) -> str:
    """The rows as aligned text under a line of headings, in the order given; `now` is the node's time in Unix seconds.

    A process that gave no answer has only a name, a state and an error; its other cells are empty.
    """
    return aligned(_HEADINGS, [_cells(row, now) for row in rows], _RIGHT_ALIGNED)


def table_of_peers(peers: list[Row]) -> str:
    """The node's peers, in the order of FS_REPLICATION_PEERS: what each of them lacks, and for how long."""
    lines = [
        (
            _text(peer, "peer"),
            _text(peer, "state") + (", not waited for" if peer.get("degraded") else ""),
            _text(peer, "lag_entries"),
            _text(peer, "lag_bytes"),
            _duration(peer["lag_secs"]) if peer.get("lag_secs") else "",
        )
        for peer in peers
    ]
    return aligned(_PEER_HEADINGS, lines, _PEER_HEADINGS[2:])


def _cells(row: Row, now: float) -> tuple[str, ...]:
    current = row.get("current")
    return (
        _text(row, "process"),
        _text(row, "pid"),
        _text(row, "name"),
        _text(row, "state"),
        _text(row, "mailbox"),
        _text(row, "current"),
        _duration(row.get("current_secs", 0.0)) if current else "",
        _text(row, "handled"),
        _text(row, "failed"),
        _duration(row["queued_secs_sum"] / max(row["handled"], 1)) if "queued_secs_sum" in row and "handled" in row else "",
        _duration(row["queued_secs_max"]) if "queued_secs_max" in row else "",
        _busy_share(row, now),
        _text(row, "restarts"),
        _last_error(row, now),
    )


def _text(row: Row, field: str) -> str:
    value = row.get(field)
    return "" if value is None else printable(value)


def _busy_share(row: Row, now: float) -> str:
    if "busy_secs" not in row or "started_at_ms" not in row:
        return ""
    # The node's time is cut to the second, so a young actor could seem busier than possible.
    alive_secs = max(now - row["started_at_ms"] / 1000, row["busy_secs"], 1e-9)
    return f"{row['busy_secs'] / alive_secs * 100:.1f}%"


def _last_error(row: Row, now: float) -> str:
    error = _text(row, "last_error")
    if not error:
        return ""
    if len(error) > _LAST_ERROR_MAX_CHARS:
        error = error[: _LAST_ERROR_MAX_CHARS - 3] + "..."
    at_ms = row.get("last_error_at_ms")
    return f"{error} ({_duration(max(now - at_ms / 1000, 0.0))} ago)" if at_ms else error


def _duration(secs: float) -> str:
    if secs < 1e-3:
        return f"{secs * 1e6:.0f} us"
    if secs < 1:
        return f"{secs * 1e3:.1f} ms"
    return f"{secs:.1f} s" if secs < 3600 else f"{secs / 3600:.1f} h"
