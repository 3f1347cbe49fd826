"""All that a client can see in a node, and where two nodes differ in it.

Buckets with every setting, every object with bytes, headers, tags and ACL. Two nodes agree if this says nothing. What is a node's own
affair is left out: dates and ids of answers, and how far an object's replication has come.
"""

import hashlib
import time
from collections.abc import Callable, Iterable
from typing import Any
from xml.etree.ElementTree import Element, fromstring

import gevent
import requests
from gevent.pool import Pool

from tools.client import Client

SETTINGS = ("policy", "cors", "tagging", "acl", "ownershipControls", "publicAccessBlock", "encryption", "versioning", "location")
LOOK_SECS = 0.2
_AT_ONCE = 8
_OF_THE_ANSWER = {
    "connection", "content-length", "date", "keep-alive", "server", "x-amz-id-2", "x-amz-replication-status", "x-amz-request-id",
}  # fmt: skip
_NAMES = ("RequestId", "HostId", "Resource")

Contents = dict[tuple[str, ...], Any]


def outline(client: Client) -> Contents:
    """What lists say: the buckets, and each object's size, ETag and time. Raises requests.RequestException, LookupError."""
    found: Contents = {}
    for bucket in _elements(_answer(client, "", ()), "Bucket"):
        name = bucket["Name"]
        found[("bucket", name)] = bucket["CreationDate"]
        token: tuple[tuple[str, str], ...] = ()
        while True:
            page = _answer(client, name, (("list-type", "2"), *token))
            for row in _elements(page, "Contents"):
                found[("object", name, row["Key"])] = (row["Size"], row["ETag"], row["LastModified"])
            after = next((element.text or "" for element in page.iter() if _bare(element) == "NextContinuationToken"), "")
            if not after:
                break
            token = (("continuation-token", after),)
    return found


def contents(client: Client) -> Contents:
    """Everything: what `outline` has, and each setting, each object's bytes, headers, tags and ACL. Raises as `outline` does."""
    found = outline(client)
    pool = Pool(_AT_ONCE)
    asked: list[tuple[tuple[str, ...], gevent.Greenlet]] = []
    for kind, bucket, *key in list(found):
        if kind == "bucket":
            asked += [(("setting", bucket, name), pool.spawn(_document, client, bucket, "", name)) for name in SETTINGS]
        else:
            asked.append((("bytes", bucket, *key), pool.spawn(_object, client, bucket, key[0])))
            asked += [((name, bucket, *key), pool.spawn(_document, client, bucket, key[0], name)) for name in ("tagging", "acl")]
    pool.join()
    for name, greenlet in asked:
        found[name] = greenlet.get()
    return found


def differences(one: Contents, another: Contents) -> list[str]:
    """A line for each thing that only one has or that is not the same."""
    names = sorted(one.keys() | another.keys())
    return [f"{name}: a has {one.get(name)}, b has {another.get(name)}" for name in names if one.get(name) != another.get(name)]


def wait_identical(one: Client, another: Client, deadline: float) -> tuple[list[str], Contents]:
    """Look until both nodes hold the same or `deadline` (monotonic) is over: the differences left, and what the first one holds."""
    while True:
        left, seen = _look(outline, one, another)
        if not left:
            left, seen = _look(contents, one, another)
        if not left or time.monotonic() > deadline:
            return left, seen
        gevent.sleep(LOOK_SECS)


def _look(how: Callable[[Client], Contents], one: Client, another: Client) -> tuple[list[str], Contents]:
    both = [gevent.spawn(how, client) for client in (one, another)]
    gevent.joinall(both)
    try:
        seen, of_the_other = (greenlet.get() for greenlet in both)
    except (requests.RequestException, LookupError) as error:
        return [f"cannot be looked at: {error}"], {}
    return differences(seen, of_the_other), seen


def _answer(client: Client, bucket: str, query: Iterable[tuple[str, str]]) -> Element:
    answer = client.request("GET", bucket, "", query)
    if answer.status_code != requests.codes.ok:
        raise LookupError(f"{bucket}: {answer.status_code} {answer.text[:200]}")
    return fromstring(answer.content)


def _elements(root: Element, name: str) -> list[dict[str, str]]:
    return [{_bare(child): child.text or "" for child in element} for element in root.iter() if _bare(element) == name]


def _object(client: Client, bucket: str, key: str) -> tuple[int, str, dict[str, str]]:
    """Status, MD5 of the bytes (of an error nothing), headers."""
    answer = client.request("GET", bucket, key)
    body = answer.content if answer.status_code == requests.codes.ok else b""
    headers = {name.lower(): value for name, value in answer.headers.items()}
    kept = {name: value for name, value in headers.items() if name not in _OF_THE_ANSWER}
    return answer.status_code, hashlib.md5(body).hexdigest(), kept


def _document(client: Client, bucket: str, key: str, name: str) -> tuple[int, str]:
    """Status, and what the document says; of an error its code."""
    answer = client.request("GET", bucket, key, ((name, ""),))
    if not answer.content.startswith(b"<"):
        return answer.status_code, answer.text
    root = fromstring(answer.content)
    said = [f"{_bare(element)}={element.text or ''}" for element in root.iter() if _bare(element) not in _NAMES]
    return answer.status_code, " ".join(said)


def _bare(element: Element) -> str:
    return element.tag.rpartition("}")[2]
