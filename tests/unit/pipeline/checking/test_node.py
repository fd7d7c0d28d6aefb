"""What a node finds on itself, and an all-reduce between processes that do or do not reach each other."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import config as configuration
from pipeline.checking import node
from pipeline.config import Config
from tests import shards
from tests.cluster.slurm import free_ports
from tests.processes import ROOT


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "SECONDS", 0.2)
    for measured in (node.decode_rate, node.store_rate):
        monkeypatch.setattr(measured, "__defaults__", (0.2,))


def tiny(folder: Path, *overrides: str) -> Config:
    (folder / "tiny.yaml").write_text("run: {device: cpu}\noptim: {global_batch: 8}\n")
    words = [f"data.root={folder}/shards", f"run.folder={folder}/run", "data.workers=2", *overrides]
    return configuration.load(str(folder / "tiny.yaml"), words)


def test_a_sound_node_has_no_problems(tmp_path: Path) -> None:
    made = shards.make(tmp_path / "shards", [20, 12])
    shards.make(tmp_path / "shards", [4], split="validation")
    found = node.look(tiny(tmp_path, f"data.cache={tmp_path}/not/there", "data.cache_gb=3"), 2, 4)
    assert found.problems == {}
    assert found.devices == ["CPU", "CPU"]
    assert found.store_mb_per_s and found.store_mb_per_s > 1
    clips = 2 * 2 * found.frames_per_s / 16
    assert found.needed_mb_per_s == pytest.approx(clips * made.bytes / 32 / 1e6)
    # Five batches of 4 clips in the ring of training, and as many views in an evaluation's.
    assert found.shared_needed == 5 * (4 + 4) * 16 * 3 * 224 * 224
    assert found.cache_free and found.cache_needed == 3 * 10**9
    assert not any((tmp_path / "run").iterdir())


def test_what_would_end_a_training_here_is_told(tmp_path: Path) -> None:
    found = node.look(tiny(tmp_path, "run.folder=/proc/run"), 1, 1)
    assert set(found.problems) == {"shards", "run folder"}
    assert "shards/train/manifest.json" in found.problems["shards"]
    assert "/proc/run" in found.problems["run folder"]
    assert found.store_mb_per_s is None and found.frames_per_s > 10


def test_shards_that_are_gone_are_told(tmp_path: Path) -> None:
    shards.make(tmp_path / "shards", [4])
    shards.make(tmp_path / "shards", [4], split="validation")
    (tmp_path / "shards" / "train" / "shard-000000.tar").unlink()
    found = node.look(tiny(tmp_path), 1, 1)
    assert "shard-000000.tar: no such file" in found.problems["store"]


@pytest.fixture
def port() -> int:
    return free_ports(1)[0]


def exchange(rank: int, port: int, host: str = "127.0.0.1", seconds: int = 4) -> "subprocess.Popen[str]":
    words = ["exchange", f"--first={host}:{port}", f"--rank={rank}", "--ranks=2", f"--timeout={seconds}"]
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.preflight", *words], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.world(2)
def test_two_processes_sum_up(port: int) -> None:
    pair = [exchange(rank, port, seconds=60) for rank in range(2)]
    for process in pair:
        out, _ = process.communicate(timeout=100)
        assert process.returncode == 0, out
        assert out.endswith(" MB/s\n")


def test_one_that_nobody_joins_says_so_in_time(port: int) -> None:
    process = exchange(0, port)
    out, _ = process.communicate(timeout=100)
    assert process.returncode == 1
    assert out.startswith("rank 0: ") and out.count("\n") == 1
