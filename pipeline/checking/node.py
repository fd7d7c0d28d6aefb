"""What one node is like, measured in a few seconds by itself: no other node is waited for."""

import itertools
import os
import platform
import shutil
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np
import torch

import sharding
from pipeline.checking import request
from pipeline.checking.report import NODE, Report
from pipeline.config import Config
from pipeline.data import splits
from pipeline.data.splits import Mixed
from pipeline.handover import shared
from pipeline.ranks import devices
from pipeline.run.provenance import commit
from sharding import storage
from sharding.errors import UserError
from sharding.format import mjpeg
from sharding.format.manifest import Manifest

SECONDS = 3.0
"""Of reading from the store, and of decoding as well."""
ANSWER_S = 12.0
"""That what lies elsewhere has to answer. Longer than a store is given (`pipeline.preflight`), which then says why;
twice that is shorter than a node is given (`launch.preflight`)."""
DEVICES = Path("/dev")
_LEAST_SECONDS = 1.0
_READERS = 4
_PART = 1 << 20
_WIDTH, _HEIGHT, _FRAMES = 340, 256, 8

T = TypeVar("T")


def look(config: Config, processes: int, ranks: int) -> Report:
    """This node's report, for a training of `ranks` ranks of which `processes` are here."""
    problems: dict[str, str] = {}
    deadline = time.monotonic() + ANSWER_S
    folder = Question("run folder", lambda: request.check_writable(config.run.folder))
    sets = Question("shards", lambda: splits.load_all(config)).answer(deadline, problems)
    store = None
    if sets is not None:
        read, mixed = sets[0], sets[2]
        store = Question("store", lambda: mixture_rate(read, mixed)).answer(
            time.monotonic() + ANSWER_S, problems
        )
    folder.answer(deadline, problems)
    try:
        found = _devices(config, processes)
    except UserError as error:
        found, problems["devices"] = [], str(error)
    frames = decode_rate()
    needed = None
    if sets is not None:
        clips = processes * max(config.data.workers, 1) * frames / config.model.num_frames
        needed = clips * splits.bytes_a_sample(sets[0], sets[2]) / 1e6
    cache = config.data.cache
    called = os.environ.get(NODE)
    return Report(
        node=called or os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        address=called or socket.gethostname(),
        clock=0.0,
        processes=processes,
        versions=versions(),
        devices=found,
        cores=len(os.sched_getaffinity(0)),
        shared_free=shared.bytes_free() if shared.FOLDER.is_dir() else 0,
        shared_needed=shared.bytes_needed(config, ranks, processes),
        cache_free=None if cache is None else _free(Path(cache)),
        cache_needed=0 if cache is None else round(config.data.cache_gb * 1e9),
        frames_per_s=frames,
        store_mb_per_s=store,
        needed_mb_per_s=needed,
        problems=problems,
    )


class Question(Generic[T]):
    """What is asked in a thread of its own: an answer that does not come, of a file system say, holds nothing up."""

    def __init__(self, name: str, what: Callable[[], T]) -> None:
        self._name, self._what = name, what
        self._answer: T | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._ask, daemon=True, name=name)
        self._thread.start()

    def answer(self, deadline: float, problems: dict[str, str]) -> T | None:
        """It, if it comes before `deadline` of the monotonic clock; else `problems` say by its name why not."""
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            problems[self._name] = f"no answer within {ANSWER_S:g} s"
            return None
        if isinstance(self._error, UserError):
            problems[self._name] = str(self._error)
        elif self._error is not None:
            raise self._error
        return self._answer

    def _ask(self) -> None:
        try:
            self._answer = self._what()
        except Exception as error:
            self._error = error


def processes() -> int:
    """Those that train here, as launch/train.sbatch has them: one for each GPU, or one."""
    told = os.environ.get("SLURM_GPUS_ON_NODE")
    return int(told) if told else max(1, len(list(DEVICES.glob("nvidia[0-9]*"))))


def versions() -> dict[str, str]:
    """What must be the same on all nodes."""
    return {
        "blvnet-pipeline": sharding.__version__,
        "commit": commit() or "-",
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
    }


def decode_rate(seconds: float = SECONDS) -> float:
    """JPEGs a second that one core decodes: the same ones on every node."""
    rows, columns = np.mgrid[0:_HEIGHT, 0:_WIDTH]
    picture = np.stack([rows % 256, columns % 256, (rows * columns) % 251], axis=2).astype(np.uint8)
    jpeg = mjpeg.encode_rgb(picture, 90)
    blob, offsets = jpeg * _FRAMES, [i * len(jpeg) for i in range(_FRAMES)]
    count, begun = 0, time.perf_counter()
    while (passed := time.perf_counter() - begun) < seconds:
        mjpeg.decode(blob, offsets, range(_FRAMES), (_WIDTH, _HEIGHT))
        count += _FRAMES
    return count / passed


def mixture_rate(train_set: Manifest, mixed: Sequence[Mixed]) -> float:
    """MB a second at which an epoch can be read, of whose bytes each set has its share: `store_rate` of them all."""
    sizes = [(train_set, train_set.bytes), *((one.split, one.bytes) for one in mixed)]
    seconds = max(_LEAST_SECONDS, SECONDS / len(sizes))
    rates = [store_rate(split, seconds) for split, _ in sizes]
    if not all(rates):
        return 0.0
    return sum(size for _, size in sizes) / sum(
        size / rate for (_, size), rate in zip(sizes, rates, strict=True)
    )


def store_rate(split: Manifest, seconds: float = SECONDS) -> float:
    """MB a second that several streams read from the split's shards, each from the beginning of others."""
    numbers = itertools.cycle(np.random.default_rng().permutation(len(split.shards)).tolist())
    stop = time.perf_counter() + seconds
    counts, errors = [0] * _READERS, []

    def read(i: int) -> None:
        try:
            while time.perf_counter() < stop:
                with storage.open_read(split.shard_url(next(numbers))) as stream:
                    while time.perf_counter() < stop and (part := stream.read(_PART)):
                        counts[i] += len(part)
        except UserError as error:
            errors.append(error)

    begun = time.perf_counter()
    readers = [threading.Thread(target=read, args=(i,), daemon=True) for i in range(_READERS)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    if errors:
        raise errors[0]
    return sum(counts) / (time.perf_counter() - begun) / 1e6


def _devices(config: Config, processes: int) -> list[str]:
    """One name for each process that trains here."""
    if devices.local_device(config.run.device).type == "cpu":
        return ["CPU"] * processes
    if (count := torch.cuda.device_count()) < processes:
        raise UserError(f"{processes} processes, and {count} GPUs")
    return [torch.cuda.get_device_name(i) for i in range(processes)]


def _free(folder: Path) -> int:
    """Bytes free where `folder` is or will be."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    return shutil.disk_usage(there).free
