"""Tars that others made, through the stream: in exact order, whoever reads them, killed and resumed."""

from pathlib import Path

import pytest
import webdataset

from pipeline import config
from pipeline.data.clips import eval_cutter
from pipeline.data.loader import batches
from pipeline.data.stream import ClipStream, Passes
from pipeline.order import plan
from sharding.format.manifest import Manifest
from tests import foreign

SHARDS = [7, 5, 9, 4, 6]  # 31 samples
BATCH = 4
ORDER = plan.Order(seed=3, lanes=8, window=8)
Steps = dict[tuple[int, int], list[str]]


def settings(*overrides: str) -> config.Config:
    small = ["model.num_frames=2", "data.size=32", "data.short_side=32"]
    tree = {"data": {"root": "unused"}, "run": {"folder": "unused"}}
    return config.override(tree, [*small, *overrides], "test")


def pictures(folder: Path) -> None:
    foreign.img2dataset(folder, SHARDS)


def films(folder: Path) -> None:
    foreign.video2dataset(folder, SHARDS)


def written(folder: Path) -> None:
    """By webdataset itself, with the same keys in every tar."""
    folder.mkdir()
    sample = 0
    for number, count in enumerate(SHARDS):
        with webdataset.TarWriter(str(folder / f"{number:02d}.tar")) as sink:
            for i in range(count):
                sink.write({"__key__": f"{i:04d}", "jpg": foreign.jpeg(sample), "txt": f"class-{sample % 3}"})
                sample += 1


@pytest.fixture(scope="module", params=[pictures, films, written])
def split(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("tars")
    request.param(folder / "tars")
    return foreign.indexed([folder / "tars"], folder / "index" / "train", label="txt")


def keys(split: Manifest, ranks: int, workers: int = 0, passes: Passes | None = None) -> Steps:
    """The keys of every global batch, by (epoch, step), put together from all ranks."""
    passes = passes or Passes(BATCH, epochs=2)
    cutter = eval_cutter(settings())
    found: dict[tuple[int, int], dict[int, str]] = {}
    for rank in range(ranks):
        for batch in batches(ClipStream(split, cutter, ORDER, passes, rank, ranks), workers):
            slot = found.setdefault((batch.epoch, batch.step), {})
            slot.update(zip(batch.numbers, batch.keys, strict=True))
    return {step: [used[n] for n in sorted(used)] for step, used in found.items()}


def test_the_order_is_exact_on_any_number_of_consumers_and_after_a_resume(split: Manifest) -> None:
    whole = keys(split, ranks=1)
    assert len({key for (epoch, _), step in whole.items() if epoch == 0 for key in step}) == 28
    assert keys(split, 3) == keys(split, 8) == keys(split, 1, workers=2) == whole
    tail = keys(split, 3, passes=Passes(BATCH, epochs=2, first_epoch=1, first_step=2))
    assert tail == {at: step for at, step in whole.items() if at >= (1, 2)}
