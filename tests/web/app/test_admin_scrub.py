"""/_admin/scrub: the scrubber's state and orders to it; damage stands below `ready` on /readyz and does not make it fail."""

import json

import pytest

from actors.messages import BlobFoundDamaged


def state(answer):
    assert answer.headers["content-type"] == "application/json"
    return json.loads(answer.body)


def test_the_state_is_plain_json(store):
    found = state(store.send("GET", "/_admin/scrub"))
    assert (found["state"], found["round"], found["damaged_blobs"], found["findings"]) == ("idle", 1, 0, [])
    assert store.send("HEAD", "/_admin/scrub").status == 200


def test_a_post_starts_a_round_and_the_query_pauses_or_resumes_one(store):
    answer = store.send("POST", "/_admin/scrub")
    assert (answer.status, state(answer)["full_speed"]) == (202, True)
    assert state(store.send("POST", "/_admin/scrub?pause="))["state"] == "paused"
    assert state(store.send("POST", "/_admin/scrub?resume="))["state"] in ("running", "idle")
    assert state(store.send("POST", "/_admin/scrub?action=pause"))["state"] == "paused"
    assert state(store.send("POST", "/_admin/scrub?action=resume"))["state"] in ("running", "idle")


@pytest.mark.parametrize("query", ["?faster=", "?pause=&resume=", "?action=faster", "?action=pause&resume="])
def test_another_order_is_refused(store, query):
    answer = store.send("POST", f"/_admin/scrub{query}")
    assert (answer.status, b"InvalidArgument" in answer.body) == (400, True)


def test_other_methods_are_refused_and_the_allowed_ones_named(store):
    answer = store.send("DELETE", "/_admin/scrub")
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD, POST")


def test_damage_is_told_below_ready_and_the_node_stays_ready(store):
    assert store.send("GET", "/readyz", sign="").body == b"ready\n"
    store.make_bucket("box")
    store.send("PUT", "/box/key", b"some bytes")
    blob = store.worker.index.locate("box", b"key").blob
    store.directory.get("metadata-journal").tell(BlobFoundDamaged.of(blob))
    store.make_bucket("after-that")
    answer = store.send("GET", "/readyz", sign="")
    assert answer.status == 200
    first, second = answer.body.decode().splitlines()
    assert first == "ready"
    assert "1 blobs are damaged" in second
    assert state(store.send("GET", "/_admin/scrub"))["damaged_blobs"] == 1
