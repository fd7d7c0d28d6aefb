"""The batch scripts on a real SLURM of two nodes: training that goes on after its time limit and after the loss of a
node, and sharding by an array."""

from pathlib import Path

import pytest

from launch import cli
from pipeline.run import journal
from sharding.building.build import Request, build
from sharding.building.settings import Settings
from sharding.demo import demo
from tests import audits, shards
from tests.cluster.slurm import Cluster
from tests.processes import ROOT

pytestmark = pytest.mark.cluster

EPOCHS, STEPS = 3, 6  # of 4 clips each, from 24 samples


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below `folder`."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}


def reported_steps(folder: Path) -> int:
    return len([line for line in journal.read(str(folder / "metrics.jsonl")) if line["kind"] == "train"])


def test_training_goes_on_after_its_time_limit_a_signal_and_the_loss_of_a_node(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    shards.make(tmp_path / "shards", [14, 10])
    shards.make(tmp_path / "shards", [4], split="validation")
    run = tmp_path / "run"
    settings = [f"data.root={tmp_path}/shards", "data.size=32", "data.short_side=32", "data.workers=0"]
    settings += [f"run.folder={run}", "run.log_steps=1", "run.checkpoint_steps=4", "run.audit=true"]
    settings += ["run.precision=fp32", "model.num_frames=4", "optim.global_batch=4", f"optim.epochs={EPOCHS}"]
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, cluster.environment[name])
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(tmp_path)
    options = ["--nodes", "2", "--log", "logs", "--sbatch", "--exclusive", "--time", "30:00"]
    command = ["slurm", "train", *options, "--config", str(ROOT / "configs/demo.yaml"), *settings]
    assert cli.main(command) == 0
    said = capfd.readouterr().out
    number = said.partition("\njob ")[2].partition(":")[0]
    log = tmp_path / "logs" / f"blvnet-train-{number}.log"
    assert f"  log    {log}\n" in said

    cluster.wait_for(lambda: reported_steps(run) >= 5, 120, "five steps", log)
    assert cli.main(command) == 2  # the run folder is in use: nothing is queued
    assert f"error: {run}: a run wrote here " in capfd.readouterr().err
    assert len(cluster.run("squeue", "-h").splitlines()) == 1
    # what SLURM does before the limit, as the script asks for
    cluster.run("scancel", "--batch", "--signal=USR1", number)
    cluster.wait_for(lambda: reported_steps(run) >= 10, 120, "ten steps", log)
    cluster.run("scancel", "--signal=TERM", number)  # to the agents
    cluster.wait_for(lambda: cluster.job(number)["Restarts"] == "2", 60, "the job in the queue again", log)
    cluster.wait_for(lambda: reported_steps(run) >= 15, 120, "fifteen steps", log)
    cluster.run("scontrol", "update", "nodename=n2", "state=down", "reason=test")
    cluster.wait_for(lambda: cluster.job(number)["Restarts"] == "3", 30, "the job in the queue again", log)
    # its daemon is well and brings the node back
    assert cluster.wait_for_end(number, 120, log) == "COMPLETED"

    output = log.read_text()
    runs = [line.partition(" ")[2] for line in output.splitlines() if f" job {number}, run" in line]
    assert runs == [f"job {number}, run {i}: n[1-2], 1 a node" for i in range(4)]
    assert output.count("time is nearly up") == 1
    assert output.count("returning job") == 2
    assert output.count(f"resuming {run} after ") == 3
    assert reported_steps(run) == EPOCHS * STEPS
    used = audits.keys_by_step(str(run))
    assert list(used) == list(range(1, EPOCHS * STEPS + 1))
    for epoch in range(EPOCHS):
        keys = [key for step in range(epoch * STEPS, (epoch + 1) * STEPS) for key in used[step + 1]]
        assert sorted(keys) == sorted(f"clip-{i}" for i in range(24))


def test_an_array_builds_what_one_machine_builds(
    cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = tmp_path / "videos"
    demo.make(videos, workers=1, classes=2, train=6, validation=2, test=2)
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, cluster.environment[name])
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "by array"
    settings = ["--samples-per-shard", "2", "--short-side", "64"]
    inputs = ["--annotations", str(videos), "--videos", str(videos / demo.VIDEO_FOLDER), "--out", str(out)]
    words = ["--tasks", "3", "--dataset", "sthv2", *inputs, *settings]
    assert cli.main(["slurm", "shard", *words]) == 0
    cluster.wait_for(lambda: not cluster.run("squeue", "-h").strip(), 90, "all tasks done")

    alone = tmp_path / "alone"
    request = Request(
        "sthv2",
        videos,
        videos / demo.VIDEO_FOLDER,
        str(alone),
        Settings(samples_per_shard=2, short_side=64),
        workers=1,
    )
    build(request)
    logs = "".join(path.read_text() for path in sorted(tmp_path.glob("blvnet-shard-*.log")))
    last = next(tmp_path.glob("blvnet-shard-*-finalize.log"))
    assert "3 of 3 tasks are done\n" in last.read_text()
    assert contents(out) == contents(alone), logs
    assert len(contents(alone)) > 6
