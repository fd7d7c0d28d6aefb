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

STEPS = 20  # of 4 clips


def training(root: str, folder: Path, *before: str, module: str = "pipeline.train") -> list[str]:
    return torchrun(
        2,
        module,
        *before,
        "--config=configs/demo.yaml",
        *(f"data.root={root}", f"run.folder={folder}", "data.size=32", "data.short_side=32", "data.window=8"),
        *("data.workers=1", "model.num_frames=8", "optim.global_batch=4", "optim.epochs=1"),
        *("run.log_steps=2", "run.precision=fp32"),
    )


def make(root: str) -> None:
    shards.make(root, [40, 40], frames=8, width=160, height=128)
    shards.make(root, [4], split="validation")


def named(folder: Path) -> Counter[tuple[int, str, str]]:
    """Whom the lines name that say that somebody is behind by a tenth of the time; the first is of the start."""
    lines = [line for line in journal.read(str(folder / "metrics.jsonl")) if line["kind"] == "train"]
    assert len(lines) == STEPS // 2
    return Counter(
        (slowest["rank"], slowest["host"], slowest["stage"])
        for slowest in (line["slowest"] for line in lines[1:])
        if slowest["behind"] > 0.1
    )


@pytest.mark.store
@pytest.mark.world(2)
def test_the_rank_with_the_slow_store_is_named(s3: str, s3_server: S3Server, tmp_path: Path) -> None:
    make(s3)
    with fault_proxy(int(s3_server.endpoint.rpartition(":")[2]), lambda request: Fault(pause=2)) as proxy:
        done = run(training(s3, tmp_path, proxy.endpoint, module="tests.slow_rank"))
    found = named(tmp_path)
    (slowest, lines), *_ = found.most_common()
    assert slowest == (1, platform.node(), "read"), found
    assert lines > 2, found
    assert f"rank 1 on {platform.node()} is" in done.stdout
    assert "behind in read" in done.stdout


@pytest.mark.world(2)
def test_the_rank_with_the_slow_decoding_is_named(tmp_path: Path) -> None:
    root, folder = str(tmp_path / "shards"), tmp_path / "run"
    make(root)
    run(training(root, folder, "decoding", module="tests.slow_rank"))
    found = named(folder)
    (slowest, lines), *_ = found.most_common()
    assert slowest == (1, platform.node(), "decode"), found
    assert lines > 2, found
