"""What clients ask of the nodes of a simulation: few keys in few buckets, so that every kind of change meets every other."""

from typing import NamedTuple

BUCKETS = ("alpha", "beta", "gamma")
KEYS = tuple(b"key-%d" % number for number in range(5))
SETTINGS = ("cors", "policy")
LARGE = 70_000
"""A body that does not ride inside a batch: the receiver pulls it."""


class Op(NamedTuple):
    """One request. Which fields count depends on `kind`; `body` is what is put, appended, or the parts' common beginning."""

    kind: str
    bucket: str
    key: bytes = b""
    other: tuple = ()
    body: bytes = b""
    document: bytes | None = None


WEIGHTS = {
    "put": 30, "delete": 14, "rename": 8, "copy": 7, "amend": 5, "append": 6, "multipart": 5,
    "create_bucket": 5, "delete_bucket": 5, "configure": 5, "set_home": 2,
}  # fmt: skip


def draw(rng, node_ids, serial):
    """A request of any kind; `serial` makes every body another."""
    (kind,) = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))
    bucket, key = rng.choice(BUCKETS), rng.choice(KEYS)
    body = b"%d:" % serial * rng.choice((1, 1, 3)) if rng.random() < 0.95 else b"%d:" % serial + bytes(LARGE)
    other, document = (), None
    if kind == "put":
        other = (rng.random() < 0.6,)  # makes the bucket if it is missing
        body = rng.choice((body, body, b"", b"the same everywhere"))
    elif kind == "rename":
        other = (rng.choice(KEYS),)
    elif kind == "copy":
        other = (rng.choice(BUCKETS), rng.choice(KEYS))
    elif kind == "amend":
        other = rng.choice((({"t": str(serial)}, None), (None, "public-read"), ({}, "")))
    elif kind == "configure":
        other, document = (rng.choice(SETTINGS),), rng.choice((None, b"<%d/>" % serial))
    elif kind == "set_home":
        other = (rng.choice(node_ids),)
    return Op(kind, bucket, key, other, body, document)
