"""What lies in a sample's span of a shard, once it is known to be whole."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.order.mixture import named
from sharding.errors import UserError
from sharding.foreign import sample as foreign
from sharding.format import mjpeg
from sharding.format.mjpeg import Array, Colours
from sharding.format.rows import FilmRow, IndexedRow, SampleRow
from sharding.format.shard import Meta, unpack
from sharding.format.turbojpeg import Region


class DamagedError(UserError):
    """A sample that is not what its sidecar says: cut short, changed, or of no use to the decoder."""


@dataclass(frozen=True)
class Span:
    """The bytes that were read for one sample: the sidecar's row, the shard's URL, and what lay there.

    `set`: the number of its set where several are mixed.
    """

    row: SampleRow
    url: str
    content: bytes
    set: int | None = None

    @property
    def name(self) -> str:
        """What a run knows it by: its key, which two of several sets may have in common."""
        return named(self.row.key, self.set)


class Turned(bytes):
    """What a film was turned to on its way here: a sample's span as an ordinary build writes it, for `Span.content`.

    `row` is what that build's sidecar would say of it; where the film cannot be turned, `fault` says why.
    """

    row: SampleRow
    fault: str | None = None

    @staticmethod
    def of(content: bytes, row: SampleRow, fault: str | None = None) -> "Turned":
        """Such content."""
        made = Turned(content)
        made.row, made.fault = row, fault
        return made


@dataclass(frozen=True)
class Sample:
    """One sample: the sidecar's row, the shard's URL, what its `.json` member says, and its Motion-JPEG blob.

    Of a film, or of an indexed tar, `blob` is the whole span, and `frames` what knows the frames in it.
    """

    row: SampleRow
    url: str
    meta: Meta
    blob: memoryview
    frames: foreign.Frames | None = None

    def decode(self, which: list[int], colours: Colours, region: Region, room: foreign.Room) -> Array:
        """Frames `which`, as `mjpeg.decode` has them. Raises ValueError where they are damaged."""
        size = self.meta.width, self.meta.height
        if self.frames is not None:
            return self.frames.decode(which, size, colours, region, room)
        return mjpeg.decode(self.blob, self.meta.offsets, which, size, colours, region, room)

    def pictures(self) -> Sequence[memoryview] | None:
        """Each frame as it is stored: a JPEG, or in an indexed tar perhaps another picture. None for a film."""
        if isinstance(self.frames, foreign.FilmFrames):
            return None
        if isinstance(self.frames, foreign.PictureFrames):
            return self.frames.pictures
        starts = self.meta.offsets
        ends = [*starts[1:], len(self.blob)]
        return [self.blob[start:end] for start, end in zip(starts, ends, strict=True)]


def checked(span: Span) -> Sample:
    """The sample in `span`, not copied. Raises `DamagedError` where it is not what its row says (`shard.unpack`)."""
    row, size = span.row, len(span.content)
    where = f"sample {row.key}, bytes {row.offset} to {row.offset + row.bytes}"
    if isinstance(span.content, Turned):
        return _turned(span.content, span.url, where)
    indexed = isinstance(row, IndexedRow)
    remedy = f"run blvnet-shard verify, and {'index again' if indexed else 'build --repair'}"
    if size < row.bytes:
        end = f"ends at byte {row.offset + size}, inside" if size else "ends before"
        raise DamagedError(f"{span.url}: {end} {where}; {remedy}")
    try:
        if isinstance(row, IndexedRow | FilmRow):
            return Sample(row, span.url, *_of_index(row, span.content))
        meta, blob = unpack(row, span.content)
    except ValueError as error:
        raise DamagedError(f"{span.url}: {where}: damaged, {error}; {remedy}") from None
    return Sample(row, span.url, meta, blob)


def _turned(content: Turned, url: str, where: str) -> Sample:
    if content.fault is not None:
        raise DamagedError(
            f"{url}: {where}: cannot be turned to JPEGs: {content.fault}; set data.films=decode"
        )
    meta, blob = unpack(content.row, content)
    return Sample(content.row, url, meta, blob)


def _of_index(row: IndexedRow | FilmRow, content: bytes) -> tuple[Meta, memoryview, foreign.Frames]:
    meta, frames = foreign.unpack(row, content)
    return meta, memoryview(content), frames
