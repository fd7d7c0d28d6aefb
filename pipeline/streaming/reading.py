"""One sample at a time, each with a ranged read of its own."""

from pipeline.data.samples import DamagedError, Sample, Span, checked
from pipeline.data.shards import Shards
from sharding.format.manifest import Manifest
from sharding.format.rows import SampleRow


def read(shards: Shards, split: Manifest, shard: int, row: SampleRow) -> Sample:
    """The sample of `row` in shard number `shard`. Raises `DamagedError`."""
    with shards.open(shard, [row]) as stream:
        return checked(Span(row, split.shard_url(shard), stream.read(row.bytes)))


def first_whole(shards: Shards, split: Manifest) -> Sample:
    """The first sample of the split's first shard that is not damaged. Raises `DamagedError` where all are."""
    shard = next(i for i, row in enumerate(split.shards) if row.samples)
    *others, last = shards.rows(shard)
    for row in others:
        try:
            return read(shards, split, shard, row)
        except DamagedError:
            continue
    return read(shards, split, shard, last)
