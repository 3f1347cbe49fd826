"""Damage to the files of a store that stands still, one piece at a time, and what becomes of it.

A store is built once by the real engine: small, chunked, shared and multipart objects, several log files and segments, two kept copies of
the index. For each piece of damage the files are copied, hurt, and a store is started on them: whatever it serves must be right, and the
damage must be noticed: by the start, by a read, or by reading the file itself to its end. Bytes that nothing names (dead records, what is
allocated ahead, the empty rest of a witness's slot) are not part of the store: a change there is no damage, and is counted apart.
"""

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import apsw

from actors import messages as m
from fasterstore.errors import StoreError
from fasterstore.metadata.index import PAGE_BYTES, open_connection
from fasterstore.metadata.index_file import check_file
from fasterstore.metadata.roll import roll
from fasterstore.model import ManifestNumber, UploadIntent
from fasterstore.storage import wal_format, witness
from fasterstore.storage.datadir import DataDir, open_datadir
from fasterstore.storage.disk import RealDisk
from fasterstore.storage.record import record_bytes
from fasterstore.storage.segment import HEADER_BYTES
from tests.faults.engine import CountingClock, Engine, fill, make_intent
from tests.faults.workload_requests import completion
from tests.storage_node import audit, dump
from tools.journal_start import places_of

BUCKET = "rot"
SIZES = (1, 100, 700, 4096, 5000, 20_000, 60_000)
CHUNKED_BYTES = 600_000
BLOCKS = (512, 4096)
CONTRADICTION = "the index contradicts itself"
NOT_THE_BYTES = "is not what it was"
AHEAD_SHARE = 0.1
"""How often a place may be anywhere in the file, and not only where something was written."""
LEFT_BEHIND = ("lock", "storage.lock", "storage.sock", "reserve")

Spans = list[tuple[int, int]]
"""Byte ranges of a file that differ from before, (first, end)."""


class Store(NamedTuple):
    """A finished store: its folder, what must be read of it, how far each file is written, and what of each segment is named."""

    path: Path
    objects: dict[bytes, tuple[bytes, str]]
    written: dict[str, int]
    named: dict[str, Spans]


class Damage(NamedTuple):
    """One piece: what was done to which file, and where it differs."""

    kind: str
    file: str
    spans: Spans


class Verdict(NamedTuple):
    """`noticed`: by what, empty if by nothing. `wrong`: what was served that should not have been."""

    damage: Damage
    noticed: str
    wrong: str = ""


# ---- the store ----


def build(folder: Path, *, stopped: bool) -> Store:
    """A store that was stopped in order, or killed with its index some way behind its log. Inside `laboratory`."""
    path, rng, clock = folder / "built", random.Random(7), CountingClock()
    engine = Engine(RealDisk(), open_datadir(RealDisk(), str(path), rng.randbytes), rng.randbytes, clock)
    objects = _fill(engine, rng)
    engine.checkpoint()
    checkpointed_lsn = engine.view.applied_lsn()
    for number in range(12):
        body = rng.randbytes(300 + number)
        engine.put(make_intent(BUCKET, b"late/%d" % number, body, ""), body).get()
        objects[b"late/%d" % number] = (body, make_intent(BUCKET, b"", body, "").etag)
    head_lsn = engine.view.applied_lsn()
    if stopped:
        engine.stop()
    else:
        engine.abandon()
    for lsn in (checkpointed_lsn, head_lsn):
        places = places_of(RealDisk(), engine.datadir)
        for _progress in roll(places, lsn, now_ms=clock(), keep_free_bytes=0, random_bytes=rng.randbytes):
            pass
    kept = folder / ("stopped" if stopped else "killed")
    _copy(path, kept)
    # Started once more on a copy, to ask its index where everything lies.
    shutil.rmtree(path)
    _copy(kept, path)
    return Store(kept, objects, _written(kept), _named(path, clock))


def _fill(engine: Engine, rng: random.Random) -> dict[bytes, tuple[bytes, str]]:
    held: dict[bytes, tuple[bytes, str]] = {}

    def put(key: bytes, body: bytes) -> None:
        intent = make_intent(BUCKET, key, body, "", create_bucket=True)
        if len(body) <= 65_536:
            engine.put(intent, body).get()
        else:
            grant = engine.reserve(body)
            fd = engine.open_segment(grant)
            fill(engine.disk, fd, grant, body)
            engine.disk.close(fd)
            engine.finish(grant, intent, body).get()
        held[key] = (body, intent.etag)

    for number in range(30):
        put(b"key/%d" % number, rng.randbytes(rng.choice(SIZES)))
    put(b"chunked", rng.randbytes(CHUNKED_BYTES))
    put(b"empty", b"")
    put(b"twin", held[b"key/3"][0])
    for number in range(0, 30, 4):
        engine.delete(BUCKET, b"key/%d" % number).get()
        del held[b"key/%d" % number]
    put(b"key/1", rng.randbytes(900))
    held[b"in parts"] = _put_in_parts(engine, rng)
    engine.compact_and_wait()
    put(b"after", rng.randbytes(2000))
    return held


def _put_in_parts(engine: Engine, rng: random.Random) -> tuple[bytes, str]:
    made = engine.change(m.CreateUpload(UploadIntent(BUCKET, b"in parts", "token", {}, {}, {}, "", "", ""))).get()
    bodies = [rng.randbytes(3000), rng.randbytes(4000)]
    for part, body in enumerate(bodies, start=1):
        engine.put(make_intent(BUCKET, b"in parts", body, "", upload=ManifestNumber(made.number), part=part), body).get()
    intent = completion(engine, BUCKET, b"in parts", made.number, [1, 2])
    engine.change(m.CompleteUpload(intent)).get()
    return b"".join(bodies), intent.etag


def _copy(source: Path, target: Path) -> None:
    """All files, what was allocated ahead as a hole."""
    for folder, _folders, names in os.walk(source):
        inside = target / Path(folder).relative_to(source)
        inside.mkdir(mode=0o700)
        for name in names:
            if name in LEFT_BEHIND or name.endswith("-shm") or not (Path(folder) / name).is_file():
                continue
            data = (Path(folder) / name).read_bytes()
            with open(inside / name, "wb") as file:
                file.write(data.rstrip(b"\0"))
                file.truncate(len(data))


def _written(path: Path) -> dict[str, int]:
    """How far each file is written, by its name below the store; empty ones are left out."""
    found = {}
    for file in sorted(path.rglob("*")):
        if file.is_file() and file.parent.name != "quarantine" and (length := len(file.read_bytes().rstrip(b"\0"))):
            found[str(file.relative_to(path))] = length
    return found


def _named(path: Path, clock: CountingClock) -> dict[str, Spans]:
    """Of each segment: its header, and the records of which a read may be asked."""
    engine = Engine(RealDisk(), open_datadir(RealDisk(), str(path), os.urandom), os.urandom, clock)
    found: dict[str, Spans] = {}
    for row in engine._blob_rows():
        if row.refs:
            place = row.location
            spans = found.setdefault(f"segments/{place.segment_id:016x}.seg", [(0, HEADER_BYTES)])
            spans.append((place.offset, place.offset + record_bytes(place.stored_bytes)))
    engine.abandon()
    return found


# ---- the damage ----


def hurt(store: Store, path: Path, kind: str, file: str, rng: random.Random) -> Damage:
    """Damage one file of the copy at `path`. `kind` is flip, truncate, zero, swap or misdirect."""
    target = path / file
    data = bytearray(target.read_bytes())
    end = len(data) if rng.random() < AHEAD_SHARE and len(data) < 1 << 20 else store.written[file]
    spans: Spans = []
    while not spans:
        changed = bytearray(data)
        _KINDS[kind](changed, end, rng, store)
        spans = _spans(data, changed)
        kind = kind if spans else "flip"  # a file may be too small for the other kinds
    target.write_bytes(changed)
    return Damage(kind, file, spans)


def _flip(data: bytearray, end: int, rng: random.Random, _store: Store) -> None:
    data[rng.randrange(end)] ^= 1 << rng.randrange(8)


def _truncate(data: bytearray, end: int, rng: random.Random, _store: Store) -> None:
    del data[rng.randrange(end) :]


def _zero(data: bytearray, end: int, rng: random.Random, _store: Store) -> None:
    first, size = _block(end, rng)
    data[first : first + size] = bytes(min(size, len(data) - first))


def _swap(data: bytearray, end: int, rng: random.Random, _store: Store) -> None:
    size = rng.choice(BLOCKS)
    first, second = (rng.randrange(end) // size * size for _ in range(2))
    one, other = bytes(data[first : first + size]), bytes(data[second : second + size])
    if len(one) == len(other):
        data[first : first + size], data[second : second + size] = other, one
    else:
        _flip(data, end, rng, _store)


def _misdirect(data: bytearray, end: int, rng: random.Random, store: Store) -> None:
    """A write that was meant for another place, of this file or of another of its kind."""
    first, size = _block(end, rng)
    source = rng.choice([name for name in store.written if store.written[name] >= size] or [next(iter(store.written))])
    place = rng.randrange(max(store.written[source] - size, 1)) // size * size
    block = (store.path / source).read_bytes()[place : place + size]
    data[first : first + len(block)] = block[: len(data) - first]


def _block(end: int, rng: random.Random) -> tuple[int, int]:
    size = rng.choice(BLOCKS)
    return rng.randrange(end) // size * size, size


_KINDS: dict[str, Callable[[bytearray, int, random.Random, Store], None]] = {
    "flip": _flip, "truncate": _truncate, "zero": _zero, "swap": _swap, "misdirect": _misdirect,
}  # fmt: skip


def _spans(before: bytes, after: bytes) -> Spans:
    if len(after) < len(before):
        kept = before[: len(after)].rstrip(b"\0")
        # A file that lost nothing but zeros holds what it held, as far as that was written.
        return [(len(after), max(len(before.rstrip(b"\0")), len(after) + 1))] if kept or before.rstrip(b"\0") else []
    differing = [place for place in range(0, len(before), 512) if before[place : place + 512] != after[place : place + 512]]
    found = []
    for place in differing:
        pairs = enumerate(zip(before[place : place + 512], after[place : place + 512], strict=True), start=place)
        changed = [at for at, (old, new) in pairs if old != new]
        found.append((changed[0], changed[-1] + 1))
    return found


# ---- what becomes of it ----


def judge(store: Store, damage: Damage, hurt_path: Path, scratch: Path) -> Verdict:
    """Start a store on a copy of the damaged one, read everything, look at the file. `scratch` does not exist. Inside `laboratory`."""
    _copy(hurt_path, scratch)
    try:
        datadir = open_datadir(RealDisk(), str(scratch), os.urandom)
        engine = Engine(RealDisk(), datadir, os.urandom, CountingClock())
    except (StoreError, OSError, apsw.Error) as error:
        return Verdict(damage, f"start: {type(error).__name__}")
    except Exception as error:
        return Verdict(damage, "start", f"the start ended with {type(error).__name__}: {error}")
    try:
        wrong, refused = _read_all(engine, store)
        if wrong:
            return _misplaced(damage, wrong, hurt_path) or Verdict(damage, "", wrong)
        if refused:
            return Verdict(damage, f"read: {refused}")
        audit(engine.datadir.index_path)
    except AssertionError as error:
        wrong = f"{CONTRADICTION}: {error}"
        return _misplaced(damage, wrong, hurt_path) or Verdict(damage, "", wrong)
    except (StoreError, apsw.Error) as error:
        return Verdict(damage, f"read of the whole index: {type(error).__name__}")
    finally:
        engine.abandon()
    return Verdict(damage, _look_at(store, damage, hurt_path))


def _misplaced(damage: Damage, wrong: str, hurt_path: Path) -> Verdict | None:
    """The one thing that a read does not notice: whole pages of the index in each other's place. Their checksums do not say where they
    belong, and rows that should be there are not found. A check of the whole index notices.
    """
    pages = {first // PAGE_BYTES for first, _ in damage.spans}
    whole = damage.kind in {"swap", "misdirect"} and all(end - 1 < (max(pages) + 1) * PAGE_BYTES for _, end in damage.spans)
    if damage.file != "index/index.db" or not whole or NOT_THE_BYTES in wrong:
        return None
    said = _look_at_index(hurt_path / damage.file)
    if not said and wrong.startswith(CONTRADICTION):
        said = "its rows contradict each other"  # a table of one page, in place of another: SQLite's own check takes it for one
    return Verdict(damage, f"only a check of the index: {said}") if said else None


def _read_all(engine: Engine, store: Store) -> tuple[str, str]:
    """(what was wrong, by what error a read was refused)."""
    refused = ""
    for key, (body, etag) in store.objects.items():
        try:
            found = engine.read(BUCKET, key)
        except (StoreError, OSError) as error:
            refused = type(error).__name__
            continue
        if found is None:
            return f"{key!r} is not there any more", refused
        if (found.body, found.row.etag) != (body, etag):
            return f"{key!r} {NOT_THE_BYTES}", refused
    try:
        rows = engine.view.objects_from(engine.view.bucket(BUCKET).bucket_id, b"", 1000)  # type: ignore[union-attr]
    except StoreError as error:
        return "", type(error).__name__
    if {key for key, _ in rows} != store.objects.keys():
        return "there are other objects than there were", refused
    return "", refused


def _look_at(store: Store, damage: Damage, hurt_path: Path) -> str:
    """By what the file itself shows that it is damaged, though everything could be read; "unused" for a place that nothing names."""
    file, path = damage.file, hurt_path / damage.file
    if file.startswith("segments/"):
        named = store.named.get(file, [])
        hit = any(first < end and start < last for first, last in damage.spans for start, end in named)
        return "" if hit else "unused"
    if all(first >= store.written[file] for first, _ in damage.spans):
        return "unused"
    if file.endswith(".wal"):
        return _look_at_log(store, hurt_path, damage)
    if file.endswith("witness"):
        return _look_at_witness(store, path)
    if file.endswith((".db", ".copy")):
        return _look_at_index(path) or ("unused" if _rows_of(path) == _rows_of(store.path / file) else "")
    if file.endswith("-wal"):
        return "made good: SQLite's own log ends there, the journal is replayed"
    if file.endswith(".json"):
        return "unused" if _means_the_same(hurt_path, store.path) else ""
    return ""


def _look_at_log(store: Store, hurt_path: Path, damage: Damage) -> str:
    data, whole = (hurt_path / damage.file).read_bytes(), (store.path / damage.file).read_bytes()
    header = wal_format.unpack_file_header(data)
    if header is None:
        return "log: the file's header"
    good = [tuple(frame) for frame in wal_format.FileWalk(data, header)]
    wanted = [tuple(frame) for frame in wal_format.FileWalk(whole, wal_format.unpack_file_header(whole))]  # type: ignore[arg-type]
    return "log: a frame" if good != wanted else ""


def _look_at_witness(store: Store, path: Path) -> str:
    slots = [_slots(file.read_bytes()) for file in (path, store.path / "journal" / "witness")]
    if slots[0] != slots[1]:
        return "witness: the other slot speaks"
    return "unused"


def _slots(data: bytes) -> list[object]:
    return [witness.unpack_slot(data[number * witness.SLOT_BYTES :][: witness.SLOT_FIELDS_BYTES]) for number in range(witness.SLOTS)]


def _look_at_index(path: Path) -> str:
    """Of the database file alone, without the log beside it that may have newer pages."""
    alone = path.with_name("alone.db")
    shutil.copyfile(path, alone)
    try:
        connection = open_connection(str(alone), apsw.SQLITE_OPEN_READWRITE, 1024)
        try:
            said = connection.execute("PRAGMA integrity_check").fetchall()
        finally:
            connection.close()
        for _ in check_file(str(alone)):  # as a roll does: every page, every row
            pass
    except (StoreError, apsw.Error) as error:
        return f"index: {type(error).__name__}"
    return "" if said == [("ok",)] else "index: integrity_check"


def _rows_of(path: Path) -> object:
    """All that a sound database file says: of pages without an entry two may change places."""
    alone = path.with_name("alone.db")
    shutil.copyfile(path, alone)
    return dump(str(alone))


def _means_the_same(hurt_path: Path, path: Path) -> bool:
    def opened(folder: Path) -> DataDir:
        return open_datadir(RealDisk(), str(folder), os.urandom)

    return tuple(opened(hurt_path))[1:] == tuple(opened(path))[1:]
