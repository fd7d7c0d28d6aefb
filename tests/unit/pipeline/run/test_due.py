"""What is due after a step: lines of metrics, evaluations, checkpoints, the end."""

import pytest

from pipeline.config import Run
from pipeline.order.position import Position
from pipeline.run import due
from pipeline.run.due import CheckpointClock, Due, due_after

RUN = Run(folder="unused", log_steps=4, checkpoint_steps=5, evaluate_epochs=2)
START = Position("0" * 64, seed=0, lanes=1, window=1, global_batch=1, steps_in_epoch=7)
EPOCHS = 3


def after(done: int, run: Run = RUN, stop: bool = False, time_is_up: bool = False) -> Due:
    return due_after(START.after(done), run, EPOCHS, stop, lambda: time_is_up)


def steps(name: str, run: Run = RUN) -> list[int]:
    return [done for done in range(1, 1 + 7 * EPOCHS) if getattr(after(done, run), name)]


def test_a_run_of_three_epochs_of_seven_steps() -> None:
    assert steps("epoch_ends") == [7, 14, 21]
    assert steps("evaluate") == [14, 21]  # every other epoch, and the last
    assert steps("save") == [5, 7, 10, 14, 15, 20, 21]
    assert steps("log") == sorted({4, 8, 12, 16, 20, *steps("save")})
    assert steps("stop") == []


def test_without_checkpoint_steps_the_end_of_an_epoch_remains() -> None:
    assert steps("save", replace_run(checkpoint_steps=None)) == [7, 14, 21]


def test_a_stop_saves_at_once_and_leaves_the_evaluation_due() -> None:
    assert after(3, stop=True) == Due(log=True, evaluate=False, save=True, stop=True, epoch_ends=False)
    assert after(14, stop=True) == Due(log=True, evaluate=True, save=True, stop=True, epoch_ends=True)


def test_time_counts_where_metrics_are_written_and_is_asked_nowhere_else() -> None:
    """The answer is exchanged between the ranks: each must ask at the same steps."""
    asked: list[int] = []

    def ask(done: int) -> bool:
        asked.append(done)
        return True

    run = replace_run(checkpoint_steps=None)
    saved = [
        done
        for done in range(1, 8)
        if due_after(START.after(done), run, EPOCHS, False, lambda done=done: ask(done)).save  # type: ignore[misc]
    ]
    assert saved == [4, 7]
    assert asked == [4]  # at an epoch's end there is nothing to ask


def test_the_clock_runs_from_the_last_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(due.time, "monotonic", lambda: now)
    clock, without = CheckpointClock(2), CheckpointClock(None)
    now = 119.0
    assert not clock.time_is_up()
    now = 121.0
    assert clock.time_is_up()
    assert not without.time_is_up()
    clock.restart()
    assert not clock.time_is_up()


def replace_run(**changes: object) -> Run:
    return Run.model_validate({**RUN.model_dump(), **changes})
