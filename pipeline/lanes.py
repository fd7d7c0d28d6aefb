"""Samples of one lane, in the planned order, read from its shards in one sequential pass."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from isal import isal_zlib

from pipeline import plan
from sharding import storage
from sharding.errors import UserError
from sharding.manifest import Manifest
from sharding.shard import SampleRow, Sidecar, load_sidecar


@dataclass(frozen=True)
class Sample:
    """One sample as it lies in its shard: the sidecar's row, and the span of the tar that it describes."""

    row: SampleRow
    span: bytes


class LaneReader:
    """Iterates over the samples at positions `first`, `first + step`, ... of a lane.

    It opens the lane's shards in the middle where the lane, or the first position, begins there, reads on,
    and holds the samples whose turn has not come: about `order.window` of them at most. Raises
    `UserError` for a shard that differs from what its sidecar or the manifest says.
    """

    def __init__(
        self, manifest: Manifest, order: plan.Order, epoch: int, lane: int, first: int = 0, step: int = 1
    ) -> None:
        self._manifest = manifest
        sizes = np.array([shard.samples for shard in manifest.shards])
        self._pieces = plan.lane_pieces(sizes, order, epoch, lane)
        length = plan.lane_length(manifest.samples, order.lanes, lane)
        self._sequence = plan.lane_order(length, order, epoch, lane)[first::step]

    def __iter__(self) -> Iterator[Sample]:
        if len(self._sequence) == 0:
            return
        wanted = set(self._sequence.tolist())
        raw_samples = self._raw_samples(start=min(wanted))
        held: dict[int, Sample] = {}
        for raw in self._sequence.tolist():
            while raw not in held:
                number, sample = next(raw_samples)
                if number in wanted:
                    held[number] = sample
            yield held.pop(raw)

    def _raw_samples(self, start: int) -> Iterator[tuple[int, Sample]]:
        """The lane's samples in raw order, each with its raw index, from index `start` on."""
        raw = 0
        for piece in self._pieces:
            skipped = min(max(start - raw, 0), piece.stop - piece.first)
            raw += skipped
            for sample in read_rows(self._manifest, piece.shard, piece.first + skipped, piece.stop):
                yield raw, sample
                raw += 1


def read_rows(manifest: Manifest, shard: int, first: int, stop: int) -> Iterator[Sample]:
    """Samples `first` to `stop` - 1 of a shard, in one ranged read, each checked against its CRC-32."""
    if first == stop:
        return
    url = manifest.shard_url(shard)
    rows = _sidecar(manifest, shard).samples[first:stop]
    with storage.open_read(url, rows[0].offset) as stream:
        for row in rows:
            span = stream.read(row.bytes)
            if len(span) < row.bytes:
                raise UserError(
                    f"{url}: ends at byte {row.offset + len(span)}, inside sample {row.key}; "
                    "run blvnet-shard verify and rebuild the shard"
                )
            if isal_zlib.crc32(span) != row.crc32:
                raise UserError(
                    f"{url}: sample {row.key} (bytes {row.offset} to {row.offset + row.bytes}) differs from "
                    "its CRC-32; run blvnet-shard verify and rebuild the shard"
                )
            yield Sample(row, span)


def _sidecar(manifest: Manifest, shard: int) -> Sidecar:
    url = manifest.sidecar_url(shard)
    sidecar = load_sidecar(url)
    expected = manifest.shards[shard]
    if (sidecar.sha256, len(sidecar.samples)) != (expected.sha256, expected.samples):
        raise UserError(f"{url}: not the sidecar that the manifest was made from; run blvnet-shard finalize")
    return sidecar
