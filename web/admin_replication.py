"""`/_admin/replication`: how it stands with the peers, and orders about them. Only FS_ADMIN_ACCESS_KEY gets here.

GET answers the replicator's state as JSON (`actors/replicator_status.py` names the fields); on a node without peers the list of them is
empty. With `?bucket=NAME` it is {"bucket", "home" (node id in hex, "" without one), "address" (of that node, "" if it is not known)}.
POST is one order, `?action=`:

    resync     [peer]          send that peer everything again
    stop-diff  [peer]          end the comparison that is under way
    diff       [peer] [heal]   compare it with this node; heal=true sends and fetches what differs, and else it is only listed
    set-home   bucket, node    conditional writes of the bucket are judged there from now on: an address, a node id in hex, or "here";
                               answered as with ?bucket, and "confirmed": false if FS_REPLICATION_ACK=one and no peer has it yet

`peer` is an address of FS_REPLICATION_PEERS and may be left out where there is only one. What takes its time is answered 202 at once.
"""

import json
from collections.abc import Mapping
from typing import Any

from actors.messages import Refused
from actors.replication_messages import SetHome
from actors.replicator_messages import Diff, ReplicationStatus, Resync, StopDiff
from fasterstore.s3.errors import S3Error
from web.body import receive_document
from web.bucket_home import addresses_of_nodes, home_of_bucket
from web.context import Request
from web.reply import Reply, json_reply
from web.worker import Worker

_OF_A_SIGNATURE = "x-amz-"
_ORDERS = {"resync": {"peer"}, "stop-diff": {"peer"}, "diff": {"peer", "heal"}, "set-home": {"bucket", "node"}}
_BOOLEANS = {"true": True, "false": False}


def replication(worker: Worker, request: Request) -> Reply:
    """The handler. Raises: S3Error InvalidArgument, MethodNotAllowed, NoSuchBucket, ServiceUnavailable."""
    asked = {name: value for name, value in request.query.items() if not name.lower().startswith(_OF_A_SIGNATURE)}
    if request.method in ("GET", "HEAD"):
        return _answer(200, _bucket(worker, asked["bucket"]) if set(asked) == {"bucket"} else _status(worker))
    if request.method != "POST":
        raise S3Error("MethodNotAllowed", headers={"Allow": "GET, HEAD, POST"}, Method=request.method, ResourceType="REPLICATION")
    receive_document(request, worker.blob_key)
    action = asked.pop("action", "")
    if action not in _ORDERS or not asked.keys() <= _ORDERS[action]:
        raise _wrong("action", action, "The action is resync, diff, stop-diff or set-home, with no other parameters than its own.")
    if action == "set-home":
        return _answer(200, _set_home(worker, asked))
    peer = _peer(worker, asked.get("peer", ""))
    if action == "resync":
        worker.ask("replicator", Resync(peer))
    elif action == "stop-diff":
        worker.ask("replicator", StopDiff(peer))
    else:
        heal = _BOOLEANS.get(asked.get("heal", "false"))
        if heal is None:
            raise _wrong("heal", asked["heal"], "heal is true or false.")
        worker.ask("replicator", Diff(peer, heal))
    return _answer(202, _status(worker))


def _answer(status: int, document: dict[str, Any]) -> Reply:
    return json_reply(status, json.dumps(document).encode())


def _status(worker: Worker) -> dict[str, Any]:
    if worker.replication is None:
        return {"node_id": worker.node_id.hex(), "peers": []}
    status: dict[str, Any] = worker.ask("replicator", ReplicationStatus())
    return status


def _bucket(worker: Worker, bucket: str) -> dict[str, Any]:
    home = home_of_bucket(worker.reader(), bucket)
    if home is None:
        raise S3Error("NoSuchBucket", BucketName=bucket)
    return {"bucket": bucket, "home": home.hex(), "address": addresses_of_nodes(worker).get(home.hex(), "")}


def _set_home(worker: Worker, asked: Mapping[str, str]) -> dict[str, Any]:
    bucket, node = asked.get("bucket", ""), asked.get("node", "")
    if not bucket:
        raise _wrong("bucket", bucket, "Which bucket's home?")
    known = addresses_of_nodes(worker)
    address = worker.settings.advertise_addr if node == "here" else node.rstrip("/")
    node_id = {address: node_id for node_id, address in known.items()}.get(address, node.lower())
    if node_id not in known:
        # A home that nobody has would refuse every conditional write, everywhere.
        raise _wrong("node", node, 'The node is "here", the address of a peer that has answered since the start, or the id of one.')
    answer = worker.answer_of("metadata-journal", SetHome(bucket, bytes.fromhex(node_id)))
    # With FS_REPLICATION_ACK=one no peer may confirm it: a home is moved just when its node is lost.
    confirmed = not isinstance(answer, Refused)
    if not confirmed and answer.error != "ReplicationTimeout":
        raise worker.refusal_of(answer)
    return {**_bucket(worker, bucket), "confirmed": confirmed}


def _peer(worker: Worker, given: str) -> str:
    peers = worker.settings.replication_peers
    if not given and len(peers) == 1:
        return peers[0]
    if given.rstrip("/") not in peers:
        raise _wrong("peer", given, "The peer must be an address of FS_REPLICATION_PEERS.")
    return given.rstrip("/")


def _wrong(name: str, value: str, text: str) -> S3Error:
    return S3Error("InvalidArgument", text, ArgumentName=name, ArgumentValue=value)
