"""Samples of one lane, in the planned order, each read from its shard once."""

from collections.abc import Iterator

import numpy as np

from pipeline.data.samples import Span
from pipeline.data.shards import KeptSidecars, Shards, StoredShards
from pipeline.order import plan
from sharding.format.manifest import Manifest


def epoch_of(manifest: Manifest, order: plan.Order, number: int) -> plan.Epoch:
    """What all lanes of epoch number `number` have in common."""
    return plan.raw_sequence(np.array([shard.samples for shard in manifest.shards]), order, number)


class LaneReader:
    """Iterates over the samples at positions `first`, `first + step`, ... of a lane.

    It reads the lane's shards in one pass and holds the samples whose turn has not come, a lane's window of them at
    most. The pass begins behind all that earlier positions used: what they left behind (after a resume) is fetched
    sample by sample when its turn comes. So nothing is read twice, and the first sample comes at once.

    Bytes come from `shards`, by default the store, unchecked (see `pipeline.data.samples.checked`). Raises
    `UserError` for a shard that is missing or has a strange sidecar. `number` is the lane's, `length` the whole lane's.
    Lanes of one process share `epoch` and `shards`.
    """

    def __init__(
        self,
        manifest: Manifest,
        epoch: plan.Epoch,
        lane: int,
        first: int = 0,
        step: int = 1,
        shards: Shards | None = None,
    ) -> None:
        self._manifest = manifest
        self._shards = shards or KeptSidecars(StoredShards(manifest), lanes=1)
        self._pieces = plan.lane_pieces(epoch, lane)
        self.number, self.length = lane, plan.lane_length(epoch.samples, epoch.order.lanes, lane)
        self._order = plan.lane_order(self.length, epoch.order, epoch.number, lane)
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
            rows = self._shards.rows(piece.shard)[piece.first : piece.stop]
            url = self._manifest.shard_url(piece.shard)
            with self._shards.open(piece.shard, rows) as stream:
                for i, row in enumerate(rows):
                    yield raw + i, Span(row, url, stream.read(row.bytes))
