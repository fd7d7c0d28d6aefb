"""The rows of a sidecar: where each sample lies, in a shard that was built, a shard of films, or a tar of others."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from sharding.format import header, schema
from sharding.format.keys import foreign_key_fault, key_fault


def _sound_key(key: str) -> str:
    if fault := key_fault(key):
        raise ValueError(fault)
    return key


def _sound_foreign_key(key: str) -> str:
    if fault := foreign_key_fault(key):
        raise ValueError(fault)
    return key


ForeignKey = Annotated[str, AfterValidator(_sound_foreign_key)]
Key = Annotated[str, AfterValidator(_sound_key)]
Count = Annotated[int, Field(ge=0, lt=1 << 53)]
Positive = Annotated[int, Field(ge=1, lt=1 << 53)]
Label = Annotated[Count | tuple[Count, ...], Field(union_mode="left_to_right")]
"""The index of a sample's class; where a set has several labels a sample, all of them, ascending."""
Side = Annotated[int, Field(ge=1, le=header.MAX_SIDE)]


@dataclass(frozen=True)
class SampleRow:
    """Where a sample lies in the tar (bytes), the CRC-32 (zlib's) of that span, its label and number of frames."""

    __pydantic_config__ = schema.EXACT

    key: Key
    offset: Count
    bytes: Positive
    crc32: Annotated[int, Field(ge=0, lt=1 << 32)]
    label: Label | None
    frames: Positive


@dataclass(frozen=True)
class IndexedRow(SampleRow):
    """A sample of a tar that others made. Its span begins where the one before ends, and ends with its last member.

    `parts`: where in the span each picture lies, (first byte, bytes), in the order of frames; or its one film.
    `width` and `height` of a frame as it is decoded, in pixels.
    """

    __pydantic_config__ = schema.EXACT

    key: ForeignKey
    kind: Literal["pictures", "film"]
    width: Side
    height: Side
    parts: schema.Rows[tuple[Count, Positive]]

    def fault(self) -> str | None:
        """What in it cannot be true of any sample, or None."""
        if len(self.parts) != (self.frames if self.kind == "pictures" else 1):
            return f"{len(self.parts)} parts for {self.frames} frames"
        if any(start + size > self.bytes for start, size in self.parts):
            return f"a part of it ends behind its {self.bytes} bytes"
        return header.size_fault(self.width, self.height)


@dataclass(frozen=True)
class FilmRow(SampleRow):
    """A sample that is a film as it came; `frames` are those that it decodes to."""

    __pydantic_config__ = schema.EXACT
