"""What one node is like, measured in a few seconds by itself: no other node is waited for."""

import itertools
import os
import platform
import shutil
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

import sharding
from pipeline.checking import request
from pipeline.checking.report import NODE, Report
from pipeline.config import Config
from pipeline.data import splits
from pipeline.handover import shared
from pipeline.ranks import devices
from pipeline.run.provenance import commit
from sharding import storage
from sharding.errors import UserError
from sharding.format import mjpeg
from sharding.format.manifest import Manifest

SECONDS = 3.0
"""Of reading from the store, and of decoding as well."""
_READERS = 4
_PART = 8 << 20
_WIDTH, _HEIGHT, _FRAMES = 340, 256, 8

T = TypeVar("T")


def look(config: Config, processes: int, ranks: int) -> Report:
    """This node's report, for a training of `ranks` ranks of which `processes` are here."""
    problems: dict[str, str] = {}
    split = _tried("shards", problems, lambda: _splits(config))
    store = None if split is None else _tried("store", problems, lambda: store_rate(split))
    _tried("run folder", problems, lambda: request.check_writable(config.run.folder))
    found = _tried("devices", problems, lambda: _devices(config, processes)) or []
    frames = decode_rate()
    needed = None
    if split is not None:
        clips = processes * max(config.data.workers, 1) * frames / config.model.num_frames
        needed = clips * split.bytes / split.samples / 1e6
    cache = config.data.cache
    called = os.environ.get(NODE)
    return Report(
        node=called or os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
        address=called or socket.gethostname(),
        clock=0.0,
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
    readers = [threading.Thread(target=read, args=(i,)) for i in range(_READERS)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    if errors:
        raise errors[0]
    return sum(counts) / (time.perf_counter() - begun) / 1e6


def _splits(config: Config) -> Manifest:
    data = config.data
    train_set = splits.load(data.root, data.train, "data.train")
    splits.check_splits(train_set, splits.load(data.root, data.validation, "data.validation"))
    splits.load_mix(data, train_set)  # the rates are measured on the first set alone
    return train_set


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


def _tried(name: str, problems: dict[str, str], what: Callable[[], T]) -> T | None:
    try:
        return what()
    except UserError as error:
        problems[name] = str(error)
        return None
