"""A stream over several sets: resumed at any point, proven by its record, and plain about what cannot be mixed."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.audit import main
from pipeline.run.proof import prove
from pipeline.streaming import Stream
from sharding.errors import UserError
from tests import shards
from tests.unit.pipeline.streaming import transforms


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    shards.make(folder / "main", [15, 5])
    shards.make(folder / "half", [5, 3])
    shards.make(folder / "thrice", [4, 1], classes=shards.CLASSES[::-1])
    return folder


def mix(root: Path, **weights: float) -> dict[str, float]:
    return {f"{root}/{name}/train": weight for name, weight in weights.items()}


def stream(root: Path, **settings: Any) -> Stream:
    given = {"global_batch": 6, "window": 16, "lanes": 12, "mix": mix(root, half=0.5, thrice=3), **settings}
    return Stream(f"{root}/main/train", transforms.number, **given)


def used(made: Stream) -> list[list[str]]:
    return [batch.keys for batch in made]


def test_its_samples_are_those_of_all_sets_each_with_its_weight(root: Path) -> None:
    made = stream(root, epochs=2, drop_last=False)
    assert (made.samples, made.steps_in_epoch) == (39, 7)
    assert made.sets[0] == f"{root}/main/train"
    times = Counter(key for batch in used(made) for key in batch)
    weights = {f"{root}/main/train": 1, **mix(root, half=0.5, thrice=3)}
    for number, url in enumerate(made.sets):
        found = {count for name, count in times.items() if name.startswith(f"{number}:")}
        assert found == {2 * weights[url]}


def test_it_goes_on_where_it_stood_with_the_sets_in_another_place(root: Path, tmp_path: Path) -> None:
    expected = used(stream(root, epochs=2))
    begun = stream(root, epochs=2, workers=2)
    before = [batch.keys for _, batch in zip(range(8), begun, strict=False)]
    state = json.loads(json.dumps(begun.state_dict()))
    moved = root.rename(tmp_path / "moved")
    try:
        going_on = stream(moved, epochs=2)
        going_on.load_state_dict(state)
        assert before + used(going_on) == expected
        assert {share["split"] for share in going_on.state_dict()["mix"]} == set(going_on.sets[1:])
    finally:
        moved.rename(root)


def test_the_state_of_a_stream_of_one_set_names_no_mixture(root: Path) -> None:
    assert "mix" not in stream(root, mix=None).state_dict()


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (
            {"half": 0.5},
            r"the weight of .*/thrice/train in the mixture was 3 when the state was made, and is 0",
        ),
        ({"half": 1, "thrice": 3}, r"the weight of .*/half/train in the mixture was 0.5 .*, and is 1"),
    ],
)
def test_a_state_of_another_mixture_is_refused(root: Path, weights: dict[str, float], says: str) -> None:
    state = stream(root).state_dict()
    with pytest.raises(UserError, match=says):
        stream(root, mix=mix(root, **weights)).load_state_dict(state)


def test_a_set_that_came_to_it_or_became_another_is_refused(root: Path, tmp_path: Path) -> None:
    state = stream(root, mix=None).state_dict()
    with pytest.raises(UserError, match=r"the weight of .*/half/train in the mixture was 0 .*, and is 0.5"):
        stream(root, mix=mix(root, half=0.5)).load_state_dict(state)
    shards.make(tmp_path / "set", [4])
    state = stream(root, mix=mix(tmp_path, set=1)).state_dict()
    shards.make(tmp_path / "set", [5])
    with pytest.raises(UserError, match=r"the shards of .*/set/train in the mixture was [0-9a-f]{64} when"):
        stream(root, mix=mix(tmp_path, set=1)).load_state_dict(state)


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf")])
def test_a_weight_is_more_than_nothing(root: Path, weight: float) -> None:
    with pytest.raises(UserError, match="half/train: a weight is a number more than 0"):
        stream(root, mix=mix(root, half=weight))


@pytest.fixture(scope="module")
def audited(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record of three epochs, resumed in the second one behind a step that was done again."""
    folder = tmp_path_factory.mktemp("audit")
    begun = stream(root, epochs=3, audit=folder)
    batches = iter(begun)
    for _ in range(9):
        next(batches)
    state = begun.state_dict()
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    going_on = stream(root, epochs=3, audit=folder)
    going_on.load_state_dict(state)
    list(going_on)
    going_on.state_dict()
    return folder


def test_its_record_proves_order_and_multiplicities(
    root: Path, audited: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proof = prove(str(audited))
    assert (proof.findings, proof.steps, proof.restarts) == ([], 18, [9])
    assert main([str(audited)]) == 0
    said = capsys.readouterr().out
    assert "samples      108, and 9 left out with last partial batches" in said
    assert f"of these, each of the 20 samples of {root}/main/train" in said
    assert "proven: each of these samples was used as often as its set's weight says in its epoch" in said
    assert [uses.most for uses in proof.sets if uses.url.endswith("half/train")] == [2]


def changed(audited: Path, to: Path, change: Any) -> list[str]:
    """What the audit finds where every line and start of the record is `change`d."""
    (to / "audit").mkdir(parents=True)
    for file in (audited / "audit").iterdir():
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        for line in lines:
            change(file.name, line)
        (to / "audit" / file.name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    return prove(str(to)).findings


def test_a_sample_of_the_same_key_from_another_set_is_found(audited: Path, tmp_path: Path) -> None:
    found: list[tuple[int, str, str]] = []

    def change(name: str, line: dict[str, Any]) -> None:
        for i, key in enumerate(line.get("keys", [])):
            if key == "0:clip-2" and not found:
                line["keys"][i] = "1:clip-2"
                found.append((line["step"], key, "1:clip-2"))

    findings = changed(audited, tmp_path, change)
    ((step, _, _),) = found
    assert any(
        text.startswith(f"step {step}: ") and "0:clip-2 by the plan, but 1:clip-2" in text
        for text in findings
    )


def test_other_weights_on_record_are_found(audited: Path, tmp_path: Path) -> None:
    def later(name: str, line: dict[str, Any]) -> None:
        if name == "from-00000009.json":
            for share in line["mix"]:
                share["weight"] *= 2

    assert any(
        "the weight of" in text and "the run began with" in text
        for text in changed(audited, tmp_path / "later", later)
    )

    def all_(name: str, line: dict[str, Any]) -> None:
        for share in line.get("mix", []):
            share["weight"] *= 2

    assert any("by the plan, but" in text for text in changed(audited, tmp_path / "all", all_))


def test_a_sample_that_comes_too_often_is_found(audited: Path, tmp_path: Path) -> None:
    def change(name: str, line: dict[str, Any]) -> None:
        if "keys" in line and line["step"] in (1, 2, 3):
            line["keys"][:2] = ["0:clip-7", "0:clip-7"]

    findings = changed(audited, tmp_path, change)
    assert any("0:clip-7 was used again in epoch 0, first in step 1" in text for text in findings)
