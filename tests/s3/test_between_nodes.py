"""Two real nodes, each of several processes: what one tells, the other takes, over TLS, plain on one disk and encrypted on the other.

The second gives itself an address where nobody listens, and the first has that for its peer: so it answers the second, and nothing is
shipped but by the test.
"""

import os
import socket
from base64 import b64encode
from pathlib import Path

import pytest
import requests

from actors.peer import PeerRefused, PeerUnreachable
from fasterstore.replication.anti_entropy import PAGE_STATES
from fasterstore.replication.change import Batch, BlobContent, OutcomeKind, encode_batch
from fasterstore.replication.digest import FIRST_PLACE, KeyRange, Scope
from tests.certificates import make_certificate
from tests.node import RunningNode
from web.peer_client import PeerClient

TOKEN = "a-token-of-our-own"
OBJECTS = KeyRange(Scope.OBJECTS, FIRST_PLACE, None)
BUCKETS = KeyRange(Scope.BUCKETS, FIRST_PLACE, None)
SIZES = {"empty": 0, "small": 100, "inline": 65_536, "extent": 65_537, "large": 3_000_001}


def free_ports(count):
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in held]
    for listener in held:
        listener.close()
    return ports


class Two:
    """`a` is asked what it has, as b asks; `b` is told it, as a tells it."""

    def __init__(self, folder: Path, tls: bool):
        port_a, port_b, port_x = free_ports(3)
        scheme = "https" if tls else "http"
        self.address_a, self.address_b, elsewhere = [f"{scheme}://127.0.0.1:{port}" for port in (port_a, port_b, port_x)]
        common, self.ca = {"FS_INTERNAL_TOKEN": TOKEN, "FS_REQUEST_TIMEOUT_SECS": "10"}, None
        if tls:
            made = make_certificate(folder)
            self.ca = made.cert
            common |= {"FS_TLS_CERT_PATH": made.cert, "FS_TLS_KEY_PATH": made.key, "FS_CA_CERT": made.cert}
        to_a = {"FS_BIND_ADDR": f"127.0.0.1:{port_a}", "FS_ADVERTISE_ADDR": self.address_a, "FS_REPLICATION_PEERS": elsewhere}
        to_b = {"FS_BIND_ADDR": f"127.0.0.1:{port_b}", "FS_ADVERTISE_ADDR": elsewhere, "FS_REPLICATION_PEERS": self.address_a}
        if tls:
            to_b["FS_ENCRYPTION_KEY_BASE64"] = b64encode(bytes(range(32))).decode()
        self.a = RunningNode(folder / "a", common | to_a, workers=2)
        self.b = RunningNode(folder / "b", common | to_b, workers=2)
        self.of_a = PeerClient(self.address_a, elsewhere, TOKEN, timeout_secs=10, ca_path=self.ca)
        self.of_b = PeerClient(self.address_b, self.address_a, TOKEN, timeout_secs=10, ca_path=self.ca)

    def __enter__(self):
        self.a.start()
        self.b.start()
        return self

    def __exit__(self, *exc_info):
        for closing in (self.of_a.close, self.of_b.close, self.a.stop, self.b.stop):
            closing()

    def ship(self):
        """Tell b all that a has; how it went, by name."""
        status = self.of_a.status()
        outcomes = []
        for asked in (BUCKETS, OBJECTS):
            states = self.of_a.snapshot_page(asked, PAGE_STATES).states
            body = encode_batch(Batch(1, status.node_id, status.log_uuid, 1, 1, states))
            outcomes += self.of_b.send_objects(body, len(states)).outcomes
        return [outcome.name or outcome.kind.name for outcome in outcomes]


@pytest.fixture(scope="module", params=[False, True], ids=["http", "https"])
def two(request, tmp_path_factory):
    with Two(tmp_path_factory.mktemp("two"), request.param) as made:
        yield made


def test_all_that_one_has_arrives_at_the_other(two):
    bodies = {key: os.urandom(size_bytes) for key, size_bytes in SIZES.items()}
    with two.a.client() as client:
        client.create_bucket("box")
        for key, body in bodies.items():
            client.put("box", key, body)
    assert set(two.ship()) == {"APPLIED"}
    assert set(two.ship()) == {"SUPERSEDED"}
    with two.b.client() as client:
        for key, body in bodies.items():
            assert client.get("box", key).content == body
    assert two.of_a.digest([OBJECTS]) == two.of_b.digest([OBJECTS])


def test_it_is_still_there_after_the_receiver_was_killed(two):
    two.b.kill()
    two.b.start()
    assert set(two.ship()) == {"SUPERSEDED"}
    assert two.of_a.digest([OBJECTS, BUCKETS]) == two.of_b.digest([OBJECTS, BUCKETS])


def test_a_thousand_small_objects_come_in_a_few_batches(two):
    with two.a.client() as client:
        client.create_bucket("many")
        for number in range(300):
            client.put("many", f"key-{number:04}", b"%d" % number * 100)
    status = two.of_a.status()
    page = two.of_a.snapshot_page(KeyRange(Scope.OBJECTS, FIRST_PLACE._replace(bucket="many"), None), PAGE_STATES)
    inline = [state._replace(content=BlobContent(state.content.piece, b"%d" % int(state.key[-4:]) * 100)) for state in page.states]
    answer = two.of_b.send_objects(encode_batch(Batch(1, status.node_id, status.log_uuid, 1, 1, tuple(inline))), len(inline))
    assert len(inline) == PAGE_STATES
    assert {outcome.kind for outcome in answer.outcomes} == {OutcomeKind.APPLIED}
    with two.b.client() as client:
        assert client.get("many", "key-0123").content == b"123" * 100


def test_a_stranger_is_refused_and_a_node_that_is_away_is_unreachable(two):
    for source, token in (("http://127.0.0.9:1", TOKEN), (two.address_a, "another-token")):
        stranger = PeerClient(two.address_b, source, token, timeout_secs=5, ca_path=two.ca)
        with pytest.raises(PeerRefused, match="403 AccessDenied"):
            stranger.status()
        stranger.close()
    away = PeerClient(f"http://127.0.0.1:{free_ports(1)[0]}", two.address_a, TOKEN, timeout_secs=5)
    with pytest.raises(PeerUnreachable, match="refused"):
        away.status()


def test_a_hostile_caller_gets_one_line_whichever_worker_it_meets_and_no_secret_is_logged(two):
    for _ in range(12):
        stranger = PeerClient(two.address_b, two.address_a, "another-token", timeout_secs=5, ca_path=two.ca)
        with pytest.raises(PeerRefused):
            stranger.send_objects(b"\x90", 0)
        stranger.close()
    assert two.b.log().count("wrong-token") == 1
    assert TOKEN not in two.a.log() + two.b.log()


def test_a_certificate_that_nobody_vouches_for_is_not_trusted(two):
    if two.ca is None:
        pytest.skip("only where TLS is spoken")
    client = PeerClient(two.address_b, two.address_a, TOKEN, timeout_secs=5)
    with pytest.raises(PeerUnreachable, match="(?i)certificate"):
        client.status()
    two.of_b.status()
    # Not those besides that came with a library.
    assert len(two.of_b._adapter._context.get_ca_certs()) == 1
    answer = requests.get(f"{two.address_b}/_internal/replicate/status", headers={"x-fs-internal-token": TOKEN}, verify=two.ca, timeout=5)
    assert answer.status_code == 200
