"""A shard set as a stream of batches in an exact order, for a model and a loop of one's own."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from pipeline.config import WINDOW
from pipeline.data import batch as data
from pipeline.data import corrupt, splits
from pipeline.data.cache import ShardCache
from pipeline.data.films import source_of
from pipeline.data.loader import batches
from pipeline.data.prefetch import on_device
from pipeline.data.shards import Shards
from pipeline.data.stream import ClipStream, Passes
from pipeline.order import plan
from pipeline.order.position import epoch_samples
from pipeline.run.audit_log import AuditLog
from pipeline.streaming import arguments, audit, state
from pipeline.streaming.arguments import check_cache, share, weight, whole
from pipeline.streaming.layout import Layout, layout_of
from pipeline.streaming.place import here
from pipeline.streaming.reading import first_whole
from pipeline.streaming.transforms import TransformCutter, applied, made_otherwise, packed
from pipeline.streaming.video import Transform
from sharding.errors import UserError
from sharding.format import manifest
from sharding.format.manifest import Manifest


@dataclass(frozen=True)
class Batch:
    """A rank's share of a global batch, in order of the samples' numbers.

    `data`: what the transform made, each array with a first axis of samples: a tensor, or a dict of tensors. `labels`:
    int64 (samples,), -1 where unknown; of a set with several labels a video int8 (samples, classes), zeros and ones.
    `numbers` are the samples' numbers in the epoch, `keys` their keys; in place of those that are `replaced`, which are
    damaged, others stand. In a mixture a key stands behind its set's number (`Stream.sets`), as `1:clip-5`. A batch may
    be kept: its memory is not filled again while anybody holds it.
    """

    data: Any
    labels: Tensor
    keys: list[str]
    numbers: list[int]
    epoch: int
    step: int
    replaced: list[str]


class Stream:
    """The batches of a split, from where the stream stands to the end of its last epoch.

    Which samples a global batch has, and in what order, follows from the shards, `seed`, `lanes`, `window`,
    `global_batch` and the epoch: not from the number of ranks or workers. `url` is the split's, in a folder or a
    bucket; `rank` and `ranks` are by default the process group's. `transform` runs in `workers` loader processes (0: in
    this one), but once here, on the split's first sample, to learn what it makes. Shards are mixed by `window`
    samples. A run that is to change size sets `lanes` to a multiple of all its ranks times workers; else any change
    works, and some shards are read twice. `drop_last` leaves out an epoch's last, partial batch. Where `device` is a
    GPU, batches are on their way there while it trains. `corrupt_budget` is the share of an epoch's samples that may be
    damaged and replaced, on each rank. `cache` is a local folder that keeps up to `cache_gb` of shards; with
    `films="jpeg"` those of films are turned to JPEGs on their way into it. `audit` is a folder, or the URL of one, in
    which `python -m pipeline.audit` finds what it proves the order from. `mix` has further splits, each with its
    weight: a sample of theirs comes so many times an epoch on average. Their classes are some of this one's.

    Iterating goes on where the stream stands. Raises `UserError`.
    """

    def __init__(
        self,
        url: str | Path,
        transform: Transform,
        *,
        global_batch: int,
        epochs: int = 1,
        seed: int = 0,
        workers: int = 0,
        rank: int | None = None,
        ranks: int | None = None,
        lanes: int | None = None,
        window: int = WINDOW,
        drop_last: bool = True,
        device: str | torch.device = "cpu",
        corrupt_budget: float = 0.0,
        cache: str | Path | None = None,
        cache_gb: float = 100.0,
        films: Literal["decode", "jpeg"] = "decode",
        audit: str | Path | None = None,
        mix: Mapping[str, float] | None = None,
    ) -> None:
        if audit is not None and not drop_last:
            raise UserError("an audit is of whole batches; leave out audit or drop_last=False")
        check_cache(cache, cache_gb, films)
        global_batch, epochs = whole("global_batch", global_batch, 1), whole("epochs", epochs, 0)
        workers, seed, window = (
            whole("workers", workers, 0),
            whole("seed", seed, 0),
            whole("window", window, 1),
        )
        lanes = None if lanes is None else whole("lanes", lanes, 1)
        found = here()
        self._rank = found[0] if rank is None else whole("rank", rank, 0)
        self._ranks = found[1] if ranks is None else whole("ranks", ranks, 1)
        if not 0 <= self._rank < self._ranks:
            raise UserError(f"rank {self._rank} of {self._ranks}: ranks are numbered from 0 on")
        self._split = manifest.load(str(url))
        self._mixed = _mixed(self._split, mix or {})
        samples = epoch_samples(self._split, self._mixed)
        given = lanes or plan.default_lanes(self._ranks * max(workers, 1), global_batch, samples)
        shares = tuple(one.share for one in self._mixed)
        self._corrupt_budget = share("corrupt_budget", corrupt_budget)
        self._fresh = self._at = state.first(
            self._split, global_batch, seed, given, window, self._ranks, drop_last, shares
        )
        self._lanes_given, self._drop_last = lanes is not None, drop_last
        self._epochs, self._workers, self._device = epochs, workers, arguments.device(device)

        def source(split: Manifest, gigabytes: float) -> Shards:
            return source_of(
                split, None if cache is None else ShardCache(str(cache), int(gigabytes * 1e9)), films
            )

        self._shards = source(self._split, cache_gb)
        self._mixed = tuple(replace(one, shards=source(one.split, cache_gb)) for one in self._mixed)
        self._audit_folder = None if audit is None else str(audit)
        self._audit: AuditLog | None = None
        self._turn = 0
        if workers:
            packed(transform)  # what cannot be sent is told before anything else
        # A cache that may keep nothing does not fetch, or turn, the whole shard for the one sample.
        self._layout = _tried(transform, source(self._split, 0), self._split)
        self._cutter = TransformCutter(transform, self._layout)

    @property
    def classes(self) -> list[str]:
        """The names of the classes, by label."""
        return self._split.classes

    @property
    def samples(self) -> int:
        """Of an epoch."""
        return self._at.samples_of(self._split)

    @property
    def sets(self) -> list[str]:
        """The URLs of the split and of those that are mixed with it, by number."""
        return [self._split.root, *(one.split.root for one in self._mixed)]

    @property
    def steps_in_epoch(self) -> int:
        """Global batches in an epoch."""
        return self._at.steps_in_epoch

    @property
    def done(self) -> int:
        """Batches that were handed out since the stream's very start, over all its restarts."""
        return self._at.done

    def __iter__(self) -> Iterator[Batch]:
        self._turn += 1
        return self._batches(self._turn)

    def _batches(self, turn: int) -> Iterator[Batch]:
        at = self._at
        if at.done >= self._epochs * at.steps_in_epoch:
            return
        log = self._log()
        passes = Passes(at.global_batch, self._epochs, at.epoch, at.step, self._drop_last)
        allowed = corrupt.share_of(self._corrupt_budget, self.samples) if self._corrupt_budget else None
        parts = (self._split, self._cutter, at.order, passes, self._rank, self._ranks, self._shards, allowed)
        stream, replaced = ClipStream(*parts, mixed=self._mixed), corrupt.Tally(allowed)
        with closing(batches(stream, self._workers, self._device.type == "cuda")) as made:
            for batch in on_device(made, self._device):
                if turn != self._turn:
                    raise RuntimeError("the stream was begun anew, or its state loaded, while this loop ran")
                replaced.add(
                    batch.epoch, len(batch.replaced)
                )  # of all loader processes, each of which has a part
                self._at = self._at.after(self._at.done + 1)
                if log:
                    log.write(self._at.done, batch)
                yield self._handed_out(batch)
                del batch  # its memory is free, if nobody keeps it, before the next one is waited for

    def _handed_out(self, batch: data.Batch) -> Batch:
        clips = batch.clips.flatten(1) if batch.numbers else batch.clips
        made = self._layout.read(clips)
        return Batch(made, batch.labels, batch.keys, batch.numbers, batch.epoch, batch.step, batch.replaced)

    def _log(self) -> AuditLog | None:
        if self._audit_folder is not None and self._audit is None:
            where = (self._rank, self._ranks, self._epochs, self._corrupt_budget)
            self._audit = audit.begin(self._audit_folder, self._split, self._at, *where)
        return self._audit

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, as numbers and strings, the same on every rank: behind the batch handed out last.

        So it is asked for after that batch's step. An audit is on record up to there, on the ranks that ask.
        """
        if self._audit:
            self._audit.flush()
        return self._at.to_state()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where a stream stood when `state_dict()` was asked, on any number of ranks and workers.

        Raises `UserError` where shards, weights, seed, batch, lanes or window are others.
        """
        self._at = state.loaded(state_dict, self._fresh, self._split.root, self._lanes_given)
        self._audit = None
        self._turn += 1


def _mixed(split: Manifest, mix: Mapping[str, float]) -> tuple[splits.Mixed, ...]:
    """The splits of `mix`, from their URLs."""
    weights = {str(url): weight(str(url), value) for url, value in mix.items()}
    return splits.mixed_with(split, ((manifest.load(url), each) for url, each in weights.items()), "mix")


def _tried(transform: Transform, shards: Shards, split: Manifest) -> Layout:
    """The layout of what `transform` makes of the split's first sample that is whole."""
    sample = first_whole(shards, split)
    made = applied(transform, sample, np.random.default_rng(0))
    try:
        return layout_of(made)
    except ValueError as error:
        raise made_otherwise(transform, sample, error) from None
