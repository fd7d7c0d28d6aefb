"""Megatron-Energon: `save_state_rank` and `restore_state_rank`; for other ranks `energon checkpoint redist`."""

import math
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from megatron.energon import WorkerConfig, get_savable_loader, get_train_dataset

from benchmarks.resume_sides.rank import Task, join

SHARD, MICRO_BATCH, BUFFER = 10, 3, 20
COMMAND = Path(sys.executable).with_name("energon")


def make(folder: Path, samples: int) -> None:
    """The data: tars of ten samples, and what `energon prepare` adds."""
    for first in range(0, samples, SHARD):
        with tarfile.open(folder / f"{first // SHARD:06d}.tar", "w") as tar:
            for i in range(first, first + SHARD):
                member = tarfile.TarInfo(f"{i:06d}.txt")
                member.size = len(str(i))
                tar.addfile(member, BytesIO(str(i).encode()))
    fields = ["--sample-type=TextSample", '--field-map={"text": "txt"}']
    subprocess.run(
        [COMMAND, "prepare", "--non-interactive", r"--split-parts=train:.*\.tar", *fields, folder], check=True
    )


class Loader:
    """A rank's: micro-batches of three, of which the global batch is a multiple, as its scaling asks for."""

    def __init__(self, task: Task) -> None:
        join(task)
        self.task, self.micro_batch = task, math.gcd(MICRO_BATCH, task.batch)
        self.loader = get_savable_loader(
            get_train_dataset(
                task.data,
                worker_config=WorkerConfig.default_worker_config(task.workers),
                batch_size=self.micro_batch,
                shuffle_buffer_size=BUFFER,
                max_samples_per_sequence=BUFFER,
            )
        )
        self.iterator: Iterator[Any] | None = None

    def load(self, states: list[Any]) -> None:
        """Its own state, or what the command for other numbers of ranks makes of all."""
        if len(states) != self.task.ranks:
            states = self._shared_anew(states)
        self.loader.restore_state_rank(states[self.task.rank])

    def _shared_anew(self, states: list[Any]) -> list[Any]:
        folder = Path(self.task.out) / f"redist-{self.task.rank}"
        new = folder / "new"
        new.mkdir(parents=True)
        files = [folder / f"state_rank{rank}.pt" for rank in range(len(states))]
        for file, state in zip(files, states, strict=True):
            torch.save(state, file)
        ranks = f"--new-world-size={self.task.ranks}"
        done = subprocess.run(
            [COMMAND, "checkpoint", "redist", ranks, *files, new], capture_output=True, text=True
        )
        if done.returncode:
            raise ValueError(f"energon checkpoint redist: {(done.stderr or done.stdout).strip()[-300:]}")
        made = sorted(new.iterdir(), key=lambda file: file.name)
        return [torch.load(file, weights_only=False) for file in made]

    def epoch(self, number: int, done: int) -> Iterator[list[int]]:
        """So many steps of a stream without an end."""
        if self.iterator is None:
            self.iterator = iter(self.loader)
        for _ in range(done, self.task.steps):
            parts = [next(self.iterator) for _ in range(self.task.batch // self.micro_batch)]
            yield [int(key.rpartition("/")[2]) for part in parts for key in part.__key__]

    def state(self) -> Any:
        """The rank's."""
        return self.loader.save_state_rank()
