"""Samples of one lane, in the planned order, each read from its shard once."""

import functools
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

from pipeline import plan
from pipeline.samples import Span
from sharding import storage
from sharding.errors import UserError
from sharding.manifest import Manifest
from sharding.shard import SampleRow, load_sidecar

OpenShard = Callable[[int, int, int], BinaryIO]
"""Opens shard number `shard` from byte `offset` up to byte `end`: the one way that bytes of shards come in."""

_SIDECARS = 8  # of a lane that are kept: the early samples after a resume lie scattered over a window


def open_in_store(manifest: Manifest, shard: int, offset: int, end: int) -> BinaryIO:
    """An `OpenShard`, after its manifest, that asks the store for these bytes and no others."""
    return storage.open_read(manifest.shard_url(shard), offset, end)


class LaneReader:
    """Iterates over the samples at positions `first`, `first + step`, ... of a lane.

    It reads the lane's shards in one pass and holds the samples whose turn has not come, `order.window` of them at
    most. The pass begins behind all that earlier positions used: what they left behind (after a resume) is fetched
    sample by sample when its turn comes. So nothing is read twice, and the first sample comes at once.

    Bytes come through `open_shard`, by default from the store, unchecked (see `pipeline.samples.checked`). Raises
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
        open_shard: OpenShard | None = None,
    ) -> None:
        self._manifest = manifest
        self._open_shard = open_shard or functools.partial(open_in_store, manifest)
        self._rows = functools.lru_cache(_SIDECARS)(functools.partial(_rows, manifest))
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
            with self._open_shard(piece.shard, rows[0].offset, rows[-1].offset + rows[-1].bytes) as stream:
                for i, row in enumerate(rows):
                    yield raw + i, Span(row, url, stream.read(row.bytes))


def _rows(manifest: Manifest, shard: int) -> list[SampleRow]:
    """The sidecar's rows of a shard."""
    url = manifest.sidecar_url(shard)
    sidecar = load_sidecar(url)
    expected = manifest.shards[shard]
    if (sidecar.sha256, len(sidecar.samples)) != (expected.sha256, expected.samples):
        raise UserError(f"{url}: not the sidecar that the manifest was made from; run blvnet-shard finalize")
    return sidecar.samples
