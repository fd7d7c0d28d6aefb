"""What a shard is made of, video by video: JPEGs of their frames, or the films as they came."""

import io
from pathlib import Path
from typing import Any, BinaryIO, Protocol, cast

from sharding.archives.films import Films
from sharding.building import sample
from sharding.building.settings import Settings
from sharding.format.shard import Writer
from sharding.format.sidecar import Failure, JpegShard, Recipe, Sidecar
from sharding.lists.videos import Video
from sharding.workers import pool


class Packer(Protocol):
    """Writes the samples of a shard, one after another."""

    def add(self, video: Video, folder: Path | Films, report: pool.Report) -> None:
        """Append a video of `folder`; `report` hears when it is decoded. Raises what `sample.encode` does."""
        ...

    def finish(self) -> None:
        """Write the end of the shard."""
        ...

    def sidecar(self, name: str, failures: list[Failure], recipe: Recipe) -> Sidecar:
        """The sidecar of what was written."""
        ...


def packer(stream: BinaryIO, settings: Settings) -> Packer:
    """What writes a shard of these settings to `stream`."""
    return FilmPacker(stream, settings) if settings.store == "film" else JpegPacker(stream, settings)


class JpegPacker:
    """A sample is the JPEGs of a video's frames."""

    def __init__(self, stream: BinaryIO, settings: Settings) -> None:
        self._writer, self._settings = Writer(stream), settings

    def add(self, video: Video, folder: Path | Films, report: pool.Report) -> None:
        """Decode and encode a video, and append it."""
        meta, jpegs = sample.encode(video, folder, self._settings)
        report(None)
        with jpegs:
            self._writer.add(video.key, meta, jpegs, jpegs.bytes)

    def finish(self) -> None:
        """Write the end of the shard."""
        self._writer.finish()

    def sidecar(self, name: str, failures: list[Failure], recipe: Recipe) -> Sidecar:
        """The sidecar of what was written."""
        return self._writer.sidecar(name, failures, recipe)


class FilmPacker:
    """A sample is a video's film as it came. With `jpeg_hash` a shard of JPEGs is made beside it, and only hashed."""

    def __init__(self, stream: BinaryIO, settings: Settings) -> None:
        self._writer, self._settings = Writer(stream), settings
        self._jpegs = Writer(cast(BinaryIO, Nowhere())) if settings.jpeg_hash else None

    def add(self, video: Video, folder: Path | Films, report: pool.Report) -> None:
        """Decode a video to see that it can be used, and append it as it came."""
        kept = sample.keep(video, folder, self._settings)
        report(None)
        self._writer.add_film(video.key, kept.meta, kept.ending, kept.film)
        if self._jpegs is not None and kept.jpegs is not None:
            meta, jpegs = kept.jpegs
            with jpegs:
                self._jpegs.add(video.key, meta, jpegs, jpegs.bytes)

    def finish(self) -> None:
        """Write the end of the shard."""
        self._writer.finish()
        if self._jpegs is not None:
            self._jpegs.finish()

    def sidecar(self, name: str, failures: list[Failure], recipe: Recipe) -> Sidecar:
        """The sidecar of what was written."""
        made = self._jpegs
        jpeg = None if made is None else JpegShard(made.position, made.sha256)
        return self._writer.film_sidecar(name, failures, recipe, jpeg)


class Nowhere(io.RawIOBase):
    """Takes all that is written, and keeps nothing but its size."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def write(self, data: Any, /) -> int:
        self.bytes += len(data)
        return len(data)
