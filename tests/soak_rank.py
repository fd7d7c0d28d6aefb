"""One rank of the soak: consumes its batches, and writes down what came and what its loader processes hold.

python -m tests.soak_rank FOLDER RANK RUN     # RUN: the soak's `Run` as JSON
"""

import json
import multiprocessing
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import config as configuration
from pipeline.data.clips import train_cutter
from pipeline.data.loader import batches
from pipeline.data.stream import ClipStream, Passes
from pipeline.order import plan
from sharding.format import manifest

READINGS = 50  # of memory and descriptors, over the whole run
RED_TOLERANCE = 3.0


@dataclass(frozen=True)
class Run:
    """What every rank must know."""

    root: str
    ranks: int
    workers: int
    batch: int
    epochs: int

    @property
    def order(self) -> plan.Order:
        """Every worker reads one lane."""
        return plan.Order(seed=7, lanes=self.ranks * self.workers, window=32)


def consume(run: Run, rank: int) -> dict[str, Any]:
    """All batches of `rank`: their keys, what the workers held now and then, and the clips with a wrong picture."""
    overrides = [f"data.root={run.root}", "run.folder=unused", "model.num_frames=2", "data.size=32"]
    config = configuration.load("configs/demo.yaml", overrides)
    split = manifest.load(f"{run.root}/train")
    passes = Passes(run.batch, run.epochs)
    stream = ClipStream(split, train_cutter(config, split.classes), run.order, passes, rank, run.ranks)
    every = max(1, passes.steps(split.samples) * run.epochs // READINGS)
    steps: list[list[Any]] = []
    readings: list[list[list[int]]] = []
    wrong = []
    for batch in batches(stream, run.workers):
        steps.append([batch.epoch, batch.step, batch.numbers, batch.keys])
        # Red tells the sample: see tests/shards.py.
        reds = batch.clips[:, :, 0].float().mean((1, 2, 3)).tolist()
        numbers = [int(key.rpartition("-")[2]) % 256 for key in batch.keys]
        wrong += [
            key for key, red, n in zip(batch.keys, reds, numbers, strict=True) if abs(red - n) > RED_TOLERANCE
        ]
        if len(steps) % every == 0:
            readings.append([holdings(child.pid) for child in multiprocessing.active_children()])
    left = [child.pid for child in multiprocessing.active_children() if child.is_alive()]
    return {"steps": steps, "readings": readings, "wrong": wrong, "left": left}


def holdings(pid: int | None) -> list[int]:
    """Resident memory in KiB and open descriptors of a process, [0, 0] when it has ended."""
    process = Path(f"/proc/{pid}")
    try:
        lines = (process / "status").read_text().splitlines()
        resident = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))
        return [resident, len(list((process / "fd").iterdir()))]
    except (FileNotFoundError, ProcessLookupError, StopIteration):
        return [0, 0]


if __name__ == "__main__":
    folder, own, text = sys.argv[1:]
    found = consume(Run(**json.loads(text)), int(own))
    Path(folder, f"rank-{own}.json").write_text(json.dumps(found))
