"""Records that the proof must refute: each row is one thing that was changed, and the words that tell it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipeline.audit import main
from sharding.format import manifest
from sharding.format.manifest import Manifest
from tests import shards
from tests.unit.pipeline.run.recorded import BATCH, STEPS, checkpointed, record

Line = dict[str, Any]


class Run:
    """A copy of a run's folder, to be changed. `a`, `b`: the first keys of rank 0 in steps 1 and 2."""

    def __init__(self, folder: Path, split: Manifest) -> None:
        self.folder, self.split = folder, split
        lines = self.read("from-00000000.rank-000.jsonl")
        self.a, self.b = (line["keys"][:2] for line in lines[:2])

    def file(self, name: str) -> Path:
        return self.folder / "audit" / name

    def read(self, name: str) -> list[Line]:
        return [json.loads(line) for line in self.file(name).read_text().splitlines()]

    def write(self, name: str, lines: list[Line]) -> None:
        self.file(name).write_text("".join(json.dumps(line) + "\n" for line in lines))

    def set(self, name: str, **content: Any) -> None:
        """Change fields of a JSON file; None removes one."""
        found = {**self.read(name)[0], **content}
        self.file(name).write_text(
            json.dumps({key: value for key, value in found.items() if value is not None})
        )

    def set_all(self, **content: Any) -> None:
        """Change fields of every start."""
        for step in (0, 4, 7):
            self.set(f"from-{step:08d}.json", **content)

    def settings(self, name: str, **content: Any) -> None:
        self.set(name, settings={**self.read(name)[0]["settings"], **content})


Tamper = Callable[[Run], object]
FIRST, SECOND, THIRD = "from-00000000", "from-00000004", "from-00000007"
LOG = f"{FIRST}.rank-000.jsonl"


def lines(change: Callable[[list[Line]], Any], name: str = LOG) -> Tamper:
    """Change a log's lines."""

    def tamper(run: Run) -> None:
        found = run.read(name)
        change(found)
        run.write(name, found)

    return tamper


def text(change: Callable[[list[bytes]], Any], name: str = LOG) -> Tamper:
    """Change a log's lines as they lie there."""

    def tamper(run: Run) -> None:
        found = run.file(name).read_bytes().splitlines(keepends=True)
        change(found)
        run.file(name).write_bytes(b"".join(found))

    return tamper


def line(number: int, **content: Any) -> Tamper:
    """Change fields of one line."""
    return lines(lambda found: found[number].update(content))


def start(name: str, **content: Any) -> Tamper:
    return lambda run: run.set(f"{name}.json", **content)


def told(name: str, **content: Any) -> Tamper:
    return lambda run: run.settings(f"{name}.json", **content)


def every_start(**content: Any) -> Tamper:
    return lambda run: run.set_all(**content)


def bare(name: str, content: bytes) -> Tamper:
    return lambda run: run.file(name).write_bytes(content)


def removed(*names: str) -> Tamper:
    return lambda run: [run.file(name).unlink() for name in names]


def moved(name: str, to: str) -> Tamper:
    return lambda run: run.file(name).rename(run.file(to))


def copied(name: str, to: str) -> Tamper:
    return lambda run: shutil.copy(run.file(name), run.file(to))


def scored(step: int, change: Callable[[list[str]], Any]) -> Tamper:
    """Change the keys of an evaluation."""

    def tamper(run: Run) -> None:
        name = f"validation-{step:08d}.json"
        keys = run.read(name)[0]["keys"]
        change(keys)
        run.set(name, keys=keys)

    return tamper


def exchange(name: str, other: str) -> Tamper:
    def tamper(run: Run) -> None:
        run.file(name).rename(run.file("x"))
        run.file(other).rename(run.file(name))
        run.file("x").rename(run.file(other))

    return tamper


def exchange_keys(found: list[Line]) -> None:
    found[0]["keys"], found[1]["keys"] = found[1]["keys"], found[0]["keys"]


def shorter_epochs(run: Run) -> None:
    """A run that used three steps of each epoch, and says so: 18 of 31 samples."""
    shutil.rmtree(run.folder / "audit")
    record(run.folder, run.split, done=0, ranks=1, stop=10)
    kept = [found for found in run.read(LOG) if (found["step"] - 1) % STEPS < 3]
    run.write(LOG, [{**found, "step": i} for i, found in enumerate(kept, 1)])
    run.set(f"{FIRST}.json", steps_in_epoch=3)
    for before, now in ((5, 3), (10, 6)):
        run.set(f"validation-{before:08d}.json", step=now)
        run.file(f"validation-{before:08d}.json").rename(run.file(f"validation-{now:08d}.json"))
    checkpointed(run.folder, 6)


def another_order(run: Run) -> None:
    """A run that went on with another seed behind its first epoch, where no sample is used twice."""
    shutil.rmtree(run.folder / "audit")
    record(run.folder, run.split, done=0, ranks=1, stop=5)
    record(run.folder, run.split, done=5, ranks=1, stop=10, seed=4)


def another_runs_audit(run: Run) -> None:
    """The record of a sound run, in the folder of one with another configuration."""
    shutil.rmtree(run.folder / "audit")
    record(run.folder, run.split, done=0, ranks=1, stop=10, seed=9)
    configuration = run.folder / "config.yaml"
    configuration.write_text(configuration.read_text().replace("seed: 9", "seed: 3"))


def another_split_evaluated(run: Run) -> None:
    other = shards.make(run.folder / "other", [7], split="validation", frames=2)
    run.set("validation-00000010.json", split=other.root, manifest=other.sha256)


def of_training(run: Run) -> None:
    run.set("validation-00000010.json", split=run.split.root, manifest=run.split.sha256)


def metrics(content: bytes) -> Tamper:
    return lambda run: (run.folder / "metrics.jsonl").write_bytes(content)


def latest(content: str) -> Tamper:
    return lambda run: (run.folder / "checkpoints" / "latest.json").write_text(content)


def configuration(before: str, now: str) -> Tamper:
    def tamper(run: Run) -> None:
        file = run.folder / "config.yaml"
        assert before in file.read_text()
        file.write_text(file.read_text().replace(before, now))

    return tamper


def both(*tampers: Tamper) -> Tamper:
    return lambda run: [tamper(run) for tamper in tampers]


def numbered(name: str, step: int) -> Tamper:
    return lambda run: run.set(name, step=step)


def run_replaces(run: Run) -> None:
    name = f"{THIRD}.rank-000.jsonl"
    found = run.read(name)
    found[0]["replaced"] = found[0]["keys"][:1]
    run.write(name, found)


NO_STEP = ": nothing on record in "
TABLE: dict[str, tuple[Tamper, list[str]]] = {
    # what was used
    "a key twice": (
        lambda run: line(1, keys=[run.a[0], *run.read(LOG)[1]["keys"][1:]])(run),
        ["step 2: {a[0]} was used again in epoch 0, first in step 1", "sample 6 is {b[0]} by the plan, but {a[0]}"],
    ),
    "a sample left out": (
        lines(lambda found: (found[1]["keys"].pop(0), found[1]["numbers"].pop(0))),
        ["step 2: sample 6, {b[0]}, was not used"],
    ),
    "two keys swapped": (
        lines(lambda found: found[1]["keys"].insert(0, found[1]["keys"].pop(1))),
        ["step 2: sample 6 is {b[0]} by the plan, but {b[1]} was used"],
    ),
    "two numbers swapped": (
        lines(lambda found: found[1]["numbers"].insert(0, found[1]["numbers"].pop(1))),
        ["step 2: sample 8 is {b[1]} by the plan, but {b[0]} was used"],
    ),
    "another step's number": (
        lines(lambda found: found[1]["numbers"].__setitem__(0, 0)),
        ["step 2, rank 0: {b[0]} used as sample 0, which is not this rank's next"],
    ),
    "a number more": (
        lines(lambda found: found[1]["numbers"].append(10)),
        ["step 2, rank 0: 4 numbers and 3 keys on record"],
    ),
    "a stranger's key": (
        lines(lambda found: found[1]["keys"].__setitem__(2, "clip-99")),
        ["step 2: clip-99 was used, which is no sample of the split"],
    ),
    "two steps' keys exchanged": (
        lines(exchange_keys),
        ["step 1: sample 0 is {a[0]} by the plan, but {b[0]} was used"],
    ),
    "two ranks' logs exchanged": (
        exchange(LOG, f"{FIRST}.rank-001.jsonl"),
        ["step 1, rank 1: {a[0]} used as sample 0, which is not this rank's next"],
    ),
    "one rank's log twice": (
        copied(LOG, f"{FIRST}.rank-001.jsonl"),
        ["step 1, rank 1: {a[0]} used as sample 0", "step 1: {a[0]} was used again in epoch 0, first in step 1"],
    ),
    "another epoch": (line(1, epoch=1), ["step 2, rank 0: on record in epoch 1, it belongs to 0"]),
    # lines
    "a line dropped": (lines(lambda found: found.pop(1)), [f"step 2, rank 0{NO_STEP}", LOG]),
    "the first line dropped": (lines(lambda found: found.pop(0)), [f"step 1, rank 0{NO_STEP}"]),
    "a line doubled": (
        lines(lambda found: found.insert(2, found[1])),
        ["step 2, rank 0: {b[0]} used as sample 6, which is not this rank's next"],
    ),
    "two lines exchanged": (
        lines(lambda found: found.insert(0, found.pop(1))),
        [f"step 1, rank 0{NO_STEP}", f"{LOG}, line 2: of step 1, where step 2 should be"],
    ),
    "a line moved to the end": (
        lines(lambda found: found.append(found.pop(0)), f"{THIRD}.rank-000.jsonl"),
        [f"step 8, rank 0{NO_STEP}"],
    ),
    "a log cut in front of a checkpoint": (
        lines(lambda found: found.pop(), f"{THIRD}.rank-000.jsonl"),
        [f"step 10, rank 0{NO_STEP}"],
    ),
    "a step behind the last": (
        lines(
            lambda found: found.append(
                {"step": 11, "epoch": 2, "numbers": [0], "keys": ["clip-0"], "replaced": []}
            ),
            f"{THIRD}.rank-000.jsonl",
        ),
        ["step 11: used behind the last of 2 epochs"],
    ),
    "a log missing": (
        removed(f"{SECOND}.rank-001.jsonl"),
        [f"step {step}, rank 1{NO_STEP}" for step in (5, 6, 7)],
    ),
    "the log of a rank that was not there": (
        copied(f"{SECOND}.rank-001.jsonl", f"{SECOND}.rank-003.jsonl"),
        [f"{SECOND}.rank-003.jsonl: that start was on 3 ranks"],
    ),
    # starts
    "the first start missing": (
        removed(f"{FIRST}.json"),
        [f"{LOG}: no start behind step 0 is on record"],
    ),
    "a later start missing": (
        removed(f"{SECOND}.json"),
        [f"{SECOND}.rank-002.jsonl: no start behind step 4 is on record"],
    ),
    "all starts missing": (
        removed(f"{FIRST}.json", f"{SECOND}.json", f"{THIRD}.json"),
        [f"{THIRD}.rank-000.jsonl: no start behind step 7 is on record"],
    ),
    "a start and its logs missing": (
        removed(f"{SECOND}.json", *(f"{SECOND}.rank-00{rank}.jsonl" for rank in range(3))),
        [f"step 7, rank 0{NO_STEP}", f"{FIRST}.rank-000.jsonl"],
    ),
    "a start moved": (
        moved(f"{SECOND}.json", "from-00000005.json"),
        ["from-00000005.json: is of a start behind step 4, by its content"],
    ),
    "fewer ranks": (start(SECOND, ranks=2), [f"{SECOND}.rank-002.jsonl: that start was on 2 ranks"]),
    "more ranks": (start(SECOND, ranks=6), [f"step 5, rank 3{NO_STEP}"]),
    "ranks that do not share the batch": (
        start(SECOND, ranks=4),
        ["start behind step 4: 4 ranks cannot share batches of 6"],
    ),
    "countless ranks": (start(THIRD, ranks=10**12), ["start behind step 7: 1000000000000 ranks cannot share"]),
    # (a)
    "shorter epochs in one start": (
        start(SECOND, steps_in_epoch=3),
        ["start behind step 4: epochs of 3 steps on record; 31 samples in batches of 6 make 5"],
    ),
    "shorter epochs": (shorter_epochs, ["start behind step 0: epochs of 3 steps on record; 31 samples"]),
    # (b)
    "another seed": (start(SECOND, seed=4), ["start behind step 4: seed 4, the run began with 3"]),
    "another first seed": (start(FIRST, seed=4), ["start behind step 7: seed 3, the run began with 4"]),
    "another seed in all": (every_start(seed=4), ["config.yaml: run.seed is 3, on record is 4"]),
    "another order from the second epoch on": (
        another_order,
        ["start behind step 5: seed 4, the run began with 3"],
    ),
    "other lanes": (start(THIRD, lanes=8), ["start behind step 7: lanes 8, the run began with 4"]),
    "another window": (start(THIRD, window=9), ["start behind step 7: window 9, the run began with 8"]),
    "another global batch": (start(THIRD, global_batch=12), ["start behind step 7: global_batch 12, the run"]),
    "another manifest": (start(SECOND, manifest="0" * 64), ["start behind step 4: manifest 0000"]),
    "another split": (
        lambda run: run.set(f"{SECOND}.json", split=run.split.root.replace("train", "validation")),
        ["start behind step 4: trained on ", "/validation, the run began with "],
    ),
    "a configured window that was not the run's": (
        configuration("window: 32", "window: 16"),
        ["config.yaml: data.window is 16, on record is 32"],
    ),
    "a configured window that is no number": (
        configuration("window: 32", "window: wide"),
        ["config.yaml: data.window is 'wide', on record is 32"],
    ),
    "another run's record": (another_runs_audit, ["config.yaml: run.seed is 3, on record is 9"]),
    "another batch configured": (
        configuration("global_batch: 6", "global_batch: 5"),
        ["config.yaml: optim.global_batch is 5, on record is 6"],
    ),
    "no configuration": (lambda run: (run.folder / "config.yaml").unlink(), ["config.yaml: no such file"]),
    "a configuration of nothing": (configuration("seed: 3", "seed: ["), ["config.yaml: not valid YAML"]),
    # (c)
    "an evaluation missing": (
        removed("validation-00000005.json"),
        ["evaluation after step 5: was due, and is not on record in ", "validation-00000005.json"],
    ),
    "all evaluations missing": (
        both(
            removed("validation-00000005.json", "validation-00000010.json"),
            metrics(b'{"kind": "validation", "step": 10}\n'),
        ),
        ["evaluation after step 5: was due", "evaluation after step 10: was due"],
    ),
    "an evaluation more": (
        both(copied("validation-00000005.json", "validation-00000007.json"), numbered("validation-00000007.json", 7)),
        ["evaluation after step 7: is on record, and none was due there"],
    ),
    "an evaluation behind the end": (
        both(copied("validation-00000010.json", "validation-00000015.json"), numbered("validation-00000015.json", 15)),
        ["evaluation after step 15: is on record, and none was due there"],
    ),
    "an evaluation moved": (
        both(moved("validation-00000005.json", "validation-00000006.json"), numbered("validation-00000006.json", 6)),
        ["evaluation after step 5: was due", "evaluation after step 6: is on record, and none was due"],
    ),
    "an evaluation renamed": (
        moved("validation-00000005.json", "validation-00000006.json"),
        ["validation-00000006.json: is of the evaluation after step 5, by its content"],
    ),
    "an evaluation of training samples": (
        of_training,
        ["evaluation after step 10: of ", "/train, the run evaluates ", "/validation"],
    ),
    "an evaluation of another split": (another_split_evaluated, ["evaluation after step 10: of ", "/other/"]),
    "an evaluation of another manifest": (
        lambda run: run.set("validation-00000010.json", manifest="0" * 64),
        ["evaluation after step 10: of another manifest of "],
    ),
    "an evaluation one short": (
        scored(5, lambda keys: keys.pop(0)),
        ["evaluation after step 5: clip-0 was scored 0 times"],
    ),
    "an evaluation one double": (
        scored(5, lambda keys: keys.append("clip-1")),
        ["evaluation after step 5: clip-1 was scored 2 times"],
    ),
    "an evaluation with a stranger": (
        scored(5, lambda keys: keys.append("clip-99")),
        ["evaluation after step 5: clip-99 was scored, which is no sample of "],
    ),
    "fewer evaluations configured": (
        both(told(FIRST, evaluate_epochs=2), told(SECOND, evaluate_epochs=2)),
        ["evaluation after step 5: is on record, and none was due there"],
    ),
    # (d)
    "a stranger replaced": (
        line(1, replaced=["clip-99"]),
        ["step 2, rank 0: clip-99 on record as replaced, which was not this step's, or twice"],
    ),
    "a sample replaced twice": (
        lambda run: line(1, replaced=[run.b[0]] * 2)(run),
        ["step 2, rank 0: {b[0]} on record as replaced, which was not this step's, or twice"],
    ),
    "every sample replaced": (
        lines(lambda found: [one.update(replaced=one["keys"]) for one in found]),
        ["samples replaced in epoch 0, of which data.corrupt and data.corrupt_budget allowed 3"],
    ),
    "a sample replaced where the first one stops the run": (
        both(told(THIRD, corrupt_budget=0.0), run_replaces),
        ["step 8: 1 samples replaced in epoch 1, of which data.corrupt and data.corrupt_budget allowed 0"],
    ),
    # (e)
    "a garbled line": (
        text(lambda found: found.__setitem__(1, b'{"step": 2, "ep\n')),
        [f"{LOG}, line 2: cannot be used: not JSON: ", f"step 2, rank 0{NO_STEP}"],
    ),
    "bytes that are no text": (
        text(lambda found: found.__setitem__(1, b"\xff\xfe\x00\n")),
        [f"{LOG}, line 2: cannot be used: not JSON: "],
    ),
    "an empty line": (text(lambda found: found.insert(1, b"\n")), [f"{LOG}, line 2: cannot be used: not JSON: "]),
    "a line nested without end": (
        text(lambda found: found.insert(1, b"[" * 100_000 + b"\n")),
        [f"{LOG}, line 2: cannot be used: not JSON: recursion limit"],
    ),
    "a field missing": (
        lines(lambda found: found[1].pop("numbers")),
        [f"{LOG}, line 2: cannot be used: numbers: field required"],
    ),
    "a step that is a text": (line(1, step="2"), [f"{LOG}, line 2: cannot be used: step: input should be"]),
    "numbers that are texts": (line(1, numbers=["6"]), [f"{LOG}, line 2: cannot be used: numbers.0: input"]),
    "keys that are none": (line(1, keys=None), [f"{LOG}, line 2: cannot be used: keys: input should be"]),
    "a replaced that is none": (line(1, replaced=None), [f"{LOG}, line 2: cannot be used: replaced: input"]),
    "a line that is a list": (
        text(lambda found: found.__setitem__(1, b"[1, 2]\n")),
        [f"{LOG}, line 2: cannot be used: input should be an object"],
    ),
    "an empty start": (bare(f"{FIRST}.json", b""), [f"{FIRST}.json: cannot be used: not JSON: "]),
    "a start of nothing": (bare(f"{SECOND}.json", b"{}"), [f"{SECOND}.json: cannot be used: split: field"]),
    "a start without ranks": (start(SECOND, ranks=None), [f"{SECOND}.json: cannot be used: ranks: field"]),
    "a start with no rank": (start(SECOND, ranks=0), [f"{SECOND}.json: cannot be used: ranks: input should"]),
    "a seed that is a text": (start(FIRST, seed="3"), [f"{FIRST}.json: cannot be used: seed: input should"]),
    "a window too large": (start(FIRST, window=10**400), [f"{FIRST}.json: cannot be used: window: "]),
    "settings with a field less": (
        lambda run: run.set(
            f"{FIRST}.json",
            settings={k: v for k, v in run.read(f"{FIRST}.json")[0]["settings"].items() if k != "epochs"},
        ),
        [f"{FIRST}.json: cannot be used: settings.epochs: field required"],
    ),
    "an evaluation of nothing": (
        bare("validation-00000005.json", b"{"),
        ["validation-00000005.json: cannot be used: not JSON: ", "evaluation after step 5: was due"],
    ),
    "an evaluation without keys": (
        lambda run: run.set("validation-00000005.json", keys=None),
        ["validation-00000005.json: cannot be used: keys: field required"],
    ),
    "garbled metrics": (metrics(b"}\n"), ["metrics.jsonl, line 1: cannot be used: not JSON: "]),
    "a checkpoint of no step": (latest("{}"), ["latest.json: cannot be used: step: field required"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_a_tampered_record_is_refuted(
    name: str, whole: Path, split: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(Path(shutil.copytree(whole, tmp_path / "run")), split)
    tamper, expected = TABLE[name]
    tamper(run)
    assert main([str(run.folder)]) == 1
    printed = capsys.readouterr()
    for words in expected:
        assert words.format(a=run.a, b=run.b) in printed.out
    assert printed.out.splitlines()[-1].startswith("refuted: ")
    assert printed.err == ""


def test_the_table_has_all_that_was_tried() -> None:
    assert len(TABLE) >= 32


def test_untampered_it_is_proven(whole: Path, split: Manifest, tmp_path: Path) -> None:
    assert main([str(shutil.copytree(whole, tmp_path / "run"))]) == 0
    assert (manifest.load(split.root).samples // BATCH) == STEPS
