"""Adding up what refers to what: references of blobs and manifests, usage of buckets, live bytes of segments, counters of the log.

Rows are put in table by table, in the order of `index_rows.ORDER`; what does not fit is yielded as a finding. A row that another names and
that was not seen is looked up in the index as it is now, since it may be younger than the look at its table. Pure but for those look-ups.
"""

from collections import Counter
from collections.abc import Iterator

from fasterstore.check.finding import Finding, Kind
from fasterstore.check.sparse import SparseInts
from fasterstore.digests import crc32c
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.schema import State
from fasterstore.model import BlobRow, BucketRow, ManifestRow, ObjectRow, SegmentRow
from fasterstore.sealed_body import blob_bytes_of
from fasterstore.storage.record import record_bytes


def object_subject(bucket_id: int, key: bytes) -> tuple[str, int]:
    """What findings about one object are about; two objects of one number would only make a finding wait for a quiet moment."""
    return "object", crc32c(b"%d/%b" % (bucket_id, key))


class References:
    """See the module."""

    def __init__(self, view: IndexView) -> None:
        self._view = view
        self.buckets: dict[int, str] = {}
        self.segments: dict[int, SegmentRow] = {}
        self.manifests: dict[int, ManifestRow] = {}
        self._sizes = SparseInts()
        """One more than the plaintext bytes of each blob, so that 0 says that it was not seen."""
        self.refs = SparseInts()
        """What objects and parts add up to, by blob."""
        self._users: Counter[int] = Counter()
        self._usage: dict[int, tuple[int, int]] = {}
        self._live: Counter[int] = Counter()
        self._damaged = 0
        self._last_blob = self._last_segment = self._last_lsn = self._last_epoch = 0

    # ---- rows ----

    def bucket(self, row: BucketRow) -> None:
        """A bucket."""
        self.buckets[row.bucket_id] = row.name
        self._last_lsn = max(self._last_lsn, row.bucket_id, row.version)

    def segment(self, row: SegmentRow) -> None:
        """A segment."""
        self.segments[row.segment_id] = row
        self._last_segment = max(self._last_segment, row.segment_id)
        self._last_epoch = max(self._last_epoch, row.epoch)

    def blob(self, row: BlobRow) -> Iterator[Finding]:
        """A blob: it must lie in a segment that has a row."""
        place = row.location
        self._sizes.add(row.number, place.plaintext_bytes + 1)
        self._live[place.segment_id] += record_bytes(place.stored_bytes)
        self._damaged += row.damaged
        self._last_blob = max(self._last_blob, row.number)
        if (row.zero_since_ms > 0) != (row.refs == 0):
            detail = f"it has {row.refs} references and is unused since {row.zero_since_ms}"
            yield Finding(Kind.REFS, f"blob {row.number}", detail, ("blob", row.number), (row.refs,), (row.refs,))
        if place.segment_id not in self.segments and self._view.segment(place.segment_id) is None:
            detail = f"it lies in segment {place.segment_id}, of which there is no row"
            yield Finding(Kind.DANGLING, f"blob {row.number}", detail, ("blob", row.number))

    def manifest(self, row: ManifestRow) -> None:
        """A manifest."""
        self.manifests[row.number] = row
        self._last_lsn = max(self._last_lsn, row.number)

    def object(self, bucket_id: int, key: bytes, row: ObjectRow) -> Iterator[Finding]:
        """An object: its bucket, its blob or manifest, its size."""
        objects, size_bytes = self._usage.get(bucket_id, (0, 0))
        self._usage[bucket_id] = objects + 1, size_bytes + row.size_bytes
        where = f"object {self.buckets.get(bucket_id, bucket_id)}/{key.decode(errors='backslashreplace')}"
        subject = object_subject(bucket_id, key)
        if bucket_id not in self.buckets and not self._bucket_now(bucket_id):
            yield Finding(Kind.DANGLING, where, f"there is no bucket {bucket_id}", subject)
        if row.manifest:
            self._users[row.manifest] += 1
            manifest = self.manifests.get(row.manifest) or self._view.uploads.manifest(row.manifest)
            if manifest is None:
                yield Finding(Kind.DANGLING, where, f"there is no manifest {row.manifest}", subject)
            elif manifest.size_bytes != row.size_bytes:
                detail = f"{row.size_bytes} bytes, but its manifest {row.manifest} has {manifest.size_bytes}"
                yield Finding(Kind.WRONG_SIZE, where, detail, subject)
        elif row.blob:
            self.refs.add(row.blob, 1)
            held = self.blob_bytes(row.blob)
            if held is None:
                yield Finding(Kind.DANGLING, where, f"there is no blob {row.blob}", subject)
            elif held != blob_bytes_of(row):
                yield Finding(Kind.WRONG_SIZE, where, f"{row.size_bytes} bytes, but its blob {row.blob} has {held}", subject)
        elif row.size_bytes:
            yield Finding(Kind.DANGLING, where, f"{row.size_bytes} bytes, and neither blob nor manifest", subject)

    def blob_bytes(self, number: int) -> int | None:
        """The plaintext bytes of a blob, None if there is none, not even now."""
        held = self._sizes.get(number)
        if held:
            return held - 1
        placed = self._view.uploads.blob(number)
        return None if placed is None else placed.blob.location.plaintext_bytes

    def saw_lsn(self, lsn: int) -> None:
        """An LSN that is in use as the number of an upload or a release."""
        self._last_lsn = max(self._last_lsn, lsn)

    def _bucket_now(self, bucket_id: int) -> bool:
        return any(row.bucket_id == bucket_id for row in self._view.buckets("", "", 1 << 30))

    # ---- what it adds up to ----

    def blob_refs(self, row: BlobRow) -> Finding | None:
        """What is wrong with a blob's references, once every object and part has been put in."""
        counted = self.refs.get(row.number)
        if row.refs == counted:
            return None
        detail = f"{row.refs} references are stored, {counted} counted"
        return Finding(Kind.REFS, f"blob {row.number}", detail, ("blob", row.number), (row.refs,), (counted,))

    def manifest_refs(self) -> Iterator[Finding]:
        """Manifests whose references differ."""
        for number, row in self.manifests.items():
            counted = self._users[number]
            if row.refs != counted:
                detail = f"{row.refs} references are stored, {counted} counted"
                yield Finding(Kind.MANIFEST_REFS, f"manifest {number}", detail, ("manifest", number), (row.refs,), (counted,))

    def usage(self, stored: dict[int, tuple[int, int]]) -> Iterator[Finding]:
        """Buckets whose usage differs; `stored` holds the rows of `usage`."""
        for bucket_id, name in self.buckets.items():
            counted, held = self._usage.get(bucket_id, (0, 0)), stored.get(bucket_id, (0, 0))
            if counted != held:
                detail = f"{held[0]} objects of {held[1]} bytes are stored, {counted[0]} of {counted[1]} counted"
                yield Finding(Kind.USAGE, f"bucket {name}", detail, ("bucket", bucket_id), held, counted)
        for bucket_id in stored.keys() - self.buckets.keys():
            if not self._bucket_now(bucket_id):
                yield Finding(Kind.STRAY_ROW, f"usage of bucket {bucket_id}", "there is no such bucket", ("bucket", bucket_id))

    def live_bytes(self) -> Iterator[Finding]:
        """Segments whose live bytes differ."""
        for number, row in self.segments.items():
            counted = self._live[number]
            if row.live_bytes != counted:
                detail = f"{row.live_bytes} live bytes are stored, {counted} counted"
                yield Finding(Kind.LIVE_BYTES, f"segment {number}", detail, ("segment", number), (row.live_bytes,), (counted,))

    def counters(self, state: State, damaged: int) -> Iterator[Finding]:
        """The counters of the log, and the count of damaged blobs."""
        for what, counter, used in (
            ("LSN", state.applied_lsn, self._last_lsn),
            ("blob number", state.last_blob, self._last_blob),
            ("segment id", state.last_segment_id, self._last_segment),
            ("epoch", state.epoch, self._last_epoch),
        ):
            if counter < used:
                yield Finding(Kind.COUNTER, f"last {what}", f"{counter} is stored, {used} is in use", ("counter", 0))
        if damaged != self._damaged:
            detail = f"{damaged} damaged blobs are stored, {self._damaged} counted"
            yield Finding(Kind.DAMAGED_COUNT, "count of damaged blobs", detail, ("damaged", 0), (damaged,), (self._damaged,))
