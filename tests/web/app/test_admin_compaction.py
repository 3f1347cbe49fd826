"""/_admin/compaction: orders to the compactor, and what is no order."""

import json

import pytest


def state(answer):
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    return json.loads(answer.body)


def test_a_post_pauses_resumes_or_begins_a_round(store):
    assert state(store.send("POST", "/_admin/compaction?action=pause"))["paused"]
    assert not state(store.send("POST", "/_admin/compaction?action=resume"))["paused"]
    assert state(store.send("POST", "/_admin/compaction?pause"))["paused"], "as the scrubber takes it"
    assert not state(store.send("POST", "/_admin/compaction?resume="))["paused"]
    assert not state(store.send("POST", "/_admin/compaction"))["paused"]


@pytest.mark.parametrize("query", ["?action=faster", "?faster", "?action=", "?pause=no", "?action=pause&more=", "?pause&action=resume"])
def test_another_order_is_refused_and_nothing_is_done(store, query):
    rounds = state(store.send("GET", "/_admin/compaction"))["rounds"]
    answer = store.send("POST", f"/_admin/compaction{query}")
    assert (answer.status, b"InvalidArgument" in answer.body) == (400, True)
    found = state(store.send("GET", "/_admin/compaction"))
    assert (found["paused"], found["rounds"]) == (False, rounds)
