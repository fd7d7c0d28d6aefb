"""Look at a shard set: what its manifests and sidecars say of it, and some samples at random."""

import random
import statistics
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate, chain
from typing import NamedTuple

from sharding.format import manifest
from sharding.format.manifest import Manifest
from sharding.format.rows import SampleRow
from sharding.format.soundness import at_once
from sharding.pages import contact, units
from sharding.pages.contact import Sheet

_READERS = 4  # samples read at the same time: each is held in memory whole


@dataclass(frozen=True)
class Split:
    """One split: its manifest, the frames and bytes of each sample, and the sheets of some of them.

    `labels` counts the samples of each class, and of None.
    """

    made: Manifest
    frames: Sequence[int]
    sizes: Sequence[int]
    labels: Counter[int | None]
    sheets: list[Sheet]

    @property
    def classes(self) -> list[tuple[int, int]]:
        """(class index, samples), the largest first; none where no sample has a label."""
        if not set(self.labels) - {None}:
            return []
        return sorted(
            ((i, self.labels[i]) for i in range(len(self.made.classes))), key=lambda c: (-c[1], c[0])
        )

    @property
    def unlabelled(self) -> int:
        return self.labels[None]

    @property
    def damaged(self) -> list[Sheet]:
        """The samples that could not be read."""
        return [sheet for sheet in self.sheets if sheet.problem is not None]

    def lines(self) -> list[str]:
        """For the user."""
        lines = [self.made.line()]
        if self.frames:
            lines += [f"  frames   {spread(self.frames)}", f"  bytes    {spread(self.sizes, units.size)}"]
            lines += [f"  labels   {self.class_line()}"]
        lines += [f"  sample {sheet.row.key} is damaged: {sheet.problem}" for sheet in self.damaged]
        return lines

    def class_line(self) -> str:
        """How the samples are spread over the classes, in words."""
        counts = [count for _, count in self.classes]
        if not counts:
            return "no labels"
        said = f"{len(counts)} classes, samples in each: {spread(counts)}"
        if 0 in counts:
            said += f"; {counts.count(0)} empty"
        if self.unlabelled:
            said += f"; {self.unlabelled:,} samples without a label"
        return said


def spread(values: Sequence[int], unit: Callable[[float], str] = "{:,}".format) -> str:
    """`least to most, median m`."""
    low, high = unit(min(values)), unit(max(values))
    return low if low == high else f"{low} to {high}, median {unit(statistics.median_low(values))}"


def look(urls: list[str], samples: int, every: int | None = None, seed: int = 0) -> list[Split]:
    """The splits at these URLs, each with the sheets of `samples` of its samples at random, in the shards' order.

    `every`: show every k-th frame; None shows some ten of each sample. Raises `UserError` where a manifest or a
    sidecar is missing or malformed.
    """
    mades = [manifest.load(url) for url in urls]
    read_splits = [_read(made, samples, seed) for made in mades]
    chosen = [part.chosen for part in read_splits]
    pictures = sum(len(contact.frames(row.frames, every)) for rows in chosen for _, row in rows)
    height = contact.picture_height(pictures)

    def read(place: tuple[str, SampleRow]) -> Sheet:
        return contact.read(*place, every, height)

    with ThreadPoolExecutor(_READERS) as threads:
        return [
            Split(made, part.frames, part.sizes, part.labels, list(threads.map(read, part.chosen)))
            for made, part in zip(mades, read_splits, strict=True)
        ]


def sample_rows(made: Manifest) -> list[tuple[str, SampleRow]]:
    """Every sample with the URL of its tar."""
    return [(made.shard_url(i), row) for i, sidecar in enumerate(made.sidecars()) for row in sidecar.samples]


class _Part(NamedTuple):
    """What is kept of the rows of one shard or more: there may be a million, and a row is an object."""

    frames: "array[int]"
    sizes: "array[int]"
    labels: Counter[int | None]
    chosen: list[tuple[str, SampleRow]]


def _labels(rows: Sequence[SampleRow]) -> Counter[int | None]:
    """How many of these samples are of each class; of None, how many have no label."""
    each = (row.label if isinstance(row.label, tuple) else (row.label,) for row in rows)
    return Counter(chain.from_iterable(each))


def _read(made: Manifest, samples: int, seed: int) -> _Part:
    """The rows of a split, and `samples` of them at random with the URLs of their tars."""
    numbers = sorted(random.Random(seed).sample(range(made.samples), min(samples, made.samples)))
    starts = list(accumulate((row.samples for row in made.shards), initial=0))

    def read(i: int) -> _Part:
        rows = made.sidecar(i).samples
        wanted = numbers[bisect_left(numbers, starts[i]) : bisect_left(numbers, starts[i + 1])]
        chosen = [(made.shard_url(i), rows[number - starts[i]]) for number in wanted]
        frames, sizes = array("Q", [row.frames for row in rows]), array("Q", [row.bytes for row in rows])
        return _Part(frames, sizes, _labels(rows), chosen)

    whole = _Part(array("Q"), array("Q"), Counter(), [])
    for part in at_once(read, range(len(made.shards))):
        whole.frames.extend(part.frames)
        whole.sizes.extend(part.sizes)
        whole.labels.update(part.labels)
        whole.chosen.extend(part.chosen)
    return whole
