"""Samples of one lane, in the planned order, each read from its shard once."""

from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import NamedTuple

import numpy as np

from pipeline.data.samples import Span
from pipeline.data.shards import KeptSidecars, Shards, StoredShards
from pipeline.order import mixture, plan
from pipeline.order.plan import Indices
from sharding.format.manifest import Manifest


class Source(NamedTuple):
    """A shard set to read from: its split, and where its bytes come from."""

    split: Manifest
    shards: Shards


def epoch_of(
    manifest: Manifest,
    order: plan.Order,
    number: int,
    mixed: Sequence[Manifest] = (),
    shares: Sequence[int] = (),
) -> mixture.Epoch:
    """What all lanes of epoch number `number` have in common; `mixed`: further sets, which give `shares` an epoch."""
    sizes = [np.array([shard.samples for shard in split.shards]) for split in (manifest, *mixed)]
    return mixture.epoch(sizes, [manifest.samples, *shares], order, number)


class LaneReader:
    """Iterates over the samples at positions `first`, `first + step`, ... of a lane.

    It reads the lane's shards in one pass and holds the samples whose turn has not come, a lane's window of them at
    most. The pass begins behind all that earlier positions used: what they left behind (after a resume) is fetched
    sample by sample when its turn comes. So nothing is read twice, and the first sample comes at once.

    Bytes come from `shards`, by default the store, unchecked (see `pipeline.data.samples.checked`). Raises
    `UserError` for a shard that is missing or has a strange sidecar. `number` is the lane's, `length` the whole lane's.
    Lanes of one process share `epoch` and `shards`. Of several sets, `mixed` are those behind the first; each is read
    in a pass of its own.
    """

    def __init__(
        self,
        manifest: Manifest,
        epoch: mixture.Epoch,
        lane: int,
        first: int = 0,
        step: int = 1,
        shards: Shards | None = None,
        mixed: Sequence[Source] = (),
    ) -> None:
        own = Source(manifest, shards or KeptSidecars(StoredShards(manifest), lanes=1))
        self._sources = [own, *mixed]
        self._lane = mixture.lane(epoch, lane)
        self.number, self.length = lane, len(self._lane.sets)
        self._first, self._step = first, step

    def __iter__(self) -> Iterator[Span]:
        sets = self._lane.sets
        coming = np.arange(len(sets)) >= self._first
        mine = np.arange(len(sets)) % self._step == self._first % self._step
        strands = []
        for i, strand in enumerate(self._lane.strands):
            of_set = sets == i
            used, sequence = (strand.order[(mine & when)[of_set]] for when in (~coming, coming))
            strands.append(begun(self._strand(i, plan.front(used), sequence)))
        if len(strands) == 1:
            yield from strands[0]
            return
        for i in sets[self._first :: self._step].tolist():
            yield next(strands[i])

    def at(self, position: int) -> Span:
        """The sample at any position of the lane, by a read of its own."""
        i = int(self._lane.sets[position])
        place = np.count_nonzero(self._lane.sets[:position] == i)
        return self._fetch(i, int(self._lane.strands[i].order[place]))

    def _strand(self, i: int, front: int, sequence: Indices) -> Iterator[Span]:
        """The samples of set `i` with the raw indices `sequence`, in one pass from `front` on."""
        if len(sequence) == 0:
            return
        wanted = np.zeros(len(self._lane.strands[i].order), bool)
        wanted[sequence] = True
        ahead = self._read(i, front, int(sequence.max()) + 1)
        held: dict[int, Span] = {}
        for raw in sequence.tolist():
            if raw < front:
                yield self._fetch(i, raw)
                continue
            while raw not in held:
                number, span = next(ahead)
                if wanted[number]:
                    held[number] = span
            yield held.pop(raw)

    def _fetch(self, i: int, raw: int) -> Span:
        ((_, span),) = self._read(i, raw, raw + 1)
        return span

    def _read(self, i: int, start: int, stop: int) -> Iterator[tuple[int, Span]]:
        """The samples of set `i` with raw indices `start` to `stop` - 1, each with that, in one read a shard."""
        split, shards = self._sources[i]
        of = i if len(self._sources) > 1 else None
        for raw, piece in plan.cut(self._lane.strands[i].pieces, start, stop):
            rows = shards.rows(piece.shard)[piece.first : piece.stop]
            url = split.shard_url(piece.shard)
            with shards.open(piece.shard, rows) as stream:
                for k, row in enumerate(rows):
                    yield raw + k, Span(row, url, stream.read(row.bytes), of)


def begun(spans: Iterator[Span]) -> Iterator[Span]:
    """`spans`, of which the first one is there already: opened ahead of its turn."""
    # An iterator lets go of its list at the end, where `chain` would keep the list and the sample in it for the epoch.
    return chain(iter(list(islice(spans, 1))), spans)
