"""What a node finds on itself, and an all-reduce between processes that do or do not reach each other."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline import config as configuration
from pipeline.checking import node
from pipeline.checking.report import of_line
from pipeline.config import Config
from pipeline.data import splits
from sharding.format.manifest import Manifest
from tests import shards
from tests.cluster.slurm import free_ports
from tests.processes import ROOT, run


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


def test_the_stores_of_a_mixture_are_measured_each_by_its_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, samples in (("shards", 30), ("other", 10)):
        shards.make(tmp_path / name, [samples])
    shards.make(tmp_path / "shards", [4], split="validation")
    config = tiny(tmp_path, f"data.mix={{{tmp_path}/other: 2}}")
    train_set, _, mixed = splits.load_all(config)
    other = mixed[0].split
    rates = {train_set.root: 100.0, other.root: 10.0}
    asked: list[float] = []

    def rate(split: Manifest, seconds: float) -> float:
        asked.append(seconds)
        return rates[split.root]

    monkeypatch.setattr(node, "store_rate", rate)
    found = node.look(config, 1, 1)
    epoch = train_set.bytes + 2 * other.bytes
    assert found.store_mb_per_s == pytest.approx(epoch / (train_set.bytes / 100 + 2 * other.bytes / 10))
    clips = 2 * found.frames_per_s / 16
    assert found.needed_mb_per_s == pytest.approx(clips * epoch / (30 + 2 * 10) / 1e6)
    rates[other.root] = 0.0
    assert node.look(config, 1, 1).store_mb_per_s == 0
    assert asked == [1.0] * 4


def test_a_mixed_set_that_is_not_there_is_told(tmp_path: Path) -> None:
    shards.make(tmp_path / "shards", [4])
    shards.make(tmp_path / "shards", [4], split="validation")
    found = node.look(tiny(tmp_path, f"data.mix={{{tmp_path}/nowhere: 2}}"), 1, 1)
    assert "nowhere/train/manifest.json: no such manifest" in found.problems["shards"]


def test_what_does_not_answer_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(node, "ANSWER_S", 0.5)
    for what in (node.splits, node.request):
        monkeypatch.setattr(
            what, "load_all" if what is node.splits else "check_writable", lambda _: over.wait()
        )
    try:
        found = node.look(tiny(tmp_path), 1, 1)
    finally:
        over.set()
    assert found.problems == dict.fromkeys(("shards", "run folder"), "no answer within 0.5 s")
    assert found.frames_per_s > 10


def test_a_fault_of_the_program_is_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(config: Config) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(splits, "load_all", fails)
    with pytest.raises(ZeroDivisionError):
        node.look(tiny(tmp_path), 1, 1)


def test_a_store_that_is_away_is_told_in_seconds(tmp_path: Path, port: int) -> None:
    tiny(tmp_path)
    words = ["node", "--config", f"{tmp_path}/tiny.yaml", "data.root=s3://b/shards", "run.folder=s3://b/run"]
    secrets = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "AWS_DEFAULT_REGION": "us-east-1"}
    away = {"AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{port}"}
    done = run([sys.executable, "-m", "pipeline.preflight", *words], {**secrets, **away})
    (found,) = [report for line in done.stdout.splitlines() if (report := of_line(line))]
    assert set(found.problems) == {"shards", "run folder"}
    for url, problem in (
        ("s3://b/shards/train", found.problems["shards"]),
        ("s3://b/run", found.problems["run folder"]),
    ):
        assert problem.startswith(url) and "tried for " in problem, problem


@pytest.mark.parametrize(("told", "found"), [("8", 8), (None, 1)])
def test_a_node_counts_the_gpus_of_its_job(
    told: str | None, found: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLURM_GPUS_ON_NODE", raising=False)
    monkeypatch.setattr(node, "DEVICES", Path("/nowhere"))
    if told:
        monkeypatch.setenv("SLURM_GPUS_ON_NODE", told)
    assert node.processes() == found


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
