"""The audit: a sound record is proven as far as it reaches, a tampered one refuted with step and key."""

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from pipeline import config, train
from pipeline.audit import main
from pipeline.data.clips import eval_cutter
from pipeline.data.loader import batches
from pipeline.data.stream import ClipStream, Passes
from pipeline.order.position import Position
from pipeline.run import audit_log
from pipeline.run.audit_log import AuditLog, Start
from pipeline.run.proof import prove
from sharding.format import manifest
from sharding.format.manifest import Manifest
from tests import shards

BATCH, STEPS = 6, 5  # of 31 samples


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    root = tmp_path_factory.mktemp("shards")
    shards.make(root, [4, 3], split="validation", frames=2)
    return shards.make(root, [7, 5, 9, 4, 6], frames=2)


def record(folder: Path, split: Manifest, done: int, ranks: int, stop: int) -> None:
    """What a start behind step `done` on `ranks` ranks writes down until it ends after step `stop`."""
    at = Position(
        split.sha256, seed=3, lanes=4, window=8, global_batch=BATCH, steps_in_epoch=STEPS, done=done
    )
    audit_log.clear(str(folder), done)
    audit_log.begin(str(folder), Start(at, ranks, split.root))
    tree = {"data": {"root": "", "size": 32, "short_side": 32}, "run": {"folder": ""}}
    cutter = eval_cutter(config.override(tree, ["model.num_frames=2"], "test"))
    validation = manifest.load(split.root.replace("train", "validation"))
    passes = Passes(BATCH, epochs=2, first_epoch=at.epoch, first_step=at.step)
    for rank in range(ranks):
        log = AuditLog(str(folder), rank, done)
        stream = ClipStream(split, cutter, at.order, passes, rank, ranks)
        for step, batch in zip(range(done + 1, stop + 1), batches(stream, 0), strict=False):
            log.write(step, batch)
            if rank == 0 and step % STEPS == 0:
                log.validation(step, validation, [f"clip-{n}" for n in range(7)])
        log.flush()


def checkpointed(folder: Path, step: int) -> None:
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "latest.json").write_text(json.dumps({"step": step}))


@pytest.fixture(scope="module")
def whole(split: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two epochs on two ranks, then, from step 4 on, three, and from step 7 on one."""
    folder = tmp_path_factory.mktemp("run")
    record(folder, split, done=0, ranks=2, stop=6)
    record(folder, split, done=4, ranks=3, stop=8)
    record(folder, split, done=7, ranks=1, stop=10)
    checkpointed(folder, 10)
    return folder


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


Lines = list[dict[str, Any]]


def doubled(lines: Lines) -> None:
    lines[1]["keys"][0] = lines[0]["keys"][0]


def missing(lines: Lines) -> None:
    del lines[1]["keys"][0], lines[1]["numbers"][0]


def swapped(lines: Lines) -> None:
    lines[1]["keys"][:2] = lines[1]["keys"][1::-1]


def repeated_step(lines: Lines) -> None:
    lines.insert(2, lines[1])


def lost_step(lines: Lines) -> None:
    del lines[1]


def exchanged_steps(lines: Lines) -> None:
    lines[0]["keys"], lines[1]["keys"] = lines[1]["keys"], lines[0]["keys"]


def stranger(lines: Lines) -> None:
    lines[1]["keys"][2] = "clip-99"


@pytest.mark.parametrize(
    ("tamper", "expected"),
    [
        (doubled, ["step 2: {0} was used again in epoch 0, first in step 1", "sample 6 is {1} by the plan, but {0}"]),
        (missing, ["step 2: sample 6, {1}, was not used"]),
        (swapped, ["step 2: sample 6 is {1} by the plan, but {2} was used"]),
        (repeated_step, ["step 2, rank 0: {1} used as sample 6, which is not this rank's next"]),
        (lost_step, ["step 2, rank 0: nothing on record in"]),
        (exchanged_steps, ["step 1: sample 0 is {0} by the plan, but {1} was used", "step 2: sample 6 is {1} by the"]),
        (stranger, ["step 2: clip-99 was used, which is no sample of the split"]),
    ],
)  # fmt: skip
def test_a_tampered_log_is_refuted_with_step_and_key(
    whole: Path,
    tmp_path: Path,
    tamper: Callable[[Lines], None],
    expected: Iterable[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    log = run / "audit" / "from-00000000.rank-000.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    keys = [lines[0]["keys"][0], *lines[1]["keys"][:2]]
    tamper(lines)
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main([str(run)]) == 1
    printed = capsys.readouterr().out
    for text in expected:
        assert text.format(*keys) in printed
    assert "refuted" in printed.splitlines()[-1]


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


def test_replaced_samples_are_counted_and_no_violation(whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    log = run / "audit" / "from-00000007.rank-000.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines[0]["replaced"] = lines[0]["keys"][:1]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    proof = prove(str(run))
    assert (proof.findings, proof.replaced) == ([], 1)


def test_an_evaluation_scores_every_sample_once(whole: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    file = run / "audit" / "validation-00000005.json"
    content = json.loads(file.read_text())
    content["keys"][0] = content["keys"][1]
    file.write_text(json.dumps(content))
    assert prove(str(run)).findings == [
        "evaluation after step 5: clip-0 was scored 0 times",
        "evaluation after step 5: clip-1 was scored 2 times",
    ]


def test_a_record_that_begins_late_does_not_prove_the_steps_before(split: Manifest, tmp_path: Path) -> None:
    record(tmp_path, split, done=3, ranks=1, stop=5)
    assert prove(str(tmp_path)).findings == ["steps 1 to 3: not on record; run.audit was off then"]


def test_a_run_without_a_record_and_other_shards_are_one_line(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2
    assert "train with run.audit=true" in capsys.readouterr().err
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    header = run / "audit" / "from-00000000.json"
    header.write_text(json.dumps({**json.loads(header.read_text()), "manifest": "0" * 64}))
    assert main([str(run)]) == 2
    assert "its manifest is not the one that this run was trained with" in capsys.readouterr().err


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
