"""The verbs `replication status|diff|resync|set-home`: what an operator asks of a running node about its peers.

Asks `/_admin/replication` of the node at FS_ENDPOINT with the admin key, and no peer itself. What takes its time is followed until it is
over, with a progress line where somebody watches; the node goes on with it whether or not this tool is still there.

Exit codes: 0 all is well (in step, no differences, done), 1 it is not (a peer is behind, differences were found, it failed), 2 a wrong
setting or wrong arguments, 3 the node gave no answer or refused, 130 interrupted.
"""

import json
import sys
from collections.abc import Callable, Mapping
from time import monotonic, sleep
from typing import Any
from urllib.parse import urlencode

import requests

from fasterstore import settings
from tools.client import HTTP_ERRORS_FROM, Client, ResponseError
from tools.endpoint import endpoint_of
from tools.progress_bar import ProgressBar
from tools.replication_table import differences_table, is_in_step, peers_table, summary_of

EXIT_NOT_WELL, EXIT_WRONG_SETTING, EXIT_NO_ANSWER, EXIT_INTERRUPTED = 1, 2, 3, 130
_PATH = "/_admin/replication"
_TIMEOUT_MIN_SECS = 30.0
_PATIENCE_SECS = 10.0
"""Beyond FS_REQUEST_TIMEOUT_SECS, for which a node may wait for a peer's word."""
POLL_SECS = 0.5

Status = dict[str, Any]


class Trouble(Exception):
    """The verb ends with this line and code."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class NodeAsked:
    """The node, as these verbs ask it. Every failure is a Trouble."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def status(self) -> Status:
        """How it stands with every peer."""
        return self._ask("GET", {})

    def home(self, bucket: str) -> Status:
        """Where conditional writes of a bucket are judged."""
        return self._ask("GET", {"bucket": bucket})

    def order(self, action: str, **parameters: str) -> Status:
        """Give an order; the status behind it."""
        return self._ask("POST", {"action": action, **{name: value for name, value in parameters.items() if value}})

    def peer(self, address: str) -> Status:
        """The state of one peer, the only one if `address` is ""."""
        return _peer_of(self.status(), address)

    def _ask(self, method: str, query: Mapping[str, str]) -> Status:
        where = f"{self._client.endpoint}{_PATH}"
        try:
            response = self._client.send(method, _PATH, urlencode(sorted(query.items())).replace("+", "%20"))
            if response.status_code >= HTTP_ERRORS_FROM:
                raise ResponseError(response)
            document = response.json()
            if not isinstance(document, dict):
                raise ValueError("no object")
        except requests.exceptions.SSLError:
            raise Trouble(
                f"{self._client.endpoint}: its certificate is not trusted; FS_CA_CERT names the file of whoever signed it", EXIT_NO_ANSWER
            ) from None
        except (requests.ConnectionError, requests.Timeout):
            raise Trouble(f"{self._client.endpoint}: no answer", EXIT_NO_ANSWER) from None
        except ResponseError as error:
            wrong = error.code in ("InvalidArgument", "NoSuchBucket")
            raise Trouble(f"{where}: {error}", EXIT_WRONG_SETTING if wrong else EXIT_NO_ANSWER) from None
        except (requests.RequestException, ValueError):
            raise Trouble(f"{where}: the answer is not that of a node", EXIT_NO_ANSWER) from None
        return document


def main(environ: Mapping[str, str], verb: Callable[[NodeAsked], int]) -> int:
    """Run one of the verbs below.

    Args:
        environ: FS_ENDPOINT names the node and FS_CA_CERT who signed its certificate; FS_ADMIN_ACCESS_KEY and FS_ADMIN_SECRET_KEY
            (or what they fall back to) sign.
        verb: what is asked; its return value is the exit code.

    Returns:
        The exit code; in case of trouble after one line on stderr.
    """
    try:
        endpoint, ca_cert = endpoint_of(environ)
        keys = settings.load(environ)
        timeout_secs = max(_TIMEOUT_MIN_SECS, keys.request_timeout_secs + _PATIENCE_SECS)
        client = Client(
            endpoint, keys.admin_access_key, keys.admin_secret_key, region=keys.region, timeout_secs=timeout_secs, ca_cert=ca_cert
        )
    except (settings.SettingsError, ValueError) as error:
        print(error, file=sys.stderr)
        return EXIT_WRONG_SETTING
    with client:
        try:
            return verb(NodeAsked(client))
        except Trouble as error:
            print(error, file=sys.stderr)
            return error.code
        except KeyboardInterrupt:
            print("the node goes on with what it was asked for", file=sys.stderr)
            return EXIT_INTERRUPTED


def status(node: NodeAsked, *, as_json: bool, wait_secs: float = 0.0) -> int:
    """Print a line for each peer; with `wait_secs` first wait so long at most until every peer has everything."""
    deadline = monotonic() + wait_secs
    bar = ProgressBar()
    try:
        found = node.status()
        most = _lag_entries(found)
        while not _all_in_step(found, at_all=wait_secs > 0) and monotonic() < deadline:
            most = max(most, _lag_entries(found))
            bar.show("catching up", most - _lag_entries(found), most)
            sleep(POLL_SECS)
            found = node.status()
    finally:
        bar.close()
    print(json.dumps(found, indent=2) if as_json else peers_table(found))
    return 0 if _all_in_step(found, at_all=wait_secs > 0) else EXIT_NOT_WELL


def resync(node: NodeAsked, peer: str, *, as_json: bool, follow: bool = True) -> int:
    """Have a peer sent everything again, and wait until that is done or the peer does not answer any more."""
    found = _peer_of(node.order("resync", peer=peer), peer)
    bar = ProgressBar()
    try:
        while follow and found["resync"] is not None and found["state"] in ("resyncing", "unknown"):
            bar.show("sending everything", found["resync"]["done"], found["resync"]["total"])
            sleep(POLL_SECS)
            found = node.peer(peer)
    finally:
        bar.close()
    print(json.dumps(found, indent=2) if as_json else summary_of(found))
    return 0 if found["resync"] is None or not follow else EXIT_NOT_WELL


def diff(node: NodeAsked, peer: str, *, heal: bool, as_json: bool) -> int:
    """Compare a peer with the node, wait for the end, and print what differs; with `heal` have it made the same."""
    bar = ProgressBar()

    def wait_for(found: Status, number: int) -> Status:
        while _diff_number(found) < number or found["diff"]["running"]:
            done, seen = found["diff"] or {"items": 0, "total": 0}, _diff_number(found)
            bar.show("comparing", done["items"], done["total"])
            sleep(POLL_SECS)
            found = node.peer(peer)
            if _diff_number(found) < seen:
                raise Trouble("the node was started anew meanwhile, and has forgotten the comparison; ask again", EXIT_NOT_WELL)
        return found

    try:
        found = node.peer(peer)
        before = _diff_number(found)
        if before:
            wait_for(found, before)  # the daily one may be under way, which heals; another one begins only after it
        found = wait_for(_peer_of(node.order("diff", peer=peer, heal="true" if heal else "false"), peer), before + 1)
    finally:
        bar.close()
    result = found["diff"]
    print(json.dumps(result, indent=2) if as_json else differences_table(found["peer"], result))
    if result["error"]:
        print(f"{found['peer']}: {result['error']}", file=sys.stderr)
        return EXIT_NOT_WELL
    return EXIT_NOT_WELL if result["counts"] else 0


def stop_diff(node: NodeAsked, peer: str, *, as_json: bool) -> int:
    """End the comparison with a peer that is under way."""
    found = _peer_of(node.order("stop-diff", peer=peer), peer)
    print(json.dumps(found["diff"], indent=2) if as_json else summary_of(found))
    return 0


def set_home(node: NodeAsked, bucket: str, home: str, *, as_json: bool) -> int:
    """Have conditional writes of the bucket judged at another node from now on, by default at this one; with "?" only tell where."""
    found = node.home(bucket) if home == "?" else node.order("set-home", bucket=bucket, node=home or "here")
    address = f" at {found['address']}" if found["address"] else ""
    unconfirmed = "" if found.get("confirmed", True) else "; no peer has confirmed that yet"
    print(json.dumps(found, indent=2) if as_json else f"the home of {bucket} is node {found['home']}{address}{unconfirmed}")
    return 0


def _peer_of(found: Status, address: str) -> Status:
    peers: list[Status] = found["peers"]
    chosen = [peer for peer in peers if not address or peer["peer"] == address.rstrip("/")]
    if len(chosen) == 1:
        return chosen[0]
    if not peers:
        raise Trouble("the node has no peers", EXIT_WRONG_SETTING)
    raise Trouble(f"the peer must be one of {', '.join(peer['peer'] for peer in peers)}", EXIT_WRONG_SETTING)


def _all_in_step(found: Status, *, at_all: bool) -> bool:
    return all(is_in_step(peer) and not (at_all and peer["lag_entries"]) for peer in found["peers"])


def _lag_entries(found: Status) -> int:
    return sum(peer["lag_entries"] for peer in found["peers"])


def _diff_number(peer: Status) -> int:
    return 0 if peer["diff"] is None else int(peer["diff"]["number"])
