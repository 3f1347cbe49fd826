"""The reference's parts, uploads and manifests. Manifests are told apart by which they are, not by what is in them: objects share them."""

from dataclasses import dataclass, field
from typing import NamedTuple


class Piece(NamedTuple):
    """`length` bytes of a blob, from `first`."""

    blob: int
    first: int
    length: int


class Part(NamedTuple):
    """A part's bytes, and where they lie."""

    body: bytes
    pieces: tuple[Piece, ...]

    def __repr__(self) -> str:
        return f"Part({len(self.body)} bytes, {self.pieces})"


@dataclass(eq=False)
class Manifest:
    """Parts of an object by number, in order, and those that its upload's completion left out and that have not gone yet."""

    listed: dict[int, Part]
    left_out: dict[int, Part] = field(default_factory=dict)


@dataclass(eq=False)
class Upload:
    """An open upload; `changed_ms` is when it began or its last part came, by the engine's clock."""

    bucket: str
    key: bytes
    number: int
    tag: str
    changed_ms: int
    parts: dict[int, Part] = field(default_factory=dict)
