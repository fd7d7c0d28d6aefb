"""Damaged samples: named and never trained on; the run stops, or the same good ones stand in, whoever reads them."""

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline import config, train
from pipeline.data import corrupt
from pipeline.data.batch import Batch
from pipeline.data.clips import eval_cutter
from pipeline.data.loader import batches
from pipeline.data.stream import ClipStream, Passes
from pipeline.evaluation import predictions
from pipeline.order import plan
from pipeline.ranks.distributed import World
from pipeline.run import journal
from sharding.errors import UserError
from sharding.format import mjpeg
from sharding.format.manifest import Manifest
from sharding.format.rows import SampleRow
from sharding.format.sidecar import load_sidecar
from tests import shards

SHARDS = [7, 5, 9, 4, 6]  # 31 samples
ORDER = plan.Order(seed=3, lanes=6, window=8)
BATCH = 4


def settings(split: Manifest, *overrides: str) -> config.Config:
    small = ["model.num_frames=4", "data.size=32", "data.short_side=32"]
    tree = {"data": {"root": str(Path(split.root).parent)}, "run": {"folder": "unused"}}
    return config.override(tree, [*small, *overrides], "test")


def damage(split: Manifest, key: str) -> SampleRow:
    """Change a byte in the middle of a sample; returns its row."""
    for shard in range(len(split.shards)):
        for row in load_sidecar(split.sidecar_url(shard)).samples:
            if row.key == key:
                tar = Path(split.shard_url(shard))
                content = bytearray(tar.read_bytes())
                content[row.offset + row.bytes // 2] ^= 4
                tar.write_bytes(content)
                return row
    raise KeyError(key)


def planned(split: Manifest, lane: int) -> list[str]:
    """The keys of a lane of epoch 0 by position."""
    stream = ClipStream(split, eval_cutter(settings(split)), ORDER, Passes(1, drop_last=False), 0, 1)
    return [batch.keys[0] for batch in batches(stream, 0) if batch.numbers[0] % ORDER.lanes == lane]


def read(
    split: Manifest, ranks: int = 1, workers: int = 0, first_step: int = 0, allowed: int | None = 10
) -> list[Batch]:
    """The batches of all ranks of one epoch."""
    cutter, passes = eval_cutter(settings(split)), Passes(BATCH, first_step=first_step)
    streams = [
        ClipStream(split, cutter, ORDER, passes, rank, ranks, allowed=allowed) for rank in range(ranks)
    ]
    return [batch for stream in streams for batch in batches(stream, workers)]


def clips(parts: list[Batch]) -> dict[int, tuple[str, int, Tensor]]:
    """Key, label and pixels by number."""
    return {
        number: (key, int(label), clip)
        for part in parts
        for number, key, label, clip in zip(part.numbers, part.keys, part.labels, part.clips, strict=True)
    }


def sample_of(clip: Tensor) -> int:
    """Which sample the pixels were taken from: red tells."""
    return round(clip[..., 0, :, :].float().mean().item())


@pytest.mark.parametrize(("ranks", "workers"), [(1, 0), (2, 0), (4, 0), (1, 2)])
def test_the_previous_good_sample_of_the_lane_stands_in_whoever_reads_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], ranks: int, workers: int
) -> None:
    split = shards.make(tmp_path, SHARDS)
    lane = planned(split, lane=2)
    bad, standing_in = [lane[2], lane[3]], lane[1]
    for key in bad:
        damage(split, key)
    parts = read(split, ranks, workers)
    assert sorted(key for part in parts for key in part.replaced) == sorted(bad)
    found = clips(parts)
    assert [found[2 + ORDER.lanes * position][0] for position in range(4)] == lane[:4]  # as planned
    for position in (1, 2, 3):
        _, label, clip = found[2 + ORDER.lanes * position]
        sample = int(standing_in.removeprefix("clip-"))
        assert label == sample % 3
        assert abs(sample_of(clip) - sample) < 2
    printed = capfd.readouterr().err
    for key in (
        bad if workers == 0 else []
    ):  # a fork server has the standard error of the test that started it
        assert re.search(
            rf"warning: {split.root}/shard-\d+\.tar: sample {key}, .*CRC-32.*; sample {standing_in} is used in its pl",
            printed,
        )


@pytest.mark.parametrize("first_step", [1, 2, 3, 4])
def test_after_a_resume_the_same_sample_stands_in(tmp_path: Path, first_step: int) -> None:
    split = shards.make(tmp_path, SHARDS)
    for key in [planned(split, lane)[position] for lane in (0, 2, 4) for position in (1, 2)]:
        damage(split, key)
    whole, tail = clips(read(split)), clips(read(split, first_step=first_step))
    assert tail.keys() == set(range(first_step * BATCH, 28))
    for number, (key, label, clip) in tail.items():
        assert (key, label) == whole[number][:2]
        assert torch.equal(clip, whole[number][2])


def test_the_next_good_sample_stands_in_for_a_lane_s_first(tmp_path: Path) -> None:
    split = shards.make(tmp_path, SHARDS)
    lane = planned(split, lane=1)
    for key in lane[:2]:
        damage(split, key)
    parts = read(split)
    assert sorted(key for part in parts for key in part.replaced) == sorted(lane[:2])
    for position in (0, 1, 2):
        assert abs(sample_of(clips(parts)[1 + ORDER.lanes * position][2]) - int(lane[2][5:])) < 2


def test_frames_that_are_no_jpegs_are_replaced_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    encode = mjpeg.encode_rgb
    with monkeypatch.context() as patch:
        # red is the sample's number
        patch.setattr(
            mjpeg, "encode_rgb", lambda frame, q: b"no JPEG" * 99 if frame[0, 0, 0] == 5 else encode(frame, q)
        )
        split = shards.make(tmp_path, [12])
    assert [key for part in read(split) for key in part.replaced] == ["clip-5"]
    assert re.search(
        r"shard-000000\.tar: sample clip-5, bytes .*: damaged, frame 0: not a JPEG", capfd.readouterr().err
    )
    with pytest.raises(
        UserError, match=r"shard-000000\.tar: sample clip-5, bytes .*: damaged, frame 0: not a JPEG"
    ):
        read(split, allowed=None)


@pytest.mark.parametrize("workers", [0, 2])
def test_more_damage_than_the_budget_stops_the_run_and_names_the_last(tmp_path: Path, workers: int) -> None:
    split = shards.make(tmp_path, SHARDS)
    tar = Path(split.shard_url(2))  # 9 samples
    tar.write_bytes(tar.read_bytes()[: load_sidecar(split.sidecar_url(2)).samples[1].offset])
    with pytest.raises(
        UserError,
        match=r"shard-000002\.tar: ends before sample clip-\d+, .*; 3 damaged samples .* more than the 2 that "
        r"data\.corrupt_budget allows",
    ):
        read(split, workers=workers, allowed=2)
    assert len([key for part in read(split, allowed=8) for key in part.replaced]) >= 6


def test_a_shard_that_is_replaced_under_a_running_job_is_never_trained_on(tmp_path: Path) -> None:
    split = shards.make(tmp_path / "old", [6, 6, 6])
    others = shards.make(tmp_path / "new", [6, 6, 6], frames=13)
    stream = ClipStream(split, eval_cutter(settings(split)), plan.Order(0, 1, 1), Passes(2), 0, 1)
    running = batches(stream, 0)
    next(running)
    for shard in range(3):
        Path(others.shard_url(shard)).replace(split.shard_url(shard))
    seen = 2
    with pytest.raises(
        UserError, match=r"shard-00000\d\.tar: sample clip-\d+, .*: damaged, its CRC-32 differs"
    ):
        for batch in running:
            seen += len(batch.numbers)
    assert seen == 6  # what was open already is the old file


def test_the_budget_is_a_share_of_the_epoch() -> None:
    data = config.Data(root="unused")
    assert corrupt.allowed(data, 10_000) is None
    assert corrupt.allowed(data.model_copy(update={"corrupt": "replace"}), 10_000) == 10
    assert corrupt.allowed(data.model_copy(update={"corrupt": "replace", "corrupt_budget": 0.29}), 100) == 29


def test_the_ranks_replacements_are_summed_by_epoch() -> None:
    tally = corrupt.Tally(allowed=3)
    tally.add(0, 2)
    tally.add(0, 1)
    tally.add(1, 3)
    with pytest.raises(
        UserError, match=r"epoch 1: 4 damaged samples .* more than the 3 that data\.corrupt_budget"
    ):
        tally.add(1, 1)
    with pytest.raises(UserError, match="4 damaged samples"):  # a run that was resumed
        corrupt.Tally(allowed=3, **tally.state()).add(1, 0)


SMALL = ["data.size=32", "data.short_side=32", "model.num_frames=2", "optim.global_batch=4", "optim.epochs=1"]


def test_a_run_counts_replacements_in_its_metrics_and_names_them_in_its_audit(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    split = shards.make(tmp_path / "shards", [8])
    shards.make(tmp_path / "shards", [3], split="validation")
    for key in ("clip-2", "clip-7"):
        damage(split, key)
    where = [f"data.root={tmp_path}/shards", "data.workers=0", "run.precision=fp32", "run.audit=true"]
    command = ["--config", "configs/demo.yaml", *where, *SMALL, "run.log_steps=1"]
    assert train.main([*command, f"run.folder={tmp_path}/stop"]) == 2
    assert "its CRC-32 differs" in capfd.readouterr().err.splitlines()[-1]
    replace = ["data.corrupt=replace", "data.corrupt_budget=0.25"]
    assert train.main([*command, *replace, f"run.folder={tmp_path}/run"]) == 0
    lines = [line for line in journal.read(f"{tmp_path}/run/metrics.jsonl") if line["kind"] == "train"]
    audited = journal.read(f"{tmp_path}/run/audit/from-00000000.rank-000.jsonl")
    assert [line["replaced"] for line in lines] == [len(line["replaced"]) for line in audited]
    assert sorted(key for line in audited for key in line["replaced"]) == ["clip-2", "clip-7"]
    assert sorted(key for line in audited for key in line["keys"]) == [
        f"clip-{sample}" for sample in range(8)
    ]


def test_a_resumed_run_counts_on(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    split = shards.make(tmp_path / "shards", [8])
    shards.make(tmp_path / "shards", [3], split="validation")
    where = [f"data.root={tmp_path}/shards", "data.workers=0", "run.precision=fp32", "run.audit=true"]
    command = [
        "--config",
        "configs/demo.yaml",
        *where,
        *SMALL,
        "data.corrupt=replace",
        "data.corrupt_budget=0.25",
    ]
    assert train.main([*command, f"run.folder={tmp_path}/whole"]) == 0
    first, second = journal.read(f"{tmp_path}/whole/audit/from-00000000.rank-000.jsonl")
    for key in (first["keys"][0], *second["keys"][:2]):
        damage(split, key)
    for done in (0, 1):
        assert train.main([*command, f"run.folder={tmp_path}/run", "run.checkpoint_steps=1"]) == 2
        out, err = capfd.readouterr()
        assert (f"resuming {tmp_path}/run after 1 steps" in out) == bool(done)
        assert "3 damaged samples" in err.splitlines()[-1]


def test_evaluation_stops_at_damage(tmp_path: Path) -> None:
    split = shards.make(tmp_path, [3])
    damage(split, "clip-1")
    chosen = settings(
        split, "data.corrupt=replace", "data.corrupt_budget=1", "data.workers=0", "run.precision=fp32"
    )
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(3))
    with pytest.raises(UserError, match=r"sample clip-1, .*its CRC-32 differs"):
        predictions.predict(network, split, chosen, World(0, 1, torch.device("cpu")), batch=2)
