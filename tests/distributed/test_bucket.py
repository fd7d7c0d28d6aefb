"""The whole line in a bucket: shards, run folder, checkpoints, resume and scores on a real S3 server."""

import json
from pathlib import Path

import pytest

from pipeline.run import checkpoint, journal
from pipeline.run.proof import prove
from sharding import storage
from sharding.cli import main as blvnet_shard
from tests import audits
from tests.faults import fault_proxy
from tests.processes import run, torchrun
from tests.stores import S3Server
from tests.unit.sharding.videos import write_set


@pytest.mark.store
@pytest.mark.world(2)
def test_build_train_resume_and_evaluate_in_a_bucket(
    s3: str, s3_server: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    annotations, videos = write_set(tmp_path, train=10, validation=5, frames=8)
    build = ["build", "--dataset=sthv2", f"--annotations={annotations}", f"--videos={videos}"]
    assert blvnet_shard([*build, f"--out={s3}/shards", "--samples-per-shard=4", "--workers=2"]) == 0

    def train(epochs: int) -> str:
        command = torchrun(
            2,
            "pipeline.train",
            "--config=configs/demo.yaml",
            *(f"data.root={s3}/shards", f"run.folder={s3}/run", "data.size=32", "data.short_side=32"),
            *(
                "model.num_frames=4",
                "optim.global_batch=4",
                f"optim.epochs={epochs}",
                "optim.schedule=constant",
            ),
            *("run.audit=true", "run.log_steps=1", "run.precision=fp32"),
        )
        return run(command).stdout

    train(epochs=1)
    assert storage.list_names(f"{s3}/run") == ["config.yaml", "metrics.jsonl"]
    assert checkpoint.load(f"{s3}/run")["position"]["done"] == 2
    assert f"resuming {s3}/run after 2 steps" in train(epochs=2)
    assert checkpoint.load(f"{s3}/run")["position"]["done"] == 4
    steps = [line["step"] for line in journal.read(f"{s3}/run/metrics.jsonl") if line["kind"] == "train"]
    assert steps == [1, 2, 3, 4]
    assert [len(set(keys)) for keys in audits.keys_by_step(f"{s3}/run").values()] == [4, 4, 4, 4]
    proof = prove(f"{s3}/run")
    assert (proof.findings, proof.samples, proof.restarts, proof.evaluations) == ([], 16, [2], 2)

    evaluate = torchrun(
        2,
        "pipeline.evaluate",
        *(f"--checkpoint={s3}/run", f"--data={s3}/shards/validation", f"--out={s3}/run"),
    )
    with fault_proxy(int(s3_server.endpoint.rpartition(":")[2])) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", proxy.endpoint)
        assert "validation: 5 videos, views 1 x 1 (uniform), 32 of 32" in run(evaluate).stdout
    reads = [r.target for r in proxy.requests if r.method == "GET" and ".pt" in r.target]
    assert len(reads) == 1, reads  # by one rank of the two
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server.endpoint)
    assert json.loads(storage.read_bytes(f"{s3}/run/scores-validation.json"))["split"] == "validation"
