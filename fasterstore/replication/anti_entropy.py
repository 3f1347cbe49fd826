"""Comparing all that two nodes hold and healing what differs: the state machine of one round, daily or on demand. Pure.

The asking node walks its own places in slabs. Of each it digests its own items first and then asks the peer for the same range; where
the digests differ the range is parted at the splits of the side that holds more, until a part is small on both sides. Then states are
exchanged, a page at a time, tombstones too, and compared key by key: what wins here is pushed, what wins there is joined here. Both are
the ordinary ways of a change, so a round can do nothing that shipping could not, and doing it twice does nothing.

It never decides that something is to go because the other side has not got it: a key that one side lacks without a tombstone that wins
over it is given to that side.

`action` says what the driver has to do next and stays the same until it is answered, so an ask that failed is asked again. Memory is
bounded by the ranges that are still open (some thirty for each level of parting), a page of states and DIFFERENCES_MAX differences.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import NamedTuple

from fasterstore.errors import InvariantError
from fasterstore.replication.change import BucketState, Change, ObjectState, Tombstone
from fasterstore.replication.digest import FIRST_PLACE, LEAF_ITEMS, KeyRange, MalformedDigest, Place, RangeDigest, Scope, after, parts_of
from fasterstore.replication.merge import highest_stamp, wins

SLAB_ITEMS = 16_384
"""How many of its own items the asking node digests at most for one step."""
STEP_RANGES = 16
"""Ranges in one step."""
PAGE_STATES = 256
"""States in one page."""
DIFFERENCES_MAX = 10_000
"""Differences that are listed; the others are only counted."""


class Kind(StrEnum):
    """How a key or a bucket differs."""

    ONLY_HERE = "only-here"
    ONLY_THERE = "only-there"
    NEWER_HERE = "newer-here"
    NEWER_THERE = "newer-there"
    DELETED_HERE = "deleted-here"
    """There is an object there, and the later word, here, is that it is gone."""
    DELETED_THERE = "deleted-there"
    BUCKET = "bucket"
    """The bucket's registers differ."""
    CONFLICT = "conflict"
    """The same stamp and origin with other contents: no join can heal it. An operator has to overwrite the key."""


class Difference(NamedTuple):
    """One difference; stamps are 0 where that side has nothing. `bucket` alone (`key` empty) is about its registers."""

    kind: Kind
    bucket: str
    key: bytes
    stamp_here: int
    stamp_there: int


class OwnDigests(NamedTuple):
    """Digest these ranges here, at most SLAB_ITEMS items in all (`digest_ranges`); answer with `own_digests`."""

    ranges: tuple[KeyRange, ...]


class PeerDigests(NamedTuple):
    """Ask the peer for digests of these ranges; answer with `peer_digests`."""

    ranges: tuple[KeyRange, ...]


class Exchange(NamedTuple):
    """Read a page of states of the range here, and ask the peer for one; answer with `states`, then apply the healing it returns."""

    range: KeyRange


Action = OwnDigests | PeerDigests | Exchange


class Page(NamedTuple):
    """The first states of a range, at most PAGE_STATES in order of place; with them tombstones, and of buckets all registers there are.

    `whole`: there are no more in the range. Numbers of blobs and manifests are those of the log `log_uuid` of the node `node_id` (16 bytes
    each): a peer that was restored since it was last asked has another.
    """

    states: tuple[Change, ...]
    whole: bool
    node_id: bytes = b""
    log_uuid: bytes = b""


class Healing(NamedTuple):
    """What makes both sides the same: `push` goes to the peer as a batch, `join` is applied here as one that came from the peer."""

    push: tuple[Change, ...]
    join: tuple[Change, ...]


class Progress(NamedTuple):
    """How far a round is. `place` is where the walk is; `items` were digested here so far; `open_ranges` are still to be compared."""

    place: Place
    items: int
    open_ranges: int
    differences: int
    in_flight: int


class Comparison:
    """One round with one peer."""

    def __init__(self, settled_stamp: int) -> None:
        """`settled_stamp`: the clock's stamp a little before now. What is later is under way by itself: it is healed, and not listed."""
        self.differences: list[Difference] = []
        """The first DIFFERENCES_MAX found."""
        self.counts: dict[Kind, int] = {}
        """How many of each kind were found."""
        self._settled_stamp = settled_stamp
        self._in_flight = 0
        self._items = 0
        self._place = FIRST_PLACE
        self._open = [KeyRange(Scope.OBJECTS, FIRST_PLACE, None), KeyRange(Scope.BUCKETS, FIRST_PLACE, None)]  # a stack
        self._small: list[KeyRange] = []
        self._own: list[RangeDigest] = []
        self.action: Action | None = None
        """What to do next; None: the round is over."""
        self._next()

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return Progress(self._place, self._items, len(self._open) + len(self._small), sum(self.counts.values()), self._in_flight)

    def _next(self) -> None:
        self._own = []
        if self._small:
            self.action = Exchange(self._small.pop())
            self._place = max(self._place, self.action.range.first)
        elif self._open:
            ranges = [self._open.pop() for _ in range(min(STEP_RANGES, len(self._open)))]
            self.action = OwnDigests(tuple(ranges))
        else:
            self.action = None

    # ---- answers

    def own_digests(self, digests: Sequence[RangeDigest]) -> None:
        """Take this node's digests of the ranges asked for; what was not digested is left for a later step."""
        if not isinstance(self.action, OwnDigests) or len(digests) != len(self.action.ranges):
            raise InvariantError("digests that were not asked for")
        asked, rests = [], []
        for wanted, told in zip(self.action.ranges, digests, strict=True):
            if told.upto is None:
                asked.append((wanted, told))
            else:
                rests.append(wanted._replace(first=max(told.upto, wanted.first)))
                if told.upto > wanted.first:
                    asked.append((wanted._replace(end=told.upto), told))
            self._items += told.items
        self._open += reversed(rests)
        self._own = [told for _, told in asked]
        self.action = PeerDigests(tuple(wanted for wanted, _ in asked))
        if not asked:
            raise InvariantError("no range was digested")

    def peer_digests(self, digests: Sequence[RangeDigest]) -> None:
        """Take the peer's digests. Raises MalformedDigest if it has looked at nothing at all; the round cannot go on then."""
        if not isinstance(self.action, PeerDigests) or len(digests) != len(self.action.ranges):
            raise InvariantError("digests that were not asked for")
        if digests[0].upto == self.action.ranges[0].first:
            raise MalformedDigest("the peer digested nothing")
        parts: list[KeyRange] = []
        for wanted, ours, theirs in zip(self.action.ranges, self._own, digests, strict=True):
            if theirs.upto is None and (ours.items, ours.digest) == (theirs.items, theirs.digest):
                continue
            if theirs.upto == wanted.first:
                parts.append(wanted)
            elif theirs.upto is None and max(ours.items, theirs.items) <= LEAF_ITEMS:
                self._small.append(wanted)
            elif theirs.upto is None and ours.items > theirs.items:
                parts += parts_of(wanted, ours._replace(upto=None))
            else:
                parts += parts_of(wanted, theirs)
        self._open += reversed(parts)
        self._small.reverse()
        self._next()

    def states(self, ours: Page, theirs: Page) -> Healing:
        """Take a page from each side; the places up to the end of the shorter one are compared, the rest comes with the next page.

        Raises MalformedDigest for a page of the peer's that is neither whole nor leads on; the round cannot go on then.
        """
        if not isinstance(self.action, Exchange):
            raise InvariantError("states that were not asked for")
        wanted = self.action.range
        if not theirs.whole and (not theirs.states or _place(theirs.states[-1]) < wanted.first):
            raise MalformedDigest("the peer's page of states leads nowhere")
        ends = [_place(page.states[-1]) for page in (ours, theirs) if not page.whole]
        upto = min(ends) if ends else None
        push: list[Change] = []
        join: list[Change] = []
        here, there = _by_place(wanted, ours, upto), _by_place(wanted, theirs, upto)
        for place in sorted(here.keys() | there.keys()):
            self._compare(here.get(place), there.get(place), push, join)
        if upto is not None:
            self._small.append(wanted._replace(first=after(upto)))
        self._next()
        return Healing(tuple(push), tuple(join))

    # ---- one place

    def _compare(self, ours: Change | None, theirs: Change | None, push: list[Change], join: list[Change]) -> None:
        if isinstance(ours, BucketState) or isinstance(theirs, BucketState):
            alive = any(isinstance(state, BucketState) and state.registers.creates for state in (ours, theirs))
            if ours != theirs and alive:
                self._note(Kind.BUCKET, ours, theirs)
                push += [ours] if ours else []
                join += [theirs] if theirs else []
            return
        if ours is not None and (theirs is None or wins(*_pair(ours), *_pair(theirs))):
            if isinstance(ours, ObjectState) or isinstance(theirs, ObjectState):
                self._note(_kind(ours, theirs, Kind.ONLY_HERE, Kind.NEWER_HERE, Kind.DELETED_HERE), ours, theirs)
                push.append(ours)
        elif theirs is not None and (ours is None or wins(*_pair(theirs), *_pair(ours))):
            if isinstance(ours, ObjectState) or isinstance(theirs, ObjectState):
                self._note(_kind(theirs, ours, Kind.ONLY_THERE, Kind.NEWER_THERE, Kind.DELETED_THERE), ours, theirs)
                join.append(theirs)
        elif ours is not None and theirs is not None and _contents(ours) != _contents(theirs):
            self._note(Kind.CONFLICT, ours, theirs)

    def _note(self, kind: Kind, ours: Change | None, theirs: Change | None) -> None:
        some = ours if ours is not None else theirs
        place = _place(some) if some is not None else FIRST_PLACE
        found = Difference(kind, *place, _stamp(ours), _stamp(theirs))
        if max(found.stamp_here, found.stamp_there) > self._settled_stamp:
            self._in_flight += 1
            return
        self.counts[kind] = self.counts.get(kind, 0) + 1
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(found)


def _kind(winner: Change, loser: Change | None, only: Kind, newer: Kind, deleted: Kind) -> Kind:
    if isinstance(winner, Tombstone):
        return deleted
    return newer if isinstance(loser, ObjectState) else only


def _place(state: Change) -> Place:
    return Place(state.name, b"") if isinstance(state, BucketState) else Place(state.bucket, state.key)


def _pair(state: ObjectState | Tombstone) -> tuple[int, bytes]:
    return state.stamp, state.origin


def _contents(state: ObjectState | Tombstone) -> tuple[str, int]:
    return (state.etag, state.size_bytes) if isinstance(state, ObjectState) else ("", -1)


def _stamp(state: Change | None) -> int:
    if state is None:
        return 0
    if not isinstance(state, BucketState):
        return state.stamp
    return highest_stamp(state.registers)


def _by_place(wanted: KeyRange, page: Page, upto: Place | None) -> dict[Place, Change]:
    """The page's states that lie in the range, up to that place; a peer's may hold others."""
    found = {_place(state): state for state in page.states}
    return {
        place: state
        for place, state in found.items()
        if place >= wanted.first and (wanted.end is None or place < wanted.end) and (upto is None or place <= upto)
        and isinstance(state, BucketState) == (wanted.scope is Scope.BUCKETS)
    }  # fmt: skip
