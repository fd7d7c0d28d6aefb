"""What slows a run has a name in its metrics: the rank, its host, and the stage that it is behind in."""

import platform
from collections import Counter
from pathlib import Path

import pytest

from pipeline.run import journal
from tests import shards
from tests.faults import Fault, fault_proxy
from tests.processes import run, torchrun
from tests.stores import S3Server

STEPS, BATCH = 16, 4
PAUSE_S = 5
"""Behind each 64 KiB of a lane's shard, three samples: a step waits for longer than it takes on a busy machine."""


def training(root: str, folder: Path, *before: str, module: str = "pipeline.train") -> list[str]:
    return torchrun(
        2,
        module,
        *before,
        "--config=configs/demo.yaml",
        *(f"data.root={root}", f"run.folder={folder}", "data.size=32", "data.short_side=32", "data.window=8"),
        "data.lanes=2",  # of which each rank has one, and reads nothing beside it
        *(
            "data.workers=1",
            "model.num_frames=4",
            "model.depth=26",
            f"optim.global_batch={BATCH}",
            "optim.epochs=1",
        ),
        *("run.log_steps=2", "run.precision=fp32"),
    )


def make(root: str) -> None:
    shards.make(root, [2 * STEPS, 2 * STEPS], frames=8, width=160, height=128)
    shards.make(root, [4], split="validation")


def lost(folder: Path) -> Counter[tuple[int, str, str]]:
    """Seconds by which each rank, host and stage held up the others, as the lines say; the first is of the start."""
    lines = [line for line in journal.read(str(folder / "metrics.jsonl")) if line["kind"] == "train"]
    assert len(lines) == STEPS // 2
    found: Counter[tuple[int, str, str]] = Counter()
    for line in lines[1:]:
        slowest, seconds = line["slowest"], 2 * BATCH / line["clips_per_s"]
        found[slowest["rank"], slowest["host"], slowest["stage"]] += slowest["behind"] * seconds
    return found


def assert_named(found: Counter[tuple[int, str, str]], stage: str) -> None:
    """On a busy machine others are named now and then, for next to no time."""
    assert found[1, platform.node(), stage] > 0.7 * found.total() and found.total() > 5, found


@pytest.mark.store
@pytest.mark.world(2)
def test_the_rank_with_the_slow_store_is_named(s3: str, s3_server: S3Server, tmp_path: Path) -> None:
    make(s3)
    with fault_proxy(
        int(s3_server.endpoint.rpartition(":")[2]), lambda request: Fault(pause=PAUSE_S)
    ) as proxy:
        done = run(training(s3, tmp_path, proxy.endpoint, module="tests.slow_rank"))
    assert_named(lost(tmp_path), "read")
    assert f"rank 1 on {platform.node()} is" in done.stdout
    assert "behind in read" in done.stdout


@pytest.mark.world(2)
def test_the_rank_with_the_slow_decoding_is_named(tmp_path: Path) -> None:
    root, folder = str(tmp_path / "shards"), tmp_path / "run"
    make(root)
    run(training(root, folder, "decoding", module="tests.slow_rank"))
    assert_named(lost(folder), "decode")
