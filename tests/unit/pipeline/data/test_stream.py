"""The stream: planned order from real shards, whoever reads them, from any step; damage is named."""

import itertools
import queue
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import pytest
import torch

from pipeline import config
from pipeline.data.clips import eval_cutter, train_cutter
from pipeline.data.lane_reader import epoch_of
from pipeline.data.loader import batches
from pipeline.data.shards import StoredShards
from pipeline.data.stream import ClipStream, Passes
from pipeline.order import mixture, plan
from sharding.errors import UserError
from sharding.format.manifest import Manifest
from sharding.format.rows import SampleRow
from tests import shards

SHARDS = [7, 5, 9, 4, 6]  # 31 samples
BATCH = 4
Steps = dict[tuple[int, int], list[str]]


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return shards.make(tmp_path_factory.mktemp("shards"), SHARDS)


def settings(split: Manifest, *overrides: str) -> config.Config:
    root = str(Path(split.root).parent)
    small = ["model.num_frames=4", "data.size=32", "data.short_side=32"]
    tree = {"data": {"root": root}, "run": {"folder": "unused"}}
    return config.override(tree, [*small, *overrides], "test")


def keys(
    split: Manifest, order: plan.Order, ranks: int, workers: int = 0, passes: Passes | None = None
) -> Steps:
    """The keys of every global batch, by (epoch, step), put together from all ranks."""
    passes = passes or Passes(BATCH, epochs=2)
    cutter = eval_cutter(settings(split))
    found: dict[tuple[int, int], dict[int, str]] = {}
    for rank in range(ranks):
        for batch in batches(ClipStream(split, cutter, order, passes, rank, ranks), workers):
            assert all(n % ranks == rank for n in batch.numbers)
            slot = found.setdefault((batch.epoch, batch.step), {})
            slot.update(zip(batch.numbers, batch.keys, strict=True))
    return {step: [used[n] for n in sorted(used)] for step, used in found.items()}


ORDER = plan.Order(seed=3, lanes=6, window=8)


def test_an_epoch_uses_every_sample_once_but_for_the_last_partial_batch(split: Manifest) -> None:
    steps = keys(split, ORDER, ranks=1)
    for epoch in (0, 1):
        used = [key for (e, _), batch in steps.items() if e == epoch for key in batch]
        assert len(used) == len(set(used)) == 28
    assert steps[0, 0] != steps[1, 0]


@pytest.mark.parametrize(("ranks", "workers"), [(2, 0), (3, 0), (4, 0), (1, 2), (3, 2)])
def test_global_batches_do_not_depend_on_ranks_and_workers(split: Manifest, ranks: int, workers: int) -> None:
    assert keys(split, ORDER, ranks, workers) == keys(split, ORDER, ranks=1)


@pytest.mark.parametrize("first_step", [0, 1, 3, 6])
def test_starting_at_a_step_gives_the_tail_of_the_whole_order(split: Manifest, first_step: int) -> None:
    whole = keys(split, ORDER, ranks=1)
    tail = keys(split, ORDER, 2, passes=Passes(BATCH, epochs=2, first_epoch=0, first_step=first_step))
    assert tail == {at: batch for at, batch in whole.items() if at >= (0, first_step)}


@pytest.mark.parametrize("lanes", [16, 40, 7])
def test_the_order_stays_while_the_number_of_consumers_changes_in_mid_epoch(
    split: Manifest, lanes: int
) -> None:
    order = plan.Order(seed=5, lanes=lanes, window=8)
    whole = keys(split, order, ranks=1)
    used: Steps = {}
    # 7 steps an epoch: changes in the midst of both epochs, and one run from the first into the second
    for (epoch, step), end, consumers in [
        ((0, 0), (0, 2), 16),
        ((0, 2), (0, 3), 8),
        ((0, 3), (1, 1), 5),
        ((1, 1), (1, 2), 1),
        ((1, 2), (1, 5), 16),
        ((1, 5), (2, 0), 3),
    ]:
        part = keys(split, order, consumers, passes=Passes(BATCH, 2, epoch, step))
        used.update({at: batch for at, batch in part.items() if at < end})
    assert used == whole


def test_validation_keeps_the_last_partial_batch(split: Manifest) -> None:
    steps = keys(split, plan.Order(0, 2, 1), ranks=3, passes=Passes(BATCH, drop_last=False))
    assert sorted(itertools.chain(*steps.values())) == sorted(f"clip-{s}" for s in range(31))
    assert len(steps[0, 7]) == 3


def test_clips_are_decoded_from_the_right_sample_and_frames(split: Manifest) -> None:
    cutter = eval_cutter(settings(split))
    stream = ClipStream(split, cutter, ORDER, Passes(BATCH), 0, 1)
    for batch in batches(stream, workers=0):
        assert batch.clips.shape == (BATCH, 1, 4, 3, 32, 32)
        assert batch.clips.dtype == torch.uint8
        assert batch.clips.stride()[3:] == (1, 96, 3)  # channels-last
        for clip, key, label in zip(batch.clips[:, 0], batch.keys, batch.labels.tolist(), strict=True):
            sample = int(key.removeprefix("clip-"))
            assert label == sample % 3
            assert abs(clip[:, 0].float().mean().item() - sample) < 3
            # the middle frame of each quarter of 12 frames: 1, 4, 7, 10, each 4 levels of green
            assert clip[:, 1].float().mean((1, 2)).tolist() == pytest.approx([4, 16, 28, 40], abs=3)


def test_a_flipped_training_clip_takes_the_mirrored_label(split: Manifest) -> None:
    cutter = train_cutter(settings(split), split.classes)
    stream = ClipStream(split, cutter, ORDER, Passes(BATCH, epochs=3), 0, 1)
    seen = set()
    for batch in batches(stream, workers=0):
        for clip, key, label in zip(batch.clips, batch.keys, batch.labels.tolist(), strict=True):
            sample = int(key.removeprefix("clip-"))
            blue = clip[:, 2].float().mean((0, 1))
            flipped = bool(blue[0] > blue[-1])
            expected = {0: 1, 1: 0, 2: 2}[sample % 3] if flipped else sample % 3
            assert label == expected
            seen.add((sample % 3, flipped))
    assert len(seen) == 6


def test_augmentation_does_not_depend_on_ranks_and_workers(split: Manifest) -> None:
    cutter = train_cutter(settings(split), split.classes)

    def clips(ranks: int, workers: int) -> dict[int, torch.Tensor]:
        streams = [ClipStream(split, cutter, ORDER, Passes(BATCH), rank, ranks) for rank in range(ranks)]
        parts = [batch for stream in streams for batch in batches(stream, workers)]
        return {n: clip for batch in parts for n, clip in zip(batch.numbers, batch.clips, strict=True)}

    one, many = clips(1, 0), clips(2, 2)
    assert one.keys() == many.keys()
    assert all(torch.equal(one[n], many[n]) for n in one)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_flipped_byte_is_named(tmp_path: Path, workers: int) -> None:
    split = shards.make(tmp_path, [6, 6])
    row = shards.samples(split, 1)[2].row
    tar = Path(split.shard_url(1))
    content = bytearray(tar.read_bytes())
    content[row.offset + row.bytes // 2] ^= 4
    tar.write_bytes(content)
    stream = ClipStream(split, eval_cutter(settings(split)), plan.Order(0, 2, 4), Passes(2), 0, 1)
    with pytest.raises(UserError, match=rf"shard-000001\.tar: sample {row.key}, bytes \d+ to \d+: damaged"):
        list(batches(stream, workers))


def test_a_split_without_labels_cannot_be_trained_on(tmp_path: Path) -> None:
    split = shards.make(tmp_path, [4], labelled=False)
    stream = ClipStream(
        split, train_cutter(settings(split), split.classes), plan.Order(0, 1, 1), Passes(2), 0, 1
    )
    with pytest.raises(UserError, match=r"clip-\d has no label"):
        list(batches(stream, 0))


@dataclass(frozen=True)
class WatchedShards(StoredShards):
    """Shards that say when one is opened."""

    opened: "queue.Queue[int]"

    def open(self, shard: int, rows: list[SampleRow]) -> BinaryIO:
        self.opened.put(shard)
        return super().open(shard, rows)


def test_the_next_epochs_lanes_are_opened_before_this_ones_end(split: Manifest) -> None:
    order = plan.Order(seed=3, lanes=1, window=8)
    cutter = eval_cutter(settings(split))

    running = []  # a stream that is dropped opens no more

    def opened(epochs: int) -> "queue.Queue[int]":
        shards_opened: queue.Queue[int] = queue.Queue()
        passes = Passes(BATCH, epochs)
        watched = WatchedShards(split, shards_opened)
        parts = iter(ClipStream(split, cutter, order, passes, 0, 1, watched))
        running.append(parts)
        for _ in range(passes.steps(split.samples) - 1):
            assert next(parts).epoch == 0
        return shards_opened

    of_one, of_two = opened(epochs=1), opened(epochs=2)
    rest = [of_two.get(timeout=60) for _ in range(of_one.qsize() + 1)]  # the last one by a thread
    for shard in of_one.queue:
        rest.remove(shard)
    assert rest == [mixture.lane(epoch_of(split, order, 1), 0).strands[0].pieces[0].shard]


def test_a_consumers_lanes_share_the_raw_sequence_of_an_epoch(
    split: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    permuted, permutation = [], plan.shard_permutation

    def counted(shards: int, seed: int, epoch: int) -> plan.Indices:
        permuted.append(epoch)
        return permutation(shards, seed, epoch)

    monkeypatch.setattr(plan, "shard_permutation", counted)
    stream = ClipStream(split, eval_cutter(settings(split)), plan.Order(3, 16, 2), Passes(BATCH, 2), 0, 1)
    assert len(list(batches(stream, workers=0))) == 14
    assert permuted == [0, 1]
