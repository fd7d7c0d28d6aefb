"""What lies in the span of a sample of an indexed tar, or of a shard of films, for those who read it."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from isal import isal_zlib

from sharding.foreign import headers
from sharding.format import mjpeg, shard
from sharding.format.mjpeg import Array, Colours
from sharding.format.rows import FilmRow, IndexedRow, SampleRow
from sharding.format.shard import Meta
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
    if isinstance(row, IndexedRow | FilmRow):
        return unpack(row, span)
    meta, blob = shard.unpack(row, span)
    ends = [*meta.offsets[1:], len(blob)]
    return meta, JpegFrames([blob[start:end] for start, end in zip(meta.offsets, ends, strict=True)])


def unpack(row: IndexedRow | FilmRow, span: bytes) -> tuple[Meta, Frames]:
    """What is known of the sample of `row`, and its frames, without a copy.

    Raises ValueError where `span` is not that sample.
    """
    if isinstance(row, FilmRow):
        about, film = shard.unpack_film(row, span)
        meta = Meta(row.label, row.frames, [0], about.width, about.height, about.fps, about.text)
        return meta, FilmFrames(film.content, row.frames, film.name)
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
    """A film of so many frames. One with a `name` was built into its shard: its frames are resized, others are not."""

    film: memoryview
    frames: int
    name: str | None = None

    def decode(
        self, which: Sequence[int], size: tuple[int, int], colours: Colours, region: Region, room: Room
    ) -> Array:
        from sharding.foreign import films

        channels = 1 if colours == "GRAY" else 3
        out = room((len(which), region.height, region.width, channels))
        films.decode(self._film(), which, size, colours, region, out, self._resized)
        return out

    def each(self, which: Sequence[int], size: tuple[int, int]) -> Iterator[Array]:
        from sharding.foreign import films

        for _, picture in films.chosen(self._film(), which, size, "RGB", self._resized):
            yield picture

    def check(self, size: tuple[int, int]) -> None:
        from sharding.foreign import films
        from sharding.sources.fault import Unusable

        try:
            found = films.look(self._film())
        except Unusable as reason:
            raise ValueError(str(reason)) from None
        if self._resized and found.frames != self.frames:
            raise ValueError(f"{found.frames} frames, should be {self.frames}")
        if not self._resized and (found.frames, found.width, found.height) != (self.frames, *size):
            raise ValueError(
                f"{found.frames} frames of {found.width}x{found.height}, should be {self.frames} of {size[0]}x{size[1]}"
            )

    @property
    def _resized(self) -> bool:
        return self.name is not None

    def _film(self) -> io.BytesIO:
        film = io.BytesIO(self.film)
        if self.name is not None:
            film.name = self.name  # FFmpeg looks at it as it would at a file's
        return film
