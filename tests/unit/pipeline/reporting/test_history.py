"""When, where and how long a run ran, and whether it lives."""

import math
from dataclasses import replace

import pytest

from pipeline import config
from pipeline.reporting import history
from pipeline.reporting.record import Record
from pipeline.run.journal import Line
from pipeline.run.owner import LEASE_S, Life

CONFIG = config.override({"data": {"root": "d"}, "run": {"folder": "f"}}, ["optim.epochs=3"], "test")
DAY = 1_700_000_000.0  # 2023-11-14 22:13:20 UTC


def start(after_steps: int, time: str, *overrides: str, devices: tuple[str, ...] = ("CPU",)) -> Line:
    changed = config.override(CONFIG.model_dump(by_alias=True), list(overrides), "test")
    return {
        "time": f"2023-11-{time}+00:00",
        "after_steps": after_steps,
        "version": "9.8",
        "commit": "abc",
        "torch": "2.1",
        "ranks": [{"host": f"h{i % 2}", "device": device} for i, device in enumerate(devices)],
        "config": changed.model_dump(mode="json", by_alias=True),
    }


def line(step: int, time: float | None) -> Line:
    found = {"kind": "train", "step": step, "epoch": (step - 1) // 10, "clips_per_s": 100.0 + step}
    return found if time is None else {**found, "time": time}


def run(train: list[Line], starts: list[Line], life: Life | None = None) -> Record:
    return Record("f", "mine", CONFIG, train, [], [], [], None, starts, life, 10)


LINES = [line(1, DAY), line(10, DAY + 60)]


@pytest.mark.parametrize(
    ("life", "said"),
    [
        (None, "stopped"),
        (Life(dead=False, silent_s=LEASE_S - 1), "going on"),
        (Life(dead=False, silent_s=300), "no sign of life for 5.00 min"),
        (Life(dead=True, silent_s=7200), "died, last sign of life 2.00 h ago"),
    ],
)
def test_only_a_run_that_lives_is_going_on(life: Life | None, said: str) -> None:
    found = run(LINES, [], life)
    assert history.state(found) == f"{said}: step 10, in epoch 1 of 3"
    assert history.state(replace(found, train=[])) == f"{said}: no metrics yet"
    ended = [{"step": 30, "epoch": 2, "top1": 1.0}]
    assert history.state(replace(found, validation=ended)) == "finished: 10 steps, 3 epochs"


def test_pauses_between_starts_do_not_count() -> None:
    first, second = start(0, "14T22:13:10"), start(10, "14T23:13:20")
    lines = [*LINES, line(11, DAY + 3605), line(20, DAY + 3625)]
    assert history.trained_s(run(lines, [first, second])) == 70 + 25
    # A start of which nothing is left, for the next one went back behind it, took no time that counts.
    assert history.trained_s(run(LINES, [first, second])) == 70
    # Records of programs that did not write starts down, or no times at all.
    assert history.trained_s(run(lines, [])) == 3625
    assert math.isnan(history.trained_s(run([line(1, None)], [])))


def test_dates_devices_and_what_was_changed_are_told() -> None:
    gpus = ("H100", "H100", "L4")
    later = start(10, "14T23:13:20", "optim.lr=0.5", "data.flip=none", devices=gpus)
    text = history.table([run(LINES, [start(0, "14T22:13:10"), later])])
    for said in ("2023-11-14 22:13", "2023-11-14 22:14", "1.17 min", "2 x H100, 1 x L4 on 2 hosts", "105.5"):
        assert f"<td>{said}</td>" in text
    assert "<td>9.8 (abc), torch 2.1</td>" in text
    changed = "mirrored training clips label, now none; learning rate 0.01, now 0.5; on 1 x CPU on 1 host, now on 2 x"
    assert f"mine, epoch 1, step 10: {changed}" in text
    assert "memory of a GPU" not in text  # where no line has it
    assert "Changed on the way" not in history.table([run(LINES, [start(0, "14T22:13:10")] * 2)])


def test_an_earlier_programs_run_is_told_without_what_it_did_not_write() -> None:
    text = history.table([run([line(1, None)], [])])
    assert "began" not in text and "clips a second" in text
