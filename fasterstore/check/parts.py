"""Checking uploads, parts, manifests and releases: every part belongs to one thing, every manifest to its map, every release to what goes.

The rules are those that the fold keeps (`metadata/fold_uploads.py`): parts carry the number of their upload, which becomes that of the
manifest; what nothing uses stands in `releases` until its last part has gone.
"""

from collections.abc import Iterator

from fasterstore.check.finding import Finding, Kind
from fasterstore.check.references import References
from fasterstore.metadata.index import IndexView
from fasterstore.metadata.upload_schema import Release, Unused
from fasterstore.model import ManifestRow, PartRow, UploadRow


class Parts:
    """Put in uploads and releases, then every part in order, then call `rest`."""

    def __init__(self, view: IndexView, references: References) -> None:
        self._view = view
        self._references = references
        self._uploads: dict[int, UploadRow] = {}
        self._releases: dict[int, Release] = {}
        self._held: dict[int, int] = {}
        """Sizes of the parts of the number that is being read."""
        self._number = 0
        self._seen: set[int] = set()

    def upload(self, row: UploadRow) -> Iterator[Finding]:
        """An open upload."""
        self._uploads[row.number] = row
        self._references.saw_lsn(row.version)
        if row.version < row.number:
            yield _stray(row.number, f"upload {row.number} is of version {row.version}, before it began")

    def release(self, row: Release) -> None:
        """What is to go."""
        self._releases[row.number] = row

    def part(self, number: int, row: PartRow) -> Iterator[Finding]:
        """A part, in order of (number, part)."""
        if number != self._number:
            yield from self._close()
            self._number = number
        self._held[row.number] = row.size_bytes
        where = f"part {row.number} of {number}"
        if row.size_bytes != sum(piece.length for piece in row.slices):
            yield Finding(Kind.WRONG_SIZE, where, f"{row.size_bytes} bytes, and its slices differ", ("manifest", number))
        for piece in row.slices:
            self._references.refs.add(piece.blob, 1)
            held = self._references.blob_bytes(piece.blob)
            if held is None:
                yield Finding(Kind.DANGLING, where, f"there is no blob {piece.blob}", ("manifest", number))
            elif piece.first < 0 or piece.length <= 0 or piece.first + piece.length > held:
                detail = f"bytes {piece.first} to {piece.first + piece.length} of blob {piece.blob}, which has {held}"
                yield Finding(Kind.WRONG_SIZE, where, detail, ("manifest", number))

    def rest(self) -> Iterator[Finding]:
        """What is left to say once every part has been read."""
        yield from self._close()
        for number, row in self._references.manifests.items():
            if number not in self._seen:
                yield from self._manifest(row, {})
        for number, upload in self._uploads.items():
            release = self._releases.get(upload.bucket_id)
            orphan = release is not None and release.what is Unused.UPLOADS
            if upload.bucket_id not in self._references.buckets and not orphan:
                yield _stray(number, f"upload {number} is in bucket {upload.bucket_id}, which is not there")
            if number in self._references.manifests or number in self._releases:
                yield _stray(number, f"{number} is an open upload and something else, too")
        for number, release in self._releases.items():
            if release.what is Unused.UNLISTED and number not in self._references.manifests:
                yield _stray(number, f"parts of manifest {number} are to go, and there is no such manifest")
            if release.what is Unused.UPLOADS and number in self._references.buckets:
                yield _stray(number, f"the uploads of bucket {number} are to go, and the bucket is there")

    def _close(self) -> Iterator[Finding]:
        held, number = self._held, self._number
        self._held = {}
        if not number:
            return
        self._seen.add(number)
        manifest = self._references.manifests.get(number)
        if manifest is not None:
            yield from self._manifest(manifest, held)
        elif number not in self._uploads and number not in self._releases:
            yield _stray(number, f"{len(held)} parts of {number}, which is neither upload nor manifest nor to go")
        release = self._releases.get(number)
        if release is not None and release.what is Unused.PARTS and min(held) <= release.after:
            yield _stray(number, f"part {min(held)} of {number} should have gone, {release.after} is behind it")

    def _manifest(self, row: ManifestRow, held: dict[int, int]) -> Iterator[Finding]:
        number = row.number
        release = self._releases.get(number)
        if (row.refs == 0) != (release is not None and release.what is Unused.PARTS):
            yield _stray(number, f"manifest {number} has {row.refs} references, and is {'' if release else 'not '}to go")
        part_map = self._view.uploads.part_map(number)
        if part_map is None:
            yield Finding(Kind.DANGLING, f"manifest {number}", "it has no map", ("manifest", number))
            return
        items = part_map.items
        if (row.size_bytes, row.part_count) != (part_map.size_bytes, len(items)):
            detail = f"{row.part_count} parts of {row.size_bytes} bytes; its map has {len(items)} of {part_map.size_bytes}"
            yield Finding(Kind.WRONG_SIZE, f"manifest {number}", detail, ("manifest", number))
        if not row.refs:
            return
        start = 0
        for item in items:
            if held.get(item.part) != item.end - start:
                detail = f"part {item.part} has {held.get(item.part, 'no')} bytes, in the map {item.end - start}"
                yield Finding(Kind.WRONG_SIZE, f"manifest {number}", detail, ("manifest", number))
            start = item.end


def _stray(number: int, detail: str) -> Finding:
    return Finding(Kind.STRAY_ROW, f"number {number}", detail, ("manifest", number))
