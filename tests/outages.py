"""A training on a store that is stopped and started again under it, for a test and a benchmark."""

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.run import journal
from pipeline.run.proof import Proof, prove
from sharding import storage
from tests import shards
from tests.processes import kill_tree, started, torchrun, wait_until
from tests.stores import Program

SHARDS, BATCH = [20] * 8, 8
STEPS_IN_EPOCH = sum(SHARDS) // BATCH


@dataclass(frozen=True)
class Outcome:
    """What a training came to."""

    status: int
    seconds: float
    proof: Proof
    output: str


@contextmanager
def away(program: Program, seconds: float) -> Iterator[None]:
    """Within the block a store goes away, at once, and is back after so many seconds; the block's end waits for it."""
    program.stop()

    def back() -> None:
        time.sleep(seconds)
        program.start()

    thread = threading.Thread(target=back)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def train(program: Program, root: str, epochs: int, outages: int, seconds: float) -> Outcome:
    """Train on shards in a bucket, with the run folder beside them; the store is away so often, for so long each
    time, at moments that divide the run."""
    shards.make(f"{root}/shards", SHARDS)
    shards.make(f"{root}/shards", [10], split="validation")
    command = torchrun(
        2,
        "pipeline.train",
        "--config=configs/demo.yaml",
        *(f"data.root={root}/shards", "data.size=32", "data.short_side=32", "data.workers=2"),
        *(f"run.folder={root}/run", "run.audit=true", "run.log_steps=1", "run.precision=fp32"),
        *("model.num_frames=4", f"optim.global_batch={BATCH}", f"optim.epochs={epochs}"),
        *("optim.schedule=constant", f"run.evaluate_epochs={epochs}"),
    )
    steps = epochs * STEPS_IN_EPOCH
    with tempfile.TemporaryDirectory(prefix="outage.") as folder:
        log = Path(folder) / "log"
        with started(command, log) as process:
            wait_until(lambda: _done(root) > 0, 120, process, log)
            start = time.monotonic()
            for outage in range(outages):
                moment = steps * (outage + 1) // (outages + 1)
                wait_until(partial(_past, root, moment), 240, process, log)
                with away(program, seconds):
                    pass
            status = process.wait(timeout=240)
            taken = time.monotonic() - start
            kill_tree(process)
        return Outcome(status, taken, prove(f"{root}/run"), log.read_text())


def _past(root: str, moment: int) -> bool:
    return _done(root) >= moment


def _done(root: str) -> int:
    """Steps that the run has told of."""
    url = f"{root}/run/metrics.jsonl"
    if not storage.exists(url):
        return 0
    return max((line["step"] for line in journal.read(url) if line["kind"] == "train"), default=0)
