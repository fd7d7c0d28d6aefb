"""Where the shards of a split come from: what a source of shards is, and the one that asks the store."""

import io
from dataclasses import dataclass
from typing import BinaryIO, ClassVar, Protocol, cast

from sharding import storage
from sharding.format.manifest import Manifest
from sharding.format.shard import SampleRow, read_span


class Shards(Protocol):
    """Where the shards of a split come from, the one way that their bytes come in: the store, or a cache before it.

    Loader workers get a pickled copy.
    """

    @property
    def reads_to_the_end(self) -> bool:
        """Whether an epoch's last, partial batch is to be read although it is not used."""
        ...

    def rows(self, shard: int) -> list[SampleRow]:
        """What lies in shard number `shard`, from its sidecar."""
        ...

    def open(self, shard: int, rows: list[SampleRow]) -> BinaryIO:
        """The bytes of `rows`, which lie next to one another, to be read row by row; fewer where the shard ends."""
        ...


@dataclass(frozen=True)
class StoredShards:
    """The shards of a split in their store, which is asked for the bytes of the rows and no others."""

    reads_to_the_end: ClassVar[bool] = False

    manifest: Manifest

    def rows(self, shard: int) -> list[SampleRow]:
        """What lies in shard number `shard`."""
        return self.manifest.sidecar(shard).samples

    def open(self, shard: int, rows: list[SampleRow]) -> BinaryIO:
        """The bytes of these rows."""
        end = rows[-1].offset + rows[-1].bytes
        stream = storage.open_read(self.manifest.shard_url(shard), rows[0].offset, end)
        return cast(BinaryIO, _Spans(stream))


class _Spans(io.RawIOBase):
    """A stream that is read row by row, whatever their size."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream

    def read(self, size: int = -1, /) -> bytes:
        return read_span(self._stream, size)

    def close(self) -> None:
        self._stream.close()
        super().close()
