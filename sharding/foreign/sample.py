"""What lies in the span of a sample of an indexed tar, for those who read it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from isal import isal_zlib

from sharding.foreign import headers
from sharding.format import mjpeg, shard
from sharding.format.mjpeg import Array, Colours
from sharding.format.shard import IndexedRow, Meta, SampleRow
from sharding.format.turbojpeg import Region

Room = Callable[[tuple[int, ...]], Array]


class Frames(Protocol):
    """The frames of a sample, encoded."""

    def decode(
        self, which: Sequence[int], size: tuple[int, int], colours: Colours, region: Region, room: Room
    ) -> Array:
        """As `mjpeg.decode` has it. Raises ValueError where they are damaged."""
        ...

    def each(self, which: Sequence[int], size: tuple[int, int]) -> Iterator[Array]:
        """Frames `which`, in ascending order, one at a time: RGB, as `decode` has them."""
        ...

    def check(self, size: tuple[int, int]) -> None:
        """Decode all of them. Raises ValueError where one is damaged, or not of `size`."""
        ...


def of_any(row: SampleRow, span: bytes) -> tuple[Meta, Frames]:
    """What is known of a sample of any shard set, built or indexed, and its frames, without a copy.

    Raises ValueError where `span` is not that sample.
    """
    if isinstance(row, IndexedRow):
        return unpack(row, span)
    meta, blob = shard.unpack(row, span)
    ends = [*meta.offsets[1:], len(blob)]
    return meta, JpegFrames([blob[start:end] for start, end in zip(meta.offsets, ends, strict=True)])


def unpack(row: IndexedRow, span: bytes) -> tuple[Meta, Frames]:
    """What is known of the sample of `row`, and its frames, without a copy.

    Raises ValueError where `span` is not that sample.
    """
    if isal_zlib.crc32(span) != row.crc32:
        raise ValueError("its CRC-32 differs")
    view = memoryview(span)
    meta = Meta(row.label, row.frames, [start for start, _ in row.parts], row.width, row.height)
    if row.kind == "film":
        ((start, size),) = row.parts
        return meta, FilmFrames(view[start : start + size], row.frames)
    return meta, PictureFrames([view[start : start + size] for start, size in row.parts])


@dataclass(frozen=True)
class JpegFrames:
    """A JPEG a frame, as shards that were built have them."""

    jpegs: list[memoryview]

    def decode(
        self, which: Sequence[int], size: tuple[int, int], colours: Colours, region: Region, room: Room
    ) -> Array:
        return mjpeg.decode_each(self.jpegs, which, size, colours, region, room)

    def each(self, which: Sequence[int], size: tuple[int, int]) -> Iterator[Array]:
        for number in which:
            yield mjpeg.decode_each(self.jpegs, [number], size)[0]

    def check(self, size: tuple[int, int]) -> None:
        for number, jpeg in enumerate(self.jpegs):
            mjpeg.check(number, jpeg, size)


@dataclass(frozen=True)
class PictureFrames:
    """A picture a frame, each JPEG, PNG or WebP, whatever their members are called."""

    pictures: list[memoryview]

    def decode(
        self, which: Sequence[int], size: tuple[int, int], colours: Colours, region: Region, room: Room
    ) -> Array:
        if all(headers.is_jpeg(self.pictures[i]) for i in which):
            return mjpeg.decode_each(self.pictures, which, size, colours, region, room)
        from sharding.foreign import pictures  # FFmpeg's libraries, which JPEGs do without

        return pictures.decode(self.pictures, which, size, colours, region, room)

    def each(self, which: Sequence[int], size: tuple[int, int]) -> Iterator[Array]:
        for number in which:
            yield self.decode([number], size, "RGB", Region(0, 0, *size), mjpeg.fresh)[0]

    def check(self, size: tuple[int, int]) -> None:
        for number, picture in enumerate(self.pictures):
            if headers.is_jpeg(picture):
                mjpeg.check(number, picture, size)
            else:
                self.decode([number], size, "RGB", Region(0, 0, *size), mjpeg.fresh)


@dataclass(frozen=True)
class FilmFrames:
    """A film of so many frames."""

    film: memoryview
    frames: int

    def decode(
        self, which: Sequence[int], size: tuple[int, int], colours: Colours, region: Region, room: Room
    ) -> Array:
        from sharding.foreign import films

        channels = 1 if colours == "GRAY" else 3
        out = room((len(which), region.height, region.width, channels))
        films.decode(bytes(self.film), which, size, colours, region, out)
        return out

    def each(self, which: Sequence[int], size: tuple[int, int]) -> Iterator[Array]:
        from sharding.foreign import films

        for _, picture in films.chosen(bytes(self.film), which, size, "RGB"):
            yield picture

    def check(self, size: tuple[int, int]) -> None:
        from sharding.foreign import films
        from sharding.sources.fault import Unusable

        try:
            found = films.look(bytes(self.film))
        except Unusable as reason:
            raise ValueError(str(reason)) from None
        if (found.frames, found.width, found.height) != (self.frames, *size):
            raise ValueError(
                f"{found.frames} frames of {found.width}x{found.height}, should be {self.frames} of {size[0]}x{size[1]}"
            )
