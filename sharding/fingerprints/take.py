"""The fingerprint of a shard set, from its shards: each is read once, from its beginning to its end."""

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from sharding import storage
from sharding.errors import UserError
from sharding.fingerprints import look
from sharding.fingerprints.table import ROW, Fingerprint, Rows, Split
from sharding.format import shard
from sharding.format.manifest import Manifest
from sharding.format.shard import Meta, SampleRow

OnSample = Callable[[], object]
"""Hears of each sample, from several threads."""


def take(manifests: Iterable[Manifest], workers: int, on_sample: OnSample) -> Fingerprint:
    """The fingerprint of the splits of `manifests`, read in `workers` threads.

    Raises `UserError` for a sample that is damaged, and where a shard cannot be read.
    """
    splits, keys, rows = [], list[str](), [np.zeros(0, ROW)]
    with ThreadPoolExecutor(workers) as threads:
        for number, made in enumerate(manifests):
            failures = {failure.key: failure.reason for failure in made.failures}
            splits.append(Split(made.split, made.classes, made.settings, failures, made.sha256))
            places = [(made.shard_url(i), sidecar.samples) for i, sidecar in enumerate(made.sidecars())]
            keys += [row.key for _, samples in places for row in samples]
            jobs = [threads.submit(_of_shard, url, some, number, on_sample) for url, some in places]
            try:
                rows += [job.result() for job in jobs]
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise
    return Fingerprint(splits, keys, np.concatenate(rows))


def _of_shard(url: str, samples: list[SampleRow], split: int, on_sample: OnSample) -> Rows:
    rows = np.zeros(len(samples), ROW)
    with storage.open_read(url) as stream:
        for i, row in enumerate(samples):
            span = shard.read_span(stream, row.bytes)
            try:
                rows[i] = (split, *_of_sample(*shard.unpack(row, span)))
            except ValueError as error:
                raise UserError(
                    f"{url}: sample {row.key}: {error}; blvnet-shard verify finds all damage"
                ) from None
            on_sample()
    return rows


def _of_sample(meta: Meta, blob: memoryview) -> tuple[int, int, int, int, float, list[int]]:
    """The columns of a row but the first."""
    rate = meta.fps if isinstance(meta.fps, int | float) and math.isfinite(meta.fps) else 0.0
    numbers = look.of_sample(blob, meta.offsets, (meta.width, meta.height))
    label = -1 if meta.label is None else meta.label
    return label, meta.frames, meta.width, meta.height, float(rate), list(numbers)
