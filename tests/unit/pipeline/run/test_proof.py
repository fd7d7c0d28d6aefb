"""The audit proves a sound record as far as it reaches; `test_tampering.py` has those that it refutes."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline import train
from pipeline.audit import main
from pipeline.run.audit_log import AuditLog
from pipeline.run.proof import prove
from sharding.errors import UserError
from sharding.format import manifest
from sharding.format.manifest import Manifest
from tests import shards
from tests.unit.pipeline.run.recorded import checkpointed, record


def test_a_run_with_restarts_on_other_numbers_of_ranks_is_proven(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(whole)]) == 0
    *table, verdict = capsys.readouterr().out.splitlines()
    shown = dict(line.split("  ", 1) for line in table)
    assert {name: value.strip() for name, value in shown.items()} == {
        "epochs": "2 whole",
        "steps": "10",
        "samples": "60, and 2 left out with last partial batches",
        "replaced": "0 of them, which are damaged",
        "restarts": "2 (after step 4, 7)",
        "evaluations": "2",
    }
    assert verdict.startswith("proven")


def test_a_missing_log_is_named(whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    (run / "audit" / "from-00000004.rank-001.jsonl").unlink()
    findings = prove(str(run)).findings
    assert [text.partition(": nothing on record in ")[0] for text in findings] == [
        f"step {step}, rank 1" for step in (5, 6, 7)
    ]
    assert all(text.endswith("from-00000004.rank-001.jsonl") for text in findings)


def test_a_cut_last_line_counts_against_a_checkpoint_and_not_behind_it(
    split: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, split, done=0, ranks=2, stop=8)
    log = tmp_path / "audit" / "from-00000000.rank-001.jsonl"
    log.write_bytes(log.read_bytes()[:-5])
    checkpointed(tmp_path, 7)
    assert main([str(tmp_path)]) == 0
    assert "epochs       1 whole; epoch 1 up to step 2 of 5" in capsys.readouterr().out
    checkpointed(tmp_path, 8)
    assert main([str(tmp_path)]) == 1
    assert "step 8, rank 1: nothing on record" in capsys.readouterr().out


def test_a_record_that_begins_late_does_not_prove_the_steps_before(split: Manifest, tmp_path: Path) -> None:
    record(tmp_path, split, done=3, ranks=1, stop=5)
    assert prove(str(tmp_path)).findings == ["steps 1 to 3: not on record; run.audit was off then"]


def test_a_run_without_a_record_and_other_shards_are_one_line(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in (tmp_path, tmp_path / "nowhere"):
        assert main([str(folder)]) == 2
        assert "train with run.audit=true" in capsys.readouterr().err
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    for header in (run / "audit").glob("from-????????.json"):
        header.write_text(json.dumps({**json.loads(header.read_text()), "manifest": "0" * 64}))
    assert main([str(run)]) == 2
    assert "its manifest is not the one that this run was trained with" in capsys.readouterr().err


def test_a_run_that_is_in_its_last_evaluation_is_proven_and_one_that_has_its_scores_is_not(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    (run / "audit" / "validation-00000010.json").unlink()
    assert main([str(run)]) == 0
    assert "evaluations  1, and that after step 10 is still to be done" in capsys.readouterr().out
    (run / "metrics.jsonl").write_text('{"kind": "validation", "step": 10, "top1": NaN}\n{"kind": "tr')
    (finding,) = prove(str(run)).findings
    assert "evaluation after step 10: was due, and is not on record in" in finding


def test_an_evaluation_may_be_on_record_before_the_logs_that_a_bucket_holds_back(
    split: Manifest, tmp_path: Path
) -> None:
    record(tmp_path, split, done=0, ranks=2, stop=10)
    checkpointed(tmp_path, 5)
    for rank in (0, 1):
        log = tmp_path / "audit" / f"from-00000000.rank-{rank:03d}.jsonl"
        log.write_text("".join(log.read_text().splitlines(keepends=True)[: 5 + rank]))
    proof = prove(str(tmp_path))
    assert (proof.findings, proof.steps) == ([], 5)


def test_evaluations_are_those_that_each_start_was_configured_for(split: Manifest, tmp_path: Path) -> None:
    record(tmp_path, split, done=0, ranks=2, stop=10, epochs=2, every=2)
    record(tmp_path, split, done=10, ranks=1, stop=18, epochs=5, every=1)  # killed in step 19
    record(tmp_path, split, done=15, ranks=1, stop=20, epochs=4, every=9)
    checkpointed(tmp_path, 20)
    proof = prove(str(tmp_path))
    assert (proof.findings, proof.evaluations) == ([], 3)  # after steps 10, 15 and 20
    (tmp_path / "audit" / "validation-00000015.json").unlink()
    (finding,) = prove(str(tmp_path)).findings
    assert "evaluation after step 15: was due" in finding


def test_an_evaluation_after_a_restart_may_be_of_the_split_that_is_configured_then(
    split: Manifest, tmp_path: Path
) -> None:
    other = shards.make(tmp_path / "other", [7], split="validation", frames=2)
    record(tmp_path, split, done=0, ranks=1, stop=5)
    (tmp_path / "audit" / "validation-00000005.json").unlink()  # stopped in it
    record(tmp_path, split, done=5, ranks=1, stop=7)
    start = tmp_path / "audit" / "from-00000005.json"
    content = json.loads(start.read_text())
    content["settings"] |= {"validation": other.root, "validation_manifest": other.sha256}
    start.write_text(json.dumps(content))
    AuditLog(str(tmp_path), 1, 5).validation(5, other, [f"clip-{n}" for n in range(7)])
    (tmp_path / "audit" / "from-00000005.rank-001.jsonl").unlink()
    proof = prove(str(tmp_path))
    assert (proof.findings, proof.steps, proof.evaluations) == ([], 7, 1)


def test_replaced_samples_within_the_budget_are_no_violation(whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    log = run / "audit" / "from-00000007.rank-000.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines[0]["replaced"] = lines[0]["keys"][:3]  # a tenth of 31
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    proof = prove(str(run))
    assert (proof.findings, proof.replaced) == ([], 3)


def test_a_run_that_was_ended_for_its_damaged_samples_is_proven(split: Manifest, tmp_path: Path) -> None:
    record(tmp_path, split, done=0, ranks=1, stop=5, budget=0.0)
    log = tmp_path / "audit" / "from-00000000.rank-000.jsonl"
    *lines, last = [json.loads(line) for line in log.read_text().splitlines()]
    last["replaced"] = last["keys"]
    log.write_text("".join(json.dumps(line) + "\n" for line in [*lines, last]))
    checkpointed(tmp_path, 4)
    assert prove(str(tmp_path)).findings == []
    checkpointed(tmp_path, 5)  # which it would not have reached
    (finding,) = prove(str(tmp_path)).findings
    assert finding.startswith("step 5: 6 samples replaced in epoch 0, ") and finding.endswith("allowed 0")


def test_a_run_whose_shards_were_moved_is_proven(split: Manifest, whole: Path, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(Path(split.root).parent, tmp_path / "moved"))
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    start = run / "audit" / "from-00000007.json"
    for root in (str(moved / "train"), "/gone/train"):
        start.write_text(json.dumps({**json.loads(start.read_text()), "split": root}))
        assert prove(str(run)).findings == []


def test_a_run_whose_shards_are_gone_from_where_it_began_is_proven_where_they_are(tmp_path: Path) -> None:
    before, now = tmp_path / "before", tmp_path / "now"
    shards.make(before, [4, 3], split="validation", frames=2)
    split = shards.make(before, [7, 5, 9, 4, 6], frames=2)
    record(tmp_path, split, done=0, ranks=1, stop=7)
    before.rename(now)
    record(tmp_path, manifest.load(str(now / "train")), done=7, ranks=1, stop=10)
    checkpointed(tmp_path, 10)
    proof = prove(str(tmp_path))
    assert (proof.findings, proof.steps, proof.evaluations) == ([], 10, 2)


def test_a_record_without_settings_is_proven_and_said_to_be_old(
    split: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record(tmp_path, split, done=0, ranks=2, stop=10, old=True)
    (tmp_path / "audit" / "validation-00000005.json").unlink()
    assert main([str(tmp_path)]) == 0
    said = "1; none is expected of 1 starts, recorded by an earlier version"
    assert f"evaluations  {said}" in capsys.readouterr().out


def test_a_second_log_of_a_rank_does_not_empty_the_first(split: Manifest, tmp_path: Path) -> None:
    record(tmp_path, split, done=0, ranks=1, stop=5)
    log = tmp_path / "audit" / "from-00000000.rank-000.jsonl"
    before = log.read_bytes()
    with pytest.raises(
        UserError, match=r"from-00000000\.rank-000\.jsonl: has 5 steps of this start already: "
    ):
        AuditLog(str(tmp_path), 0, 0)
    assert log.read_bytes() == before


def test_training_writes_a_record_that_is_proven(split: Manifest, tmp_path: Path) -> None:
    root = split.root.removesuffix("/train")
    where = [f"data.root={root}", f"run.folder={tmp_path}", "data.workers=0", "run.precision=fp32"]
    small = ["data.size=32", "data.short_side=32", "model.num_frames=2", "optim.global_batch=6"]
    for epochs in (1, 2):
        more = [f"optim.epochs={epochs}", "run.audit=true"]
        assert train.main(["--config", "configs/demo.yaml", *where, *small, *more]) == 0
    proof = prove(str(tmp_path))
    assert proof.findings == []
    assert (proof.steps, proof.samples, proof.restarts, proof.evaluations) == (10, 60, [5], 2)
