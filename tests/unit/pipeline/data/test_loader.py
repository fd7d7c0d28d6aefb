"""The loader's processes end with the process that started them, however it ends."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.data import loader
from pipeline.data.loader import batches
from pipeline.data.samples import Sample
from pipeline.data.stream import ClipStream, Passes
from pipeline.handover.shared import PREFETCHED_STEPS, SLOTS
from pipeline.order import plan
from sharding.errors import UserError
from tests import shards
from tests.processes import ROOT, alive, descendants, environment

PROGRAM = """
import sys, time
from pipeline.data.loader import batches
from tests.unit.pipeline.data.test_loader import stream
if __name__ == "__main__":
    for batch in batches(stream(sys.argv[1]), workers=2):
        print("batch", flush=True)
        time.sleep(600)
"""


FAILING = """
import sys
from pipeline.data.loader import batches
from tests.unit.pipeline.data.test_loader import stream
if __name__ == "__main__":
    made = batches(stream(sys.argv[1]), workers=2)
    next(made)
    raise SystemExit("failed")
"""


class Cutter:
    """Takes no time; sleeps for ever over the sample with the key `asleep`, and fails over the key `broken`."""

    def __init__(self, asleep: str = "", broken: str = "") -> None:
        self.asleep, self.broken = asleep, broken

    def shape(self, sample: Sample) -> tuple[int, ...]:
        return 2, 3, 4, 4

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> int | None:
        if sample.row.key == self.asleep:
            time.sleep(600)
        if sample.row.key == self.broken:
            raise UserError("broken")
        return sample.row.label


def stream(root: str, cutter: Cutter | None = None) -> ClipStream:
    split = shards.make(root, [40])
    return ClipStream(split, cutter or Cutter(), plan.Order(0, lanes=2, window=1), Passes(4), 0, 1)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_workers_end_with_the_process_that_started_them(tmp_path: Path, how: signal.Signals) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    with subprocess.Popen(
        [sys.executable, str(program), str(tmp_path)],
        cwd=ROOT,
        env=environment({"PYTHONPATH": str(ROOT)}),
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        started = descendants(process.pid)
        assert len(started) >= 3  # the fork server and two workers
        process.send_signal(how)
        process.wait(timeout=60)
    deadline = time.monotonic() + 60
    while any(alive(pid) for pid in started):
        assert time.monotonic() < deadline, [pid for pid in started if alive(pid)]
        time.sleep(0.1)


def test_a_failure_between_two_batches_ends_the_program(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(FAILING)
    command = [sys.executable, str(program), str(tmp_path)]
    env = environment({"PYTHONPATH": str(ROOT)})
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=100)
    assert done.stderr.splitlines()[-1] == "failed"


def test_an_error_does_not_wait_for_a_worker_that_hangs(tmp_path: Path) -> None:
    # Lane 0, worker 0's, begins with clip-0; lane 1, worker 1's, with clip-20.
    others = multiprocessing.active_children()
    made = batches(stream(str(tmp_path), Cutter(asleep="clip-21", broken="clip-0")), workers=2)
    begin = time.monotonic()
    with pytest.raises(UserError, match="broken"):
        list(made)
    left = [child for child in multiprocessing.active_children() if child not in others]
    for child in left:
        child.join(timeout=60)
    assert not any(child.is_alive() for child in left)
    assert time.monotonic() - begin < 300  # it sleeps for 600


def test_a_killed_worker_is_an_error_that_names_it(tmp_path: Path) -> None:
    others = multiprocessing.active_children()
    made = batches(stream(str(tmp_path), Cutter(asleep="clip-30")), workers=2)
    next(made)
    worker = next(child for child in multiprocessing.active_children() if child not in others)
    assert worker.pid is not None
    with pytest.raises(UserError, match=f"loader process {worker.pid} ended with status -9"):
        for _ in made:
            os.kill(worker.pid, signal.SIGKILL)


def test_a_worker_killed_while_its_batches_wait_is_noticed_by_the_other_stream(tmp_path: Path) -> None:
    others = multiprocessing.active_children()
    training = batches(stream(str(tmp_path / "train")), workers=1)
    next(training)
    (worker,) = (child for child in multiprocessing.active_children() if child not in others)
    assert worker.pid is not None
    validation = batches(stream(str(tmp_path / "validation")), workers=0)
    next(validation)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    with pytest.raises(UserError, match=f"loader process {worker.pid} ended with status -9"):
        next(validation)
    training.close()


class CountingCutter(Cutter):
    """Writes a byte to a file for each sample that it cuts, in whatever process."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> int | None:
        with self.file.open("ab") as stream:
            stream.write(b".")
        return super().__call__(sample, rng, out)


def test_training_workers_fill_their_queues_with_the_next_epoch_during_validation(tmp_path: Path) -> None:
    count = tmp_path / "count"
    split = shards.make(tmp_path / "train", [8])
    order = plan.Order(0, lanes=2, window=1)
    training = batches(ClipStream(split, CountingCutter(count), order, Passes(4, epochs=9), 0, 1), workers=2)
    assert [(batch.epoch, batch.step) for batch in islice(training, 2)] == [(0, 0), (0, 1)]
    validation = batches(stream(str(tmp_path / "validation")), workers=2)
    next(validation)
    # What was taken, and full queues: this process takes nothing of it meanwhile.
    full = 4 * (2 + PREFETCHED_STEPS)
    deadline = time.monotonic() + 60
    while count.stat().st_size < full:
        assert time.monotonic() < deadline, count.stat().st_size
        time.sleep(0.02)
    assert sum(len(batch.numbers) for batch in validation) == 36
    assert count.stat().st_size == full
    assert next(training).epoch == 1
    training.close()


class NumberedCutter(Cutter):
    """Clips of ten channels, each filled with its sample's number; more of them a video for `views`."""

    def __init__(self, grow: bool = False) -> None:
        super().__init__()
        self.grow = grow

    def shape(self, sample: Sample) -> tuple[int, ...]:
        return 3, 2, 10, 4, 4 + (number_of(sample.row.key) if self.grow else 0)

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> int | None:
        out.fill_(number_of(sample.row.key))
        return sample.row.label


def number_of(key: str) -> int:
    return int(key.removeprefix("clip-"))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_that_are_kept_stay_as_they_are(tmp_path: Path, workers: int) -> None:
    kept = list(batches(stream(str(tmp_path), NumberedCutter()), workers))
    assert len(kept) == 10 > SLOTS
    for batch in kept:
        assert batch.clips.shape == (4, 3, 2, 10, 4, 4) and batch.clips.stride()[-3:] == (1, 40, 10)
        assert [clip.unique().tolist() for clip in batch.clips] == [[number_of(key)] for key in batch.keys]


def test_only_what_is_left_of_a_batch_is_kept(tmp_path: Path) -> None:
    made = batches(stream(str(tmp_path), NumberedCutter()), workers=2)
    kept = [(batch.keys[1], batch.clips[1, 2, 0]) for batch in made]
    assert [clip.unique().tolist() for _, clip in kept] == [[number_of(key)] for key, _ in kept]


@pytest.mark.parametrize("workers", [0, 2, 3])
def test_videos_of_any_size_come_one_by_one(tmp_path: Path, workers: int) -> None:
    split = shards.make(tmp_path, [7])
    passes = Passes(1, drop_last=False)
    order = plan.Order(0, lanes=2, window=3)
    made = batches(ClipStream(split, NumberedCutter(grow=True), order, passes, 0, 1), workers)
    for batch in made:
        number = number_of(batch.keys[0])
        assert batch.clips.shape == (1, 3, 2, 10, 4, 4 + number)
        assert batch.clips.unique().tolist() == [number]


def test_more_ranks_than_samples_leave_an_empty_last_batch(tmp_path: Path) -> None:
    split = shards.make(tmp_path, [4])
    passes = Passes(3, drop_last=False)
    stream = ClipStream(split, NumberedCutter(), plan.Order(0, 3, 1), passes, 2, 3)
    for workers in (0, 2):
        first, last = batches(stream, workers)
        assert (len(first.clips), first.numbers) == (1, [2])
        assert (last.numbers, last.keys, len(last.labels), len(last.clips)) == ([], [], 0, 0)


def test_labels_may_be_rows() -> None:
    rows = np.eye(5, dtype=np.float32)
    found = [
        loader.Part(0, 0, [0, 2], ["a", "c"], rows[[0, 2]], (2, 3, 4, 4), []),
        loader.Part(0, 0, [1], ["b"], rows[[1]], (2, 3, 4, 4), ["b"]),
        loader.Part(0, 0, [], [], np.empty(0, np.int64), (), []),
    ]
    batch = loader._assembled(found, lambda count: torch.empty(count, dtype=torch.uint8))
    assert (batch.keys, batch.numbers, batch.replaced) == (["a", "b", "c"], [0, 1, 2], ["b"])
    assert batch.labels.tolist() == rows[:3].tolist()
    assert batch.clips.shape == (3, 2, 3, 4, 4)
    assert batch.seconds.hand_over > 0


def test_clips_of_several_shapes_in_one_step_are_refused() -> None:
    found = [loader.Part(0, 0, [n], ["a"], np.zeros(1), (2, 3, 4, 4 + n), []) for n in range(2)]
    with pytest.raises(RuntimeError, match="the clips of one step have several shapes"):
        loader._assembled(found, lambda count: torch.empty(count, dtype=torch.uint8))


def test_an_evaluation_uses_the_processes_that_are_there(tmp_path: Path) -> None:
    training = batches(stream(str(tmp_path / "train")), workers=2)
    before = [next(training).keys for _ in range(3)]
    there = multiprocessing.active_children()
    validation = batches(stream(str(tmp_path / "validation")), workers=2)
    next(validation)
    assert multiprocessing.active_children() == there
    assert len(list(validation)) == 9
    validation = batches(stream(str(tmp_path / "validation")), workers=2)
    next(validation)
    validation.close()  # told to stop in an evaluation
    assert multiprocessing.active_children() == there
    keys = before + [batch.keys for batch in training]
    assert keys == [batch.keys for batch in batches(stream(str(tmp_path / "train")), workers=0)]
    for process in there:
        process.join(timeout=60)
    assert not any(process.is_alive() for process in there)


class CrashingCutter(Cutter):
    """Has a bug."""

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> int | None:
        raise ZeroDivisionError("a bug")


def test_a_bug_in_a_loader_process_shows_its_trace(tmp_path: Path) -> None:
    with pytest.raises(
        RuntimeError, match=r"a loader process failed:\nTraceback[^$]*ZeroDivisionError: a bug"
    ):
        next(batches(stream(str(tmp_path), CrashingCutter()), workers=2))


ODD = """
import sys
from tests.unit.pipeline.data.test_loader import Cutter
class OddCutter(Cutter): pass
if sys.argv[0] == "-c":  # multiprocessing's server
    raise {error}("odd")
"""
USING_ODD = """
import sys
import odd
from pipeline.data.loader import batches
from sharding.errors import UserError
from tests.unit.pipeline.data.test_loader import stream
if __name__ == "__main__":
    try:
        print(len(list(batches(stream(sys.argv[1], odd.OddCutter()), workers=2))))
    except UserError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("error", "printed", "told"),
    [
        (
            "ImportError",
            "10",
            "warning: each loader process imports odd for itself, which their server should have",
        ),
        ("ValueError", "no loader process can be started (", "ValueError: odd"),
    ],
)
def test_what_the_server_cannot_import_is_said(tmp_path: Path, error: str, printed: str, told: str) -> None:
    (tmp_path / "odd.py").write_text(ODD.format(error=error))
    (tmp_path / "program.py").write_text(USING_ODD)
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path)]
    env = environment({"PYTHONPATH": f"{ROOT}:{tmp_path}"})
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=100)
    assert done.stdout.startswith(printed), done.stdout + done.stderr
    assert told in done.stderr


def test_an_interruption_while_processes_start_leaves_none_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, started = ForkServerProcess.start, list[ForkServerProcess]()

    def interrupted(process: ForkServerProcess) -> None:
        if started:
            raise KeyboardInterrupt
        start(process)
        started.append(process)

    monkeypatch.setattr(ForkServerProcess, "start", interrupted)
    with pytest.raises(KeyboardInterrupt) as _held:  # and with it whatever the interrupted code had
        next(batches(stream(str(tmp_path)), workers=2))
    started[0].join(timeout=60)
    assert not started[0].is_alive()


class Unpickled(Cutter):
    """Cannot be."""

    def __reduce__(self) -> str:
        raise TypeError("a lock cannot be pickled")


def test_what_cannot_be_handed_to_the_processes_leaves_none_behind(tmp_path: Path) -> None:
    others = multiprocessing.active_children()
    with pytest.raises(TypeError, match="a lock cannot be pickled"):
        next(batches(stream(str(tmp_path), Unpickled()), workers=1))
    left = [child for child in multiprocessing.active_children() if child not in others]
    for child in left:
        child.join(timeout=60)
    assert not any(child.is_alive() for child in left)
