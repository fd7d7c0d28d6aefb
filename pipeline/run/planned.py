"""The samples of a split, and which of them the plan gives each sample number of an epoch."""

import functools

import numpy as np

from pipeline.order import plan
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
        self.keys = [row.key for i in range(len(made.shards)) for row in made.sidecar(i).samples]
        self.place = {key: i for i, key in enumerate(self.keys)}
        self.shard_samples = np.array([shard.samples for shard in made.shards])

    @functools.lru_cache(1)  # noqa: B019 - there are two splits, which live as long as the proof
    def order(self, order: plan.Order, epoch: int) -> plan.Indices:
        """The place of each sample number of an epoch."""
        return plan.epoch_order(self.shard_samples, order, epoch)
