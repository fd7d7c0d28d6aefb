"""The loader's processes end with the process that started them, however it ends."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from torch import Tensor

from pipeline.data.loader import batches
from pipeline.data.samples import Sample
from pipeline.data.stream import ClipStream, Passes
from pipeline.handover.shared import PREFETCHED_STEPS
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
        process.wait(timeout=30)
    deadline = time.monotonic() + 20
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
        child.join(timeout=5)
    assert not any(child.is_alive() for child in left)
    assert time.monotonic() - begin < 60


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
