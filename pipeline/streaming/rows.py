"""The rows of a sidecar in a third of their memory: a data set keeps those of all its shards, perhaps millions."""

from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from pipeline.labels.tensors import Label
from sharding.format.rows import IndexedRow, SampleRow

Numbers = NDArray[np.int64]


class Rows(NamedTuple):
    """`numbers`: offset, bytes, CRC-32 and frames of each, int64 (samples, 4). `inside`: what rows of an index have."""

    kind: type[SampleRow]
    keys: list[str]
    labels: list[Label | None]
    numbers: Numbers
    inside: "_Inside | None"

    @staticmethod
    def of(rows: list[SampleRow]) -> "Rows":
        """Those of one shard."""
        numbers = np.array([(row.offset, row.bytes, row.crc32, row.frames) for row in rows], np.int64)
        indexed = [row for row in rows if isinstance(row, IndexedRow)]
        inside = _Inside.of(indexed) if indexed else None
        return Rows(type(rows[0]), [row.key for row in rows], [row.label for row in rows], numbers, inside)

    def row(self, i: int) -> SampleRow:
        """Row number i."""
        offset, size, crc32, frames = self.numbers[i].tolist()
        about = self.keys[i], offset, size, crc32, self.labels[i], frames
        return self.kind(*about) if self.inside is None else self.inside.row(i, about)


class _Inside(NamedTuple):
    """Of rows of an index: their kinds, width and height, int64 (samples, 2), and `parts`, int64 (parts, 2).

    Those of a row end at its number among `ends`, and begin where those of the row before end.
    """

    kinds: list[str]
    sizes: Numbers
    parts: Numbers
    ends: Numbers

    @staticmethod
    def of(rows: list[IndexedRow]) -> "_Inside":
        sizes = np.array([(row.width, row.height) for row in rows], np.int64)
        parts = np.array([part for row in rows for part in row.parts], np.int64)
        ends = np.cumsum([len(row.parts) for row in rows])
        return _Inside([row.kind for row in rows], sizes, parts, ends)

    def row(self, i: int, about: tuple[str, int, int, int, Label | None, int]) -> IndexedRow:
        width, height = self.sizes[i].tolist()
        parts = self.parts[int(self.ends[i - 1]) if i else 0 : int(self.ends[i])].tolist()
        return IndexedRow(*about, cast(Any, self.kinds[i]), width, height, [(a, b) for a, b in parts])
