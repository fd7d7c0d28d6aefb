"""The bench: its figures belong together, and the advice fits them."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline import bench
from pipeline import config as configuration
from pipeline.data.clips import TrainCutter
from pipeline.data.samples import Sample
from pipeline.labels.tensors import Label
from pipeline.measuring.headspace import measure_headspace
from pipeline.measuring.loader import LoaderFigures, advice, measure_loader
from pipeline.measuring.machine import measure_rates
from pipeline.measuring.step import measure_step
from pipeline.measuring.stopwatch import STAGES
from pipeline.ranks.distributed import World
from pipeline.training import feed
from sharding.format import turbojpeg
from tests import shards
from tests.slow_cutter import SlowCutter

SMALL = ["data.size=32", "data.short_side=32", "model.num_frames=2", "optim.global_batch=4"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("root")
    shards.make(folder, [9, 6])
    return folder


def overrides(root: Path, *more: str) -> list[str]:
    return [f"data.root={root}", "run.folder=unused", "run.precision=fp32", *SMALL, *more]


@pytest.mark.parametrize(("workers", "repeats"), [(0, 1), (2, 1), (0, 2)])
def test_the_loaders_figures_belong_together(root: Path, workers: int, repeats: int) -> None:
    more = (f"data.workers={workers}", f"data.repeats={repeats}")
    config = configuration.load("configs/demo.yaml", overrides(root, *more))
    figures = measure_loader(config, seconds=0.2)
    assert tuple(figures.stages) == STAGES
    assert all(seconds > 0 for stage, seconds in figures.stages.items() if stage != "reading")
    assert figures.alone == pytest.approx(1 / sum(figures.stages.values()))
    assert figures.rate > 0
    assert figures.first_batch_s > 0
    tars = sum(path.stat().st_size for path in (root / "train").glob("*.tar"))
    assert figures.bytes_per_clip == tars / 15 / repeats


def test_what_a_loader_process_has_of_a_core_is_measured_with_as_many_threads(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads: list[int] = []  # in this process: loader processes have memory of their own
    cut = TrainCutter.__call__

    def noted(self: TrainCutter, sample: Sample, rng: np.random.Generator, out: Tensor) -> Label:
        threads.append(torch.get_num_threads())
        return cut(self, sample, rng, out)

    monkeypatch.setattr(TrainCutter, "__call__", noted)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        measure_rates(configuration.load("configs/demo.yaml", overrides(root, "data.workers=1")), seconds=0.1)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(threads) == {1}


def test_the_loaders_report_says_where_the_time_goes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "loader",
        "--config",
        "configs/demo.yaml",
        "--seconds",
        "0.1",
        *overrides(root, "data.workers=1"),
    ]
    assert bench.main(command) == 0
    printed = capsys.readouterr().out
    assert "15 videos in 2 shards; clips of 2 frames, 32x32, 4 a batch" in printed
    assert re.search(r"1 workers? on \d+ cores: [\d.]+ clips/s \([\d.]+ a worker\), [\d.]+ MB/s", printed)
    shares = [int(share) for share in re.findall(r"ms +(\d+)%", printed)]
    assert len(shares) == len(STAGES)
    assert sum(shares) == pytest.approx(100, abs=3)
    assert printed.splitlines()[-1].startswith("advice: ")


FIGURES = LoaderFigures("", 4, 8, 1e6, 1.0, 400.0, 100.0, dict.fromkeys(STAGES, 0.001))


@pytest.mark.parametrize(
    ("slowest", "changes", "told"),
    [
        ("decoding", {}, "raise data.workers, up to the 8 cores"),
        ("transforming", {"workers": 8, "rate": 800.0}, "transforming keeps all cores busy"),
        ("decoding", {"workers": 16}, "16 workers share 8 cores"),
        ("decoding", {"rate": 200.0}, "workers are slower together than one alone"),
        ("reading", {}, "the store is slow to answer"),
        ("verifying", {}, "CRC-32"),
    ],
)
def test_the_advice_fits_the_bottleneck(
    slowest: str, changes: dict[str, float], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turbojpeg, "available", lambda: True)
    figures = replace(FIGURES, stages={**FIGURES.stages, slowest: 0.01}, **changes)
    assert figures.bottleneck == slowest
    assert told in advice(figures)


def test_where_whole_frames_are_decoded_the_library_that_spares_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turbojpeg, "available", lambda: False)
    figures = replace(FIGURES, stages={**FIGURES.stages, "decoding": 0.01})
    assert "blvnet-pipeline[turbo]" in advice(figures)


def test_the_parts_of_a_step_make_up_its_rate(root: Path) -> None:
    config = configuration.load("configs/demo.yaml", overrides(root))
    figures = measure_step(config, World(0, 1, torch.device("cpu")), steps=2)
    assert list(figures.parts) == ["input", "forward", "backward", "optimiser"]
    assert all(seconds > 0 for seconds in figures.parts.values())
    assert figures.rate == pytest.approx(4 / sum(figures.parts.values()))
    assert figures.peak_bytes > 100e6  # torch alone takes more


class _Slow(SlowCutter):
    SECONDS = 0.3


def test_headspace_is_what_a_loader_costs(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = configuration.load("configs/demo.yaml", overrides(root, "data.workers=0", "model.depth=26"))
    cutter = feed.train_cutter
    monkeypatch.setattr(feed, "train_cutter", lambda *its: _Slow(**vars(cutter(*its))))
    figures = measure_headspace(config, World(0, 1, torch.device("cpu")), steps=3)
    # Four clips, 0.3 s each, for each of three steps: 3.6 s, of which a busy machine may hide some.
    assert 12 / figures.loaded - 12 / figures.kept > 1.2
    assert figures.waited > 0.2
    assert figures.lines()[-1].startswith(f"a perfect loader would train {figures.gain:.2f} times as fast")
    quick = replace(figures, loaded=figures.kept)
    assert quick.lines()[-1].startswith("the loader is no limit")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["headspace", "--steps", "0"], "--steps 0: must be 1 or more"),
        (["loader", "--seconds", "0"], "--seconds 0: must be more than 0"),
        (["loader", "data.root=/nowhere"], "/nowhere/train/manifest.json: no such manifest"),
        (["loader", "optim.global_batch=64"], "64 is more than the 15 samples"),
        (["step", "--steps", "0"], "--steps 0: must be 1 or more"),
        (["step", "optim.speed=1"], "unknown key optim.speed"),
    ],
)
def test_a_mistake_is_told_in_one_line(
    root: Path, command: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    what, *rest = command
    options = [text for text in rest if "=" not in text]
    changes = [text for text in rest if "=" in text]
    assert bench.main([what, *options, "--config", "configs/demo.yaml", *overrides(root), *changes]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
