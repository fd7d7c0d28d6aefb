"""The samples that a run is made of, and which of them the plan gives each sample number of an epoch."""

import functools
from collections.abc import Sequence

import numpy as np

from pipeline.order import mixture, plan
from sharding.errors import UserError
from sharding.format import manifest


class Split:
    """The samples of the split at `url`: `keys` in the order of its shards, and the place of each key there.

    `UserError` where its manifest is not the one with this SHA-256.
    """

    def __init__(self, url: str, sha256: str) -> None:
        made = manifest.load(url)
        if made.sha256 != sha256:
            raise UserError(f"{url}: its manifest is not the one that this run was trained with")
        self.url = url
        self.keys = [row.key for i in range(len(made.shards)) for row in made.sidecar(i).samples]
        self.place = {key: i for i, key in enumerate(self.keys)}
        self.shard_samples = np.array([shard.samples for shard in made.shards])


class Samples:
    """Those of the training split, and of the splits that are mixed with it, each with its weight.

    `keys` in the order of the splits, as the record has them, and the `place` of each; `in_an_epoch`: how many come.
    """

    def __init__(self, split: Split, mixed: Sequence[tuple[Split, float]] = ()) -> None:
        self.splits = [split, *(other for other, _ in mixed)]
        if mixed:
            self.keys = [mixture.named(key, i) for i, one in enumerate(self.splits) for key in one.keys]
            self.place = {key: i for i, key in enumerate(self.keys)}
        else:
            self.keys, self.place = split.keys, split.place
        self._sizes = [one.shard_samples for one in self.splits]
        others = (mixture.share(weight, len(other.keys)) for other, weight in mixed)
        self._shares = [len(split.keys), *others]
        self.in_an_epoch = sum(self._shares)

    @functools.lru_cache(1)  # noqa: B019 - there is one, which lives as long as the proof
    def order(self, order: plan.Order, epoch: int) -> plan.Indices:
        """The place of each sample number of an epoch."""
        return mixture.epoch_order(self._sizes, self._shares, order, epoch)

    def times(self, order: plan.Order, epoch: int) -> plan.Indices:
        """How often each sample comes in an epoch; of one split alone once, whatever the order."""
        if len(self.splits) == 1:
            return np.ones(len(self.keys), np.int64)
        return np.bincount(self.order(order, epoch), minlength=len(self.keys))
