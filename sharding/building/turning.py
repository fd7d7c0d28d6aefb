"""Films of shards to the JPEGs that an ordinary build makes of them, wherever and whenever that is done."""

import functools
import json
import tempfile
from dataclasses import dataclass, fields

from sharding.archives.films import Film
from sharding.building.settings import Settings
from sharding.errors import UserError
from sharding.format.manifest import Manifest
from sharding.format.rows import FilmRow
from sharding.format.shard import Writer, unpack_film
from sharding.lists.videos import Video


@functools.cache
def versions() -> str:
    """What decides about pixels and JPEGs beside this program."""
    import av
    import simplejpeg

    libraries = (f"{name} {'.'.join(map(str, version))}" for name, version in av.library_versions.items())
    return ", ".join([f"PyAV {av.__version__}", *libraries, f"simplejpeg {simplejpeg.__version__}"])


def turning_of(split: Manifest) -> "Turning":
    """What turns the films of a split. Raises `UserError` where another version of this program has built it."""
    names = {field.name for field in fields(Settings)}
    known = {name: value for name, value in split.settings.items() if name in names}
    if known.get("pixels") != Settings.pixels:
        raise UserError(
            f"{split.root}: built with version {known.get('pixels')} of what makes pixels, and this program has "
            f"{Settings.pixels}; build it again, or set data.films=decode"
        )
    return Turning(Settings(**known).of_jpegs())


@dataclass(frozen=True)
class Turning:
    """Turns films to JPEGs as a build with these settings does."""

    settings: Settings

    def add(self, writer: Writer, row: FilmRow, span: bytes) -> str | None:
        """Append by `writer` what the sample of `row` becomes; or say why its film cannot be turned.

        Raises ValueError where `span` is not that sample, and `UserError` where this machine has no room.
        """
        from sharding.building import sample  # FFmpeg's libraries, which JPEGs do without
        from sharding.sources.fault import Unusable

        about, film = unpack_film(row, span)
        video = Video(row.key, film.name, row.label, about=sample.about(json.loads(bytes(film.text))))
        try:
            meta, jpegs = sample.encode_film(video, Film(bytes(film.content), film.name), self.settings)
        except Unusable as reason:
            return str(reason)
        except OSError as error:
            raise UserError(
                f"sample {row.key}: cannot be turned to JPEGs: {error.strerror} (long videos need room in "
                f"{tempfile.gettempdir()})"
            ) from error
        with jpegs:
            found = meta["frames"], meta["width"], meta["height"]
            if found != (row.frames, about.width, about.height):
                n, w, h = found
                return f"{n} frames of {w}x{h}, should be {row.frames} of {about.width}x{about.height}"
            writer.add(row.key, meta, jpegs, jpegs.bytes)
        return None
