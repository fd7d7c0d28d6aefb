"""Samples of one lane, in the planned order, read from its shards in one sequential pass."""

import functools
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from isal import isal_zlib
from webdataset.tariterators import group_by_keys, tar_file_expander

from pipeline import plan
from sharding import storage
from sharding.errors import UserError
from sharding.manifest import Manifest
from sharding.shard import SampleRow, Sidecar, load_sidecar


@dataclass(frozen=True)
class Sample:
    """One sample: the sidecar's row, the content of its `.json` member, and its Motion-JPEG blob."""

    row: SampleRow
    meta: dict[str, Any]
    blob: bytes


OpenShard = Callable[[int, int, int], BinaryIO]
"""Opens shard number `shard` from byte `offset` up to byte `end`: the one way that bytes of shards come in."""


def open_in_store(manifest: Manifest, shard: int, offset: int, end: int) -> BinaryIO:
    """An `OpenShard`, after its manifest, that asks the store for these bytes and no others."""
    return storage.open_read(manifest.shard_url(shard), offset, end)


class LaneReader:
    """Iterates over the samples at positions `first`, `first + step`, ... of a lane.

    It opens the lane's shards in the middle where the lane, or the first position, begins there, reads on,
    and holds the samples whose turn has not come: about `order.window` of them at most. Bytes come through
    `open_shard`, by default from the store. Raises `UserError` for a shard that differs from what its sidecar or
    the manifest says.
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
            if piece.first + skipped == piece.stop:
                continue
            first, stop = piece.first + skipped, piece.stop
            for sample in read_rows(self._manifest, piece.shard, first, stop, self._open_shard):
                yield raw, sample
                raw += 1


def read_rows(
    manifest: Manifest, shard: int, first: int, stop: int, open_shard: OpenShard | None = None
) -> Iterator[Sample]:
    """Samples `first` to `stop` - 1 of a shard, in one ranged read, each checked against its CRC-32."""
    rows = _sidecar(manifest, shard).samples[first:stop]
    open_shard = open_shard or functools.partial(open_in_store, manifest)
    stream = open_shard(shard, rows[0].offset, rows[-1].offset + rows[-1].bytes)
    spans = (
        {"url": "", "stream": io.BytesIO(span)} for span in _spans(manifest.shard_url(shard), rows, stream)
    )
    members = group_by_keys(tar_file_expander(spans))
    for row, sample in zip(rows, members, strict=True):
        yield Sample(row, json.loads(sample["json"]), sample["mjpeg"])


def _spans(url: str, rows: list[SampleRow], stream: BinaryIO) -> Iterator[bytes]:
    """The part of the tar that each of `rows`, which lie next to one another, describes."""
    with stream:
        for row in rows:
            span = stream.read(row.bytes)
            where = f"sample {row.key}, bytes {row.offset} to {row.offset + row.bytes}"
            remedy = "run blvnet-shard verify, and build --repair"
            if len(span) < row.bytes:
                raise UserError(f"{url}: ends at byte {row.offset + len(span)}, inside {where}; {remedy}")
            if isal_zlib.crc32(span) != row.crc32:
                raise UserError(f"{url}: {where}: damaged, its CRC-32 differs from the sidecar's; {remedy}")
            yield span


def _sidecar(manifest: Manifest, shard: int) -> Sidecar:
    url = manifest.sidecar_url(shard)
    sidecar = load_sidecar(url)
    expected = manifest.shards[shard]
    if (sidecar.sha256, len(sidecar.samples)) != (expected.sha256, expected.samples):
        raise UserError(f"{url}: not the sidecar that the manifest was made from; run blvnet-shard finalize")
    return sidecar
