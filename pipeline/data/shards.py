"""Where the shards of a split come from: what a source of shards is, and the one that asks the store."""

import io
import threading
from concurrent.futures import Future
from dataclasses import dataclass
from typing import BinaryIO, ClassVar, Protocol, cast

from sharding import storage
from sharding.format.manifest import Manifest
from sharding.format.rows import SampleRow
from sharding.format.shard import read_span

# That are kept: the early samples after a resume lie scattered over a lane's window, which may be of several shards.
_SIDECARS, _SIDECARS_A_LANE = 6, 2


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


class KeptSidecars:
    """`shards` whose sidecars are kept, those used last, for so many `lanes` in several threads.

    Two lanes that meet in a shard, and two that ask at the same time, cost one request.
    """

    def __init__(self, shards: Shards, lanes: int) -> None:
        self._shards, self._most = shards, _SIDECARS + _SIDECARS_A_LANE * lanes
        self._asked: dict[int, Future[list[SampleRow]]] = {}
        self._lock = threading.Lock()

    @property
    def reads_to_the_end(self) -> bool:
        """That of `shards`."""
        return self._shards.reads_to_the_end

    def rows(self, shard: int) -> list[SampleRow]:
        """What lies in a shard."""
        with self._lock:
            found = self._asked.pop(shard, None)
            asked: Future[list[SampleRow]] = found or Future()
            self._asked[shard] = asked  # now the last one
            if len(self._asked) > self._most:
                del self._asked[next(iter(self._asked))]
        if found is None:
            try:
                asked.set_result(self._shards.rows(shard))
            except BaseException as error:
                with self._lock:
                    self._asked.pop(shard, None)
                asked.set_exception(error)
        return asked.result()

    def open(self, shard: int, rows: list[SampleRow]) -> BinaryIO:
        """Its bytes."""
        return self._shards.open(shard, rows)
