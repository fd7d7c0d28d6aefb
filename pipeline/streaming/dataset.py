"""A shard set as a map-style data set: any sample by its number, with one ranged read."""

import bisect
import operator
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pipeline.data.samples import Sample
from pipeline.data.shards import StoredShards
from pipeline.labels import tensors
from pipeline.streaming.reading import read
from pipeline.streaming.rows import Rows
from pipeline.streaming.transforms import applied
from pipeline.streaming.video import Transform, Video
from sharding.format import manifest


class ShardDataset(torch.utils.data.Dataset[tuple[Any, torch.Tensor]]):
    """The samples of a split, in the order of its shards, for `torch.utils.data.DataLoader` or by hand.

    `dataset[i]` is what `transform` makes of sample i, and its label as a tensor: int64 (), -1 where unknown; of a set
    with several labels a video int8 (classes,), zeros and ones. The transform's random numbers follow from torch's
    generator, which DataLoader seeds in each of its processes. Sidecars are read when they are needed first, and kept.

    Raises IndexError for a number that is not there, and `UserError` for a damaged sample or a failing transform, with
    shard and key.
    """

    def __init__(self, url: str | Path, transform: Transform) -> None:
        self._split, self._transform = manifest.load(str(url)), transform
        self._ends = list(accumulate(row.samples for row in self._split.shards))
        self._shards = StoredShards(self._split)
        self._kept: dict[int, Rows] = {}

    @property
    def classes(self) -> list[str]:
        """The names of the classes, by label."""
        return self._split.classes

    def __len__(self) -> int:
        return self._split.samples

    def __getitem__(self, i: int) -> tuple[Any, torch.Tensor]:
        sample = self._sample(i)
        rng = np.random.default_rng(int(torch.randint(2**62, ())))
        labels = tensors.empty(1, len(self.classes) if self._split.several_labels else None)
        tensors.put(labels, 0, sample.row.label)
        return applied(self._transform, sample, rng), labels[0]

    def video(self, i: int) -> Video:
        """Sample i as the transform is given it."""
        return Video(self._sample(i))

    def _sample(self, i: int) -> Sample:
        i, samples = operator.index(i), len(self)
        if not -samples <= i < samples:
            raise IndexError(f"sample {i} of {samples}")
        i %= samples
        shard = bisect.bisect_right(self._ends, i)
        if shard not in self._kept:
            self._kept[shard] = Rows.of(self._shards.rows(shard))
        row = self._kept[shard].row(i - (self._ends[shard] - self._split.shards[shard].samples))
        return read(self._shards, self._split, shard, row)
