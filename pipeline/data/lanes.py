"""Samples of one lane, in the planned order, each read from its shard once."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, ClassVar, Protocol

import numpy as np

from pipeline.data.samples import Span
from pipeline.order import plan
from sharding import storage
from sharding.errors import UserError
from sharding.format.manifest import Manifest
from sharding.format.shard import SampleRow, parse_sidecar

_SIDECARS = 8  # of a lane that are kept: the early samples after a resume lie scattered over a window


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
        return rows_in(self.manifest, shard, storage.read_bytes(self.manifest.sidecar_url(shard)))

    def open(self, shard: int, rows: list[SampleRow]) -> BinaryIO:
        """The bytes of these rows."""
        end = rows[-1].offset + rows[-1].bytes
        return storage.open_read(self.manifest.shard_url(shard), rows[0].offset, end)


def rows_in(manifest: Manifest, shard: int, data: bytes) -> list[SampleRow]:
    """The rows in `data`, the sidecar of a shard. `UserError` where it is another one's."""
    url = manifest.sidecar_url(shard)
    sidecar = parse_sidecar(url, data)
    expected = manifest.shards[shard]
    if (sidecar.sha256, len(sidecar.samples)) != (expected.sha256, expected.samples):
        raise UserError(f"{url}: not the sidecar that the manifest was made from; run blvnet-shard finalize")
    return sidecar.samples


class LaneReader:
    """Iterates over the samples at positions `first`, `first + step`, ... of a lane.

    It reads the lane's shards in one pass and holds the samples whose turn has not come, `order.window` of them at
    most. The pass begins behind all that earlier positions used: what they left behind (after a resume) is fetched
    sample by sample when its turn comes. So nothing is read twice, and the first sample comes at once.

    Bytes come from `shards`, by default the store, unchecked (see `pipeline.data.samples.checked`). Raises
    `UserError` for a shard that is missing or has a strange sidecar. `number` is the lane's, `length` the whole lane's.
    """

    def __init__(
        self,
        manifest: Manifest,
        order: plan.Order,
        epoch: int,
        lane: int,
        first: int = 0,
        step: int = 1,
        shards: Shards | None = None,
    ) -> None:
        self._manifest = manifest
        self._shards = shards or StoredShards(manifest)
        self._rows = functools.lru_cache(_SIDECARS)(self._shards.rows)
        sizes = np.array([shard.samples for shard in manifest.shards])
        self._pieces = plan.lane_pieces(sizes, order, epoch, lane)
        self.number, self.length = lane, plan.lane_length(manifest.samples, order.lanes, lane)
        self._order = plan.lane_order(self.length, order, epoch, lane)
        self._first, self._step = first, step

    def __iter__(self) -> Iterator[Span]:
        sequence = self._order[self._first :: self._step]
        if len(sequence) == 0:
            return
        front = plan.front(self._order, self._first, self._step)
        wanted = np.zeros(self.length, bool)
        wanted[sequence] = True
        ahead = self._read(front, int(sequence.max()) + 1)
        held: dict[int, Span] = {}
        for raw in sequence.tolist():
            if raw < front:
                yield self._fetch(raw)
                continue
            while raw not in held:
                number, span = next(ahead)
                if wanted[number]:
                    held[number] = span
            yield held.pop(raw)

    def at(self, position: int) -> Span:
        """The sample at any position of the lane, by a read of its own."""
        return self._fetch(int(self._order[position]))

    def _fetch(self, raw: int) -> Span:
        ((_, span),) = self._read(raw, raw + 1)
        return span

    def _read(self, start: int, stop: int) -> Iterator[tuple[int, Span]]:
        """The samples with raw indices `start` to `stop` - 1, each with its raw index, in one read a shard."""
        for raw, piece in plan.cut(self._pieces, start, stop):
            rows = self._rows(piece.shard)[piece.first : piece.stop]
            url = self._manifest.shard_url(piece.shard)
            with self._shards.open(piece.shard, rows) as stream:
                for i, row in enumerate(rows):
                    yield raw + i, Span(row, url, stream.read(row.bytes))
