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
from sharding.format.rows import SampleRow
from sharding.format.shard import Meta

OnSample = Callable[[], object]
"""Hears of each sample, from several threads."""


def take(manifests: Iterable[Manifest], workers: int, on_sample: OnSample) -> Fingerprint:
    """The fingerprint of the splits of `manifests`, read in `workers` threads.

    Raises `UserError` for a sample that is damaged, and where a shard cannot be read.
    """
    splits, keys, rows = [], list[str](), [np.zeros(0, ROW)]
    with ThreadPoolExecutor(workers) as threads:
        for number, made in enumerate(manifests):
            if made.indexed or made.of_films:
                what = "films as they came" if made.of_films else "an index of others' tars"
                raise UserError(f"{made.root}: {what}; fingerprints are of shards of JPEGs that were built")
            failures = {failure.key: failure.reason for failure in made.failures}
            places = [(made.shard_url(i), sidecar.samples) for i, sidecar in enumerate(made.sidecars())]
            labels = sorted({row.label for _, rows in places for row in rows if isinstance(row.label, tuple)})
            about = Split(
                made.split, made.classes, made.settings, failures, made.sha256, list(map(list, labels))
            )
            splits.append(about)
            number_of = {label: place for place, label in enumerate(labels)}
            keys += [row.key for _, samples in places for row in samples]
            jobs = [
                threads.submit(_of_shard, url, some, number, number_of, on_sample) for url, some in places
            ]
            try:
                rows += [job.result() for job in jobs]
            except BaseException:
                threads.shutdown(cancel_futures=True)
                raise
    return Fingerprint(splits, keys, np.concatenate(rows))


Numbers = dict[tuple[int, ...], int]
"""The place of each list of labels among those of its split."""


def _of_shard(
    url: str, samples: list[SampleRow], split: int, number_of: Numbers, on_sample: OnSample
) -> Rows:
    rows = np.zeros(len(samples), ROW)
    with storage.open_read(url) as stream:
        for i, row in enumerate(samples):
            span = shard.read_span(stream, row.bytes)
            try:
                rows[i] = (split, *_of_sample(*shard.unpack(row, span), number_of))
            except ValueError as error:
                raise UserError(
                    f"{url}: sample {row.key}: {error}; blvnet-shard verify finds all damage"
                ) from None
            on_sample()
    return rows


def _of_sample(
    meta: Meta, blob: memoryview, number_of: Numbers
) -> tuple[int, int, int, int, float, list[int]]:
    """The columns of a row but the first."""
    rate = meta.fps if isinstance(meta.fps, int | float) and math.isfinite(meta.fps) else 0.0
    numbers = look.of_sample(blob, meta.offsets, (meta.width, meta.height))
    label = (
        number_of[meta.label] if isinstance(meta.label, tuple) else -1 if meta.label is None else meta.label
    )
    return label, meta.frames, meta.width, meta.height, float(rate), list(numbers)
