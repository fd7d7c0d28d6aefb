"""A training under SLURM whose shards and run folder are in a bucket: its time limit, a node that dies, a mistake."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from launch import cli
from tests import shards
from tests.cluster.slurm import Cluster, idle_nodes
from tests.faults import Fault, Request, fault_proxy
from tests.processes import ROOT
from tests.stores import S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

PATIENCE_S = 300
SMALL = ["data.size=32", "data.short_side=32", "data.workers=0", "model.num_frames=4", "run.precision=fp32"]
EPOCHS, STEPS = 8, 6  # of 4 clips each, from 24 samples
LIMIT_MIN, SHORT_MIN = 30, 3
"""Time limits of the job: at first, and when it is to come to its end, of which it is told three minutes before."""
PAUSE_S = 3.0
"""Behind each 64 KiB of the shards: all steps together take longer than the time limit lets them."""


@pytest.fixture(autouse=True)
def _told(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PATH", "SLURM_CONF"):
        monkeypatch.setenv(name, cluster.environment[name])
    monkeypatch.chdir(tmp_path)


def steps(log: Path) -> list[int]:
    """Every step that was told of, again where it was done again."""
    if not log.exists():
        return []
    return [int(number) for number in re.findall(r"^\d+: step (\d+)/", log.read_text(), re.MULTILINE)]


def runs(log: Path) -> list[str]:
    """What the job's script says at each start: the nodes."""
    return re.findall(r" job \d+, run \d+: (\S+), 1 a node$", log.read_text(), re.MULTILINE)


def limit(cluster: Cluster, number: str, minutes: int) -> None:
    """Change the time limit of a job."""
    cluster.run("scontrol", "update", f"jobid={number}", f"timelimit={minutes}")


def slow_shards(request: Request) -> Fault | None:
    return Fault(pause=PAUSE_S) if "/train/" in request.target and ".tar" in request.target else None


def test_a_run_in_a_bucket_outlives_a_node_that_dies_and_its_time_limit(
    cluster: Cluster,
    s3: str,
    s3_server: S3Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    shards.make(f"{s3}/shards", [14, 10])
    shards.make(f"{s3}/shards", [4], split="validation")
    run = f"{s3}/run"
    settings = [*SMALL, f"data.root={s3}/shards", f"run.folder={run}", "run.log_steps=1", "run.audit=true"]
    settings += ["run.checkpoint_steps=4", "optim.global_batch=4", f"optim.epochs={EPOCHS}"]
    settings += [f"run.evaluate_epochs={EPOCHS}"]
    options = ["--nodes", "1:2", "--log", "logs", "--sbatch", "--exclusive", "--time", str(LIMIT_MIN)]
    command = ["slurm", "train", *options, "--config", str(ROOT / "configs/demo.yaml"), *settings]
    with fault_proxy(int(s3_server.endpoint.rpartition(":")[2]), slow_shards) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        assert cli.main(command) == 0
        number = capfd.readouterr().out.partition("\njob ")[2].partition(":")[0]
        log = tmp_path / "logs" / f"blvnet-train-{number}.log"
        cluster.wait_for(lambda: max(steps(log), default=0) >= 9, PATIENCE_S, "nine steps", log)
        cluster.lose("n2")
        cluster.wait_for(lambda: cluster.job(number)["Restarts"] == "1", 60, "the job in the queue", log)
        cluster.wait_for(lambda: len(runs(log)) == 2, 60, "the job on the other node", log)
        cluster.start("n2")
        cluster.wait_for(lambda: "n2" in idle_nodes(cluster), 30, "the node's return", log)
        at = len(steps(log))
        cluster.wait_for(lambda: len(steps(log)) >= at + 5, PATIENCE_S, "five more steps", log)
        limit(cluster, number, SHORT_MIN)
        cluster.wait_for(lambda: len(runs(log)) == 3, PATIENCE_S, "the time limit", log)
        limit(cluster, number, LIMIT_MIN)
        proxy.decide = lambda request: None
        assert cluster.wait_for_end(number, PATIENCE_S, log) == "COMPLETED"
        audit = [sys.executable, "-m", "pipeline.audit", run]
        done = subprocess.run(audit, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and "proven" in done.stdout, done.stdout + done.stderr

    output = log.read_text()
    assert runs(log) == ["n[1-2]", "n1", "n[1-2]"], output
    assert output.count("time is nearly up") == 1, output
    assert output.count(f"resuming {run} after ") == 2, output
    assert sorted(set(steps(log))) == list(range(1, EPOCHS * STEPS + 1))


MISTAKES = {
    "optim.learning_rate=0.1": "unknown key optim.learning_rate",
    "data.root=nowhere": "nowhere/train/manifest.json: no such manifest",
    "optim.global_batch=5": "5 clips cannot be shared equally by 2 ranks",
    "--lr=0.1": "unrecognized arguments: --lr=0.1",
}


def test_a_mistake_is_one_line_in_the_log_and_the_job_has_failed(cluster: Cluster, tmp_path: Path) -> None:
    shards.make(tmp_path / "shards", [14, 10])
    shards.make(tmp_path / "shards", [4], split="validation")
    numbers = {}
    for i, mistake in enumerate(MISTAKES):
        words = [*SMALL, f"data.root={tmp_path}/shards", f"run.folder={tmp_path}/run-{i}", mistake]
        script = [str(ROOT / "launch/train.sbatch"), str(ROOT / "configs/demo.yaml"), *words]
        # A node has room for two of them.
        asked = ["--nodes=2", "--mem=2000"]
        numbers[mistake] = cluster.run("sbatch", "--parsable", *asked, *script, cwd=tmp_path).strip()
    for mistake, told in MISTAKES.items():
        number = numbers[mistake]
        log = tmp_path / f"blvnet-train-{number}.log"
        assert cluster.wait_for_end(number, PATIENCE_S, log) == "FAILED"
        job, output = cluster.job(number), log.read_text()
        assert (job["ExitCode"], job["Restarts"]) == ("2:0", "0"), output
        begins, said, *rest = output.splitlines()
        assert f" job {number}, run 0: n[1-2], 1 a node" in begins
        assert "error: " in said and told in said, output
        # SLURM's own, of the tasks that have ended.
        assert all(line.startswith("srun: error: n") for line in rest), output
