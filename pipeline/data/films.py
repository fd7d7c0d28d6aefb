"""Where the shards of a run come from; and films that are turned on their way to the JPEGs of an ordinary build.

The kept file of a turned shard is the ordinary build's tar, byte for byte, and behind it an entry for each of its
samples, with a SHA-256 over those.
"""

import hashlib
import io
import json
import struct
import sys
from dataclasses import replace
from itertools import accumulate
from typing import Any, BinaryIO, ClassVar, Literal, NamedTuple, cast

from pipeline.config import Data
from pipeline.data.cache import CachedShards, Fill, Kept, ShardCache
from pipeline.data.samples import Turned
from pipeline.data.shards import Shards, StoredShards
from sharding.building.turning import Turning, turning_of, versions
from sharding.errors import UserError
from sharding.format.manifest import Manifest
from sharding.format.rows import FilmRow, SampleRow
from sharding.format.shard import Writer

_ENTRY = struct.Struct("<QQI")
"""Of a sample in a kept file: where its film lies in the shard of films, the bytes of its JPEGs' span, their CRC-32."""
_DIGEST = hashlib.sha256().digest_size
_SPARE = 1.1
"""What is reserved for a shard whose size nobody knows, as a share of what its first samples make one expect."""


def shards_of(data: Data, split: Manifest) -> Shards:
    """Where the shards of `split` come from, as `data` asks for; see `source_of`."""
    cache = ShardCache(data.cache, int(data.cache_gb * 1e9)) if data.cache else None
    return source_of(split, cache, data.films)


def source_of(split: Manifest, cache: ShardCache | None, films: Literal["decode", "jpeg"]) -> Shards:
    """Where the shards of `split` come from: the `cache`, which turns `films` or not, or the store alone.

    Raises `UserError` where films are to be turned that another version of this program has built.
    """
    stored = StoredShards(split)
    if cache is None:
        return stored
    cached = CachedShards(stored, cache)
    return TurnedShards(cached) if films == "jpeg" and split.of_films else cached


def as_read(data: Data, split: Manifest) -> Manifest:
    """`split` with the bytes of what is read of it: of the JPEGs that films are turned to, where those are known."""
    turned = [row.becomes() for row in split.shards]
    if data.films == "decode" or not all(turned):
        return split
    return replace(split, bytes=sum(one.bytes for one in turned if one))


class TurnedShards:
    """The shards of a split of films as an ordinary build would have made them; see `pipeline.data.shards.Shards`.

    What is read is the same whatever the cache holds. A shard that is read from its first sample on is kept on the way.
    Of one that is begun in the middle, or that another process is just turning, every sample is turned for this reader
    alone. `films`: what gives the films.
    """

    reads_to_the_end: ClassVar[bool] = True

    def __init__(self, films: CachedShards) -> None:
        self.films = films
        self.turning = turning_of(films.stored.manifest)
        self._differs = False

    def rows(self, shard: int) -> list[SampleRow]:
        """What lies in a shard of films."""
        return self.films.rows(shard)

    def open(self, shard: int, rows: list[SampleRow]) -> BinaryIO:
        """The samples of these rows, each `Turned`; as it came where it is damaged, for others to tell."""
        name, about = self._name(shard), self.films.stored.manifest.shards[shard]
        if kept := self._kept(name, about.samples, rows):

            def turned(number: int) -> BinaryIO:
                return self.turned(shard, rows[number:])

            return cast(BinaryIO, Kept(self.films.cache, name, *kept, turned, Turned.of))
        size = (about.becomes() or about).bytes + _behind(about.samples)
        if rows[0].offset == 0 and not self._differs and (fill := self.films.cache.fill(name, size)):
            try:
                every = self.rows(shard)
                films = self.films.stored.open(shard, every)
            except BaseException:
                fill.abandon()
                raise
            return cast(BinaryIO, _Filling(self, shard, every, len(rows), films, fill))
        return self.turned(shard, rows)

    def turned(self, shard: int, rows: list[SampleRow]) -> BinaryIO:
        """The same, whether they are kept or not, and without keeping them."""
        return cast(BinaryIO, _Streamed(self.turning, rows, self.films.stored.open(shard, rows)))

    def agrees(self, shard: int, writer: Writer) -> bool:
        """Whether a shard was turned to what the build said. The first that was not is told, and none is kept then."""
        split = self.films.stored.manifest
        known = split.shards[shard].becomes()
        if known is None or (known.bytes, known.sha256) == (writer.position, writer.sha256):
            return True
        if not self._differs:
            text = (
                f"warning: {split.shard_url(shard)}: turned to JPEGs it has {writer.position} bytes and SHA-256 "
                f"{writer.sha256}, and its build says {known.bytes} and {known.sha256}; install the versions of PyAV "
                f"and simplejpeg that it was built with (here: {versions()}); turned shards are not kept"
            )
            print(text, file=sys.stderr, flush=True)
        self._differs = True
        return False

    def _name(self, shard: int) -> str:
        url = self.films.stored.manifest.shard_url(shard)
        settings = json.dumps(self.turning.settings.to_dict())
        return self.films.name(url, shard, f"\n{settings}\n{versions()}")

    def _kept(self, name: str, samples: int, rows: list[SampleRow]) -> "_Place | None":
        """The kept file of so many samples, at the first of `rows`, and what lies in it from there on.

        None where there is no sound one.
        """
        cache = self.films.cache
        if (file := cache.open(name)) is None:
            return None
        behind = _behind(samples)
        size = file.seek(0, io.SEEK_END)
        file.seek(max(size - behind, 0))
        content = cache.read(file, behind)
        entries, digest = content[:-_DIGEST], content[-_DIGEST:]
        if len(content) < behind or hashlib.sha256(entries).digest() != digest:
            file.close()
            cache.drop(name)
            return None
        found = list(_ENTRY.iter_unpack(entries))
        starts = list(accumulate((size for _, size, _ in found), initial=0))
        first = [offset for offset, _, _ in found].index(rows[0].offset)
        file.seek(starts[first])
        made = [
            SampleRow(row.key, start, size, crc32, row.label, row.frames)
            for row, start, (_, size, crc32) in zip(rows, starts[first:], found[first:], strict=False)
        ]
        return _Place(file, made)


def _behind(samples: int) -> int:
    """The bytes behind the tar of so many samples in a kept file."""
    return samples * _ENTRY.size + _DIGEST


class _Place(NamedTuple):
    """A kept file, and what lies in it from where it stands."""

    file: BinaryIO
    rows: list[SampleRow]


class Turner:
    """Turns samples of a shard one after another, and knows afterwards what an ordinary build would have written."""

    def __init__(self, turning: Turning) -> None:
        self._turning, self._spans = turning, _Collector()
        self.writer = Writer(cast(BinaryIO, self._spans))

    def turned(self, row: SampleRow, span: bytes) -> bytes:
        """The sample of `row`, `Turned`; as it came where it is damaged."""
        assert isinstance(row, FilmRow)
        try:
            fault = self._turning.add(self.writer, row, span)
        except ValueError:
            return span
        if fault is not None:
            return Turned.of(b"", row, fault)
        return Turned.of(self._spans.take(), self.writer.rows[-1])

    def end(self) -> bytes:
        """The end of the shard."""
        self.writer.finish()
        return self._spans.take()


class _Collector(io.RawIOBase):
    """Holds what a `Writer` writes until it is taken."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: list[bytes] = []

    def write(self, data: Any, /) -> int:
        self._pieces.append(data)
        return len(data)

    def take(self) -> bytes:
        """All of it, which is then forgotten."""
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


class _Streamed(io.RawIOBase):
    """Films that are read row by row, each turned."""

    def __init__(self, turning: Turning, rows: list[SampleRow], films: BinaryIO) -> None:
        super().__init__()
        self._turning, self._rows, self._films = turning, iter(rows), films

    def read(self, size: int = -1, /) -> bytes:
        return Turner(self._turning).turned(next(self._rows), self._films.read(size))

    def close(self) -> None:
        self._films.close()
        super().close()


class _Filling(io.RawIOBase):
    """The same from the start of a shard, of which `count` samples are asked for; behind those the rest is turned too,
    and the shard is kept, unless one of its samples cannot be turned."""

    def __init__(
        self,
        shards: TurnedShards,
        shard: int,
        every: list[SampleRow],
        count: int,
        films: BinaryIO,
        fill: Fill,
    ) -> None:
        super().__init__()
        self._shards, self._shard, self._every, self._count = shards, shard, every, count
        self._films, self._fill = films, fill
        self._turner, self._read = Turner(shards.turning), 0

    def read(self, size: int = -1, /) -> bytes:
        made = self._next(size)
        if self._read == self._count:
            try:
                while self._read < len(self._every) and self._fill.is_open:
                    self._next(self._every[self._read].bytes)
            except UserError:  # the rest is not this reader's
                self._fill.abandon()
            self._finish()
        return made

    def _next(self, size: int) -> bytes:
        row = self._every[self._read]
        made = self._turner.turned(row, self._films.read(size))
        self._read += 1
        if isinstance(made, Turned) and made.fault is None:
            self._keep(made)
        else:
            self._fill.abandon()
        return made

    def _keep(self, content: bytes) -> None:
        """Write what comes next of the shard, for which room is taken before."""
        fill = self._fill
        if fill.is_open and (needed := fill.written + len(content)) > fill.size:
            expected = needed + int(_SPARE * needed * (len(self._every) - self._read) / self._read)
            if not (fill.resize(expected) or fill.resize(needed)):
                fill.abandon()
        fill.write(content)

    def _finish(self) -> None:
        if not self._fill.is_open:
            return
        end = self._turner.end()
        if not self._shards.agrees(self._shard, self._turner.writer):
            self._fill.abandon()
            return
        made = zip(self._every, self._turner.writer.rows, strict=True)
        entries = b"".join(_ENTRY.pack(film.offset, row.bytes, row.crc32) for film, row in made)
        self._keep(end + entries + hashlib.sha256(entries).digest())
        if self._fill.resize(self._fill.written):
            self._fill.commit()

    def close(self) -> None:
        self._fill.abandon()  # unless it is kept by now
        self._films.close()
        super().close()
