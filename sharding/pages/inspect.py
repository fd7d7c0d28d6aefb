"""Look at a shard set: what its manifests and sidecars say of it, and some samples at random."""

import random
import statistics
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from sharding.format import manifest
from sharding.format.manifest import Manifest
from sharding.format.shard import SampleRow
from sharding.pages import contact, units
from sharding.pages.contact import Sheet

_READERS = 4  # samples read at the same time: each is held in memory whole


@dataclass(frozen=True)
class Split:
    """One split: its manifest, the rows of all its samples, and the sheets of some of them."""

    made: Manifest
    rows: list[SampleRow]
    sheets: list[Sheet]

    @property
    def frames(self) -> list[int]:
        """Frames of each sample."""
        return [row.frames for row in self.rows]

    @property
    def sizes(self) -> list[int]:
        """Bytes of each sample in its tar."""
        return [row.bytes for row in self.rows]

    @property
    def classes(self) -> list[tuple[int, int]]:
        """(class index, samples), the largest first; none where no sample has a label."""
        counts = Counter(row.label for row in self.rows if row.label is not None)
        if not counts:
            return []
        return sorted(((i, counts[i]) for i in range(len(self.made.classes))), key=lambda c: (-c[1], c[0]))

    @property
    def unlabelled(self) -> int:
        return sum(row.label is None for row in self.rows)

    @property
    def damaged(self) -> list[Sheet]:
        """The samples that could not be read."""
        return [sheet for sheet in self.sheets if sheet.problem is not None]

    def lines(self) -> list[str]:
        """For the user."""
        lines = [self.made.line()]
        if self.rows:
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


def spread(values: list[int], unit: Callable[[float], str] = "{:,}".format) -> str:
    """`least to most, median m`."""
    low, high = unit(min(values)), unit(max(values))
    return low if low == high else f"{low} to {high}, median {unit(statistics.median_low(values))}"


def look(urls: list[str], samples: int, every: int | None = None, seed: int = 0) -> list[Split]:
    """The splits at these URLs, each with the sheets of `samples` of its samples at random, in the shards' order.

    `every`: show every k-th frame; None shows some ten of each sample. Raises `UserError` where a manifest or a
    sidecar is missing or malformed.
    """
    mades = [manifest.load(url) for url in urls]
    placed = [sample_rows(made) for made in mades]
    chosen = [_choose(rows, samples, seed) for rows in placed]
    pictures = sum(len(contact.frames(row.frames, every)) for rows in chosen for _, row in rows)
    height = contact.picture_height(pictures)

    def read(place: tuple[str, SampleRow]) -> Sheet:
        return contact.read(*place, every, height)

    with ThreadPoolExecutor(_READERS) as threads:
        return [
            Split(made, [row for _, row in rows], list(threads.map(read, some)))
            for made, rows, some in zip(mades, placed, chosen, strict=True)
        ]


def sample_rows(made: Manifest) -> list[tuple[str, SampleRow]]:
    """Every sample with the URL of its tar."""
    return [(made.shard_url(i), row) for i, sidecar in enumerate(made.sidecars()) for row in sidecar.samples]


def _choose(rows: list[tuple[str, SampleRow]], samples: int, seed: int) -> list[tuple[str, SampleRow]]:
    numbers = random.Random(seed).sample(range(len(rows)), min(samples, len(rows)))
    return [rows[i] for i in sorted(numbers)]
