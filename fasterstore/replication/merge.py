"""Which of two states wins, and how the registers of two nodes become one. Pure; judge and simulation decide by the same lines.

A *pair* is (stamp, node id of the origin); stamps come from the hybrid clock (`fasterstore.clock`), and no node gives one twice for the
same key. The higher pair wins, an equal one changes nothing. Joining is idempotent, commutative and associative: order, doubling and
loss-then-resend do not matter (Shapiro et al., "Conflict-free Replicated Data Types", 2011).

A bucket is made of registers: its creates, the last delete, each setting, its home. They are kept also while it does not exist, because a
delete wins only over what was there before it.
"""

from collections.abc import Iterable
from typing import NamedTuple


class Create(NamedTuple):
    """One creation of the bucket; `created_ms` is Unix milliseconds."""

    stamp: int
    origin: bytes
    created_ms: int


class Deletion(NamedTuple):
    """The last deletion of the bucket."""

    stamp: int
    origin: bytes


class Setting(NamedTuple):
    """One sub-resource document of the bucket, None where it was removed."""

    name: str
    document: bytes | None
    stamp: int
    origin: bytes


class Home(NamedTuple):
    """The node at which conditional writes of the bucket are judged, as an operator set it."""

    stamp: int
    origin: bytes
    node_id: bytes


NEVER = Deletion(0, b"")


class Registers(NamedTuple):
    """A bucket as all nodes agree on it. `creates` are those above `deleted`, lowest first; `settings` are in order of name."""

    creates: tuple[Create, ...] = ()
    deleted: Deletion = NEVER
    settings: tuple[Setting, ...] = ()
    home: Home | None = None


NO_REGISTERS = Registers()


def wins(stamp: int, origin: bytes, over_stamp: int, over_origin: bytes) -> bool:
    """Return whether the first pair replaces the second; an equal one does not."""
    return (stamp, origin) > (over_stamp, over_origin)


def join_registers(mine: Registers, theirs: Registers) -> Registers:
    """Return what both together say. Each register by its higher pair; what is not above the last delete is void."""
    deleted = max(mine.deleted, theirs.deleted)
    creates = sorted({create for create in (*mine.creates, *theirs.creates) if create[:2] > deleted})
    settings = _highest(setting for setting in (*mine.settings, *theirs.settings) if setting[2:] > deleted)
    homes = [home for home in (mine.home, theirs.home) if home is not None and home[:2] > deleted]
    return Registers(tuple(creates), deleted, settings, max(homes, default=None))


def _highest(settings: Iterable[Setting]) -> tuple[Setting, ...]:
    highest: dict[str, Setting] = {}
    for setting in settings:
        held = highest.get(setting.name)
        if held is None or _rank(setting) > _rank(held):
            highest[setting.name] = setting
    return tuple([highest[name] for name in sorted(highest)])


def _rank(setting: Setting) -> tuple[int, bytes, bool, bytes]:
    """By the pair; the document only so that equal pairs, which no two nodes give, are still joined alike on both sides."""
    return setting.stamp, setting.origin, setting.document is not None, setting.document or b""


def bucket_exists(registers: Registers, has_objects: bool) -> bool:
    """Return whether there is such a bucket: it was created since its last delete, or an object lives in it."""
    return has_objects or bool(registers.creates)


def revive(registers: Registers, stamp: int, origin: bytes, created_ms: int) -> Registers:
    """Return the registers of a bucket that has to exist, because an object lives in it: with a create of the node that found it so.

    Without it the bucket would go with its last object, on one node earlier than on the other. `stamp` must be above `highest_stamp`.
    """
    if registers.creates:
        return registers
    return join_registers(registers, Registers((Create(stamp, origin, created_ms),)))


def home_of(registers: Registers) -> bytes | None:
    """Return the id of the bucket's home: where an operator set it, else the node that created it first; None without a create."""
    if registers.home is not None:
        return registers.home.node_id
    return registers.creates[0].origin if registers.creates else None


def created_ms_of(registers: Registers) -> int | None:
    """Return when the bucket was created first (Unix milliseconds), None without a create."""
    return registers.creates[0].created_ms if registers.creates else None


def documents_of(registers: Registers) -> dict[str, bytes]:
    """Return the bucket's settings as its row holds them: documents by name."""
    return {setting.name: setting.document for setting in registers.settings if setting.document is not None}


def highest_stamp(registers: Registers) -> int:
    """Return the highest stamp of any register: a local change has to be above it."""
    stamps = [registers.deleted.stamp, *(create.stamp for create in registers.creates)]
    stamps += [setting.stamp for setting in registers.settings]
    return max(stamps + ([registers.home.stamp] if registers.home is not None else []))
