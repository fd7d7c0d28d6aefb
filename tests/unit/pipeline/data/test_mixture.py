"""Several shard sets in one stream: the planned samples, whoever reads them and wherever it begins; each read once."""

import itertools
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch

from pipeline import config
from pipeline.data import splits
from pipeline.data.batch import Batch
from pipeline.data.clips import eval_cutter, train_cutter
from pipeline.data.lane_reader import LaneReader, Source, epoch_of
from pipeline.data.loader import batches
from pipeline.data.samples import checked
from pipeline.data.shards import Shards
from pipeline.data.splits import Mixed, load_mix
from pipeline.data.stream import ClipStream, Passes
from pipeline.order import mixture, plan
from sharding.errors import UserError
from sharding.format.manifest import Manifest
from sharding.format.rows import SampleRow
from tests import foreign, shards
from tests.unit.pipeline.data.counting import Counting

BATCH = 4
ORDER = plan.Order(seed=3, lanes=6, window=8)
OTHER_CLASSES = [shards.CLASSES[2], shards.CLASSES[0], shards.CLASSES[1]]
Steps = dict[tuple[int, int], list[str]]


@dataclass(frozen=True)
class Mixture:
    """A set, and what is mixed with it."""

    config: config.Config
    split: Manifest
    mixed: tuple[Mixed, ...]

    @property
    def splits(self) -> list[Manifest]:
        return [self.split, *(one.split for one in self.mixed)]

    def stream(
        self, rank: int = 0, ranks: int = 1, passes: Passes | None = None, **changes: object
    ) -> ClipStream:
        cutter = changes.pop("cutter", None) or eval_cutter(self.config)
        order = changes.pop("order", ORDER)
        about = (self.split, cutter, order, passes or Passes(BATCH, epochs=3), rank, ranks)
        return ClipStream(*about, mixed=self.mixed, **changes)  # type: ignore[arg-type]


def loaded(root: Path, weights: dict[str, float], *overrides: str) -> Mixture:
    small = ["model.num_frames=4", "data.size=32", "data.short_side=32"]
    mix = {f"{root}/{name}": weight for name, weight in weights.items()}
    tree = {"data": {"root": f"{root}/main", "mix": mix}, "run": {"folder": "unused"}}
    made = config.override(tree, [*small, *overrides], "test")
    split = splits.load(made.data.root, made.data.train, "data.train")
    return Mixture(made, split, load_mix(made.data, split))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """21 samples, and 10 and 6 of which 5 and 12 come in an epoch: one set has its classes in another order."""
    folder = tmp_path_factory.mktemp("sets")
    shards.make(folder / "main", [7, 5, 9])
    shards.make(folder / "half", [4, 0, 6], classes=OTHER_CLASSES)
    shards.make(folder / "twice", [3, 3], classes=shards.CLASSES)
    return folder


@pytest.fixture(scope="module")
def mixed(root: Path) -> Mixture:
    return loaded(root, {"half": 0.5, "twice": 2})


def keys(mixed: Mixture, ranks: int = 1, workers: int = 0, passes: Passes | None = None) -> Steps:
    """The names of every global batch, by (epoch, step), put together from all ranks."""
    found: dict[tuple[int, int], dict[int, str]] = {}
    for rank in range(ranks):
        for batch in batches(mixed.stream(rank, ranks, passes), workers):
            slot = found.setdefault((batch.epoch, batch.step), {})
            slot.update(zip(batch.numbers, batch.keys, strict=True))
    return {step: [used[n] for n in sorted(used)] for step, used in found.items()}


def planned(mixed: Mixture, epoch: int) -> list[str]:
    """The names of an epoch in the order of use, by the rule."""
    sizes = [np.array([shard.samples for shard in split.shards]) for split in mixed.splits]
    shares = [mixed.split.samples, *(one.samples for one in mixed.mixed)]
    names = [f"{i}:clip-{s}" for i, split in enumerate(mixed.splits) for s in range(split.samples)]
    return [names[place] for place in mixture.epoch_order(sizes, shares, ORDER, epoch)]


def test_batches_are_those_of_the_plan(mixed: Mixture) -> None:
    assert sorted(one.samples for one in mixed.mixed) == [5, 12]
    steps = keys(mixed)
    assert len(steps) == 3 * 9  # of 38 samples
    for epoch in range(3):
        used = [key for (e, _), batch in steps.items() if e == epoch for key in batch]
        assert used == planned(mixed, epoch)[:36]


@pytest.mark.parametrize(("ranks", "workers"), [(2, 0), (3, 0), (8, 0), (1, 2), (3, 1)])
def test_global_batches_do_not_depend_on_ranks_and_workers(mixed: Mixture, ranks: int, workers: int) -> None:
    passes = Passes(BATCH, 2) if workers else None
    assert keys(mixed, ranks, workers, passes) == keys(mixed, passes=passes)


@pytest.mark.parametrize(("epoch", "step", "ranks"), [(0, 1, 1), (0, 4, 2), (1, 0, 3), (1, 7, 1), (2, 8, 5)])
def test_starting_at_a_step_gives_the_tail_of_the_whole_order(
    mixed: Mixture, epoch: int, step: int, ranks: int
) -> None:
    tail = keys(mixed, ranks, passes=Passes(BATCH, 3, epoch, step))
    assert tail == {at: batch for at, batch in keys(mixed).items() if at >= (epoch, step)}


def test_a_sample_of_a_set_comes_again_only_when_all_have_come(mixed: Mixture) -> None:
    passes = Passes(BATCH, epochs=4, drop_last=False)
    times = Counter(itertools.chain(*keys(mixed, passes=passes).values()))
    for number, split in enumerate(mixed.splits):
        (weight,) = [one.weight for one in mixed.mixed if one.split == split] or [1.0]
        assert {times[f"{number}:clip-{s}"] for s in range(split.samples)} == {4 * weight}


def test_the_order_of_the_sets_in_the_configuration_and_their_place_do_not_matter(
    root: Path, mixed: Mixture, tmp_path: Path
) -> None:
    expected, moved = keys(mixed), Path(root.rename(tmp_path / "moved"))
    try:
        assert keys(loaded(moved, {"twice": 2, "half": 0.5})) == expected
    finally:
        moved.rename(root)


def test_an_epoch_that_cannot_be_counted_is_refused(mixed: Mixture) -> None:
    with pytest.raises(UserError, match=r"mix: an epoch of .* samples is more than 2147483648"):
        splits.mixed_with(mixed.split, [(mixed.splits[1], 1e9)], "mix")


def test_labels_are_the_runs_by_their_classes_names(mixed: Mixture) -> None:
    for batch in batches(mixed.stream(), 0):
        for name, label in zip(batch.keys, batch.labels.tolist(), strict=True):
            number, _, key = name.partition(":")
            its = mixed.splits[int(number)].classes[int(key.removeprefix("clip-")) % 3]
            assert mixed.split.classes[label] == its


def test_a_flipped_clip_of_another_set_takes_the_mirrored_label_of_the_run(mixed: Mixture) -> None:
    cutter = train_cutter(mixed.config, mixed.split.classes)
    seen = set()
    for batch in batches(mixed.stream(cutter=cutter), 0):
        for clip, name, label in zip(batch.clips, batch.keys, batch.labels.tolist(), strict=True):
            number, _, key = name.partition(":")
            own = mixed.splits[int(number)].classes[int(key.removeprefix("clip-")) % 3]
            blue = clip[:, 2].float().mean((0, 1))
            flipped = bool(blue[0] > blue[-1])
            plain = shards.CLASSES.index(own)
            assert label == ({0: 1, 1: 0, 2: 2}[plain] if flipped else plain)
            seen.add((int(number), flipped))
    assert len(seen) == 6


def test_several_labels_of_a_sample_stay_in_order() -> None:
    several = Mixed(None, 1.0, labels=(2, 0, 1))  # type: ignore[arg-type]
    sample = several.relabelled(_sample((0, 1)))
    assert sample.row.label == (0, 2)
    assert several.relabelled(_sample(None)).row.label is None


def _sample(label: object) -> object:
    @dataclass(frozen=True)
    class Row:
        label: object

    @dataclass(frozen=True)
    class Only:
        row: Row

    return Only(Row(label))


@pytest.mark.parametrize("epoch", [0, 1, 5])
@pytest.mark.parametrize("first", [0, 3, 11])
def test_what_is_to_come_of_a_lane_is_read_once_in_a_pass_for_each_set(
    mixed: Mixture, epoch: int, first: int
) -> None:
    order = plan.Order(seed=3, lanes=2, window=6)
    made = epoch_of(mixed.split, order, epoch, mixed.splits[1:], [one.samples for one in mixed.mixed])
    for number in range(order.lanes):
        stores = [Counting(split) for split in mixed.splits]
        others = [Source(store.manifest, store) for store in stores[1:]]
        whole = list(LaneReader(mixed.split, made, number, 0, 1, stores[0], others))
        pieces = [strand.pieces for strand in mixture.lane(made, number).strands]
        assert [len(store.asked) for store in stores] == [len(some) for some in pieces]
        for store in stores:
            store.asked.clear()
        rest = list(LaneReader(mixed.split, made, number, first, 1, stores[0], others))
        assert rest == whole[first:]
        assert sum(store.bytes() for store in stores) == sum(span.row.bytes for span in rest)
        alone = LaneReader(mixed.split, made, number, 0, 1, stores[0], others)
        assert [alone.at(position) for position in range(alone.length)] == whole
        assert {checked(span).row.key for span in whole} == {span.row.key for span in whole}


def test_a_damaged_sample_is_replaced_and_told_apart_from_another_sets_of_the_same_key(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    main = shards.make(tmp_path / "main", [8])
    shards.make(tmp_path / "other", [9], classes=OTHER_CLASSES)
    damaged = loaded(tmp_path, {"other": 1})
    row = damaged.splits[1].sidecar(0).samples[2]
    tar = Path(damaged.splits[1].shard_url(0))
    content = bytearray(tar.read_bytes())
    content[row.offset + row.bytes // 2] ^= 4
    tar.write_bytes(content)
    with pytest.raises(UserError, match=r"other/train/shard-000000\.tar: sample clip-2, .*: damaged"):
        list(batches(damaged.stream(), 0))
    passes = Passes(17)
    (whole,) = read(damaged.stream(passes=passes, allowed=1))
    assert whole.replaced == ["1:clip-2"]
    assert "1:clip-2" in whole.keys and "0:clip-2" in whole.keys
    for ranks in (1, 3):
        parts = [
            part for rank in range(ranks) for part in read(damaged.stream(rank, ranks, passes, allowed=1))
        ]
        clips = {n: clip for part in parts for n, clip in zip(part.numbers, part.clips, strict=True)}
        labels = {n: int(label) for part in parts for n, label in zip(part.numbers, part.labels, strict=True)}
        assert all(torch.equal(clips[n], whole.clips[i]) for i, n in enumerate(whole.numbers))
        assert [labels[n] for n in whole.numbers] == whole.labels.tolist()
    assert "is used in its place" in capfd.readouterr().err
    assert main.samples == 8


def read(stream: ClipStream) -> list[Batch]:
    return list(batches(stream, 0))


def test_a_cache_keeps_the_shards_of_all_sets(root: Path, mixed: Mixture, tmp_path: Path) -> None:
    kept = loaded(root, {"half": 0.5, "twice": 2}, f"data.cache={tmp_path}/cache")
    assert keys(kept) == keys(mixed)
    opened: list[str] = []

    @dataclass(frozen=True)
    class Watched:
        shards: Shards
        reads_to_the_end = True

        def rows(self, shard: int) -> list[SampleRow]:
            return self.shards.rows(shard)

        def open(self, shard: int, rows: list[SampleRow]) -> BinaryIO:
            stream = self.shards.open(shard, rows)
            opened.append(type(stream).__name__)
            return stream

    again = replace(
        kept, mixed=tuple(replace(one, shards=Watched(one.shards)) for one in kept.mixed if one.shards)
    )
    assert keys(again) == keys(mixed)
    assert opened.count("Kept") > len(opened) // 2


def test_repeats_cut_several_clips_of_samples_of_every_set(root: Path) -> None:
    twice = loaded(root, {"half": 0.5}, "data.repeats=2")
    (batch, *_) = read(twice.stream(cutter=train_cutter(twice.config, twice.split.classes)))
    assert tuple(batch.clips.shape) == (BATCH, 2, 4, 3, 32, 32)


@pytest.mark.parametrize("workers", [0, 2])
def test_tars_of_others_and_built_shards_are_mixed(tmp_path: Path, workers: int) -> None:
    foreign.img2dataset(tmp_path / "tars", [7, 6])
    split = foreign.indexed([tmp_path / "tars"], tmp_path / "main" / "train", label="txt")
    shards.make(tmp_path / "built", [5, 6], classes=split.classes[::-1])
    both = loaded(tmp_path, {"built": 1}, "model.num_frames=1")
    found = Counter()
    for batch in batches(both.stream(passes=Passes(BATCH, 2, drop_last=False)), workers):
        for name, label in zip(batch.keys, batch.labels.tolist(), strict=True):
            found[name] += 1
            if name.startswith("1:"):
                assert label == len(split.classes) - 1 - int(name.removeprefix("1:clip-")) % 3
    assert len(found) == 24 and set(found.values()) == {2}
