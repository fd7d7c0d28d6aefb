"""The videos of each shard of a split, without a list of them all: there may be millions."""

from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from sharding.lists.videos import Video


class Piece(Sequence[Video]):
    """Some of the videos, by their numbers. A worker gets them as a plain list."""

    def __init__(self, videos: Sequence[Video], numbers: npt.NDArray[np.intp]) -> None:
        self._videos, self._numbers = videos, numbers

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, i: int) -> Video: ...
    @overload
    def __getitem__(self, i: slice) -> "Piece": ...
    def __getitem__(self, i: int | slice) -> "Video | Piece":
        if isinstance(i, slice):
            return Piece(self._videos, self._numbers[i])
        return self._videos[int(self._numbers[i])]

    def __iter__(self) -> Iterator[Video]:
        return map(self._videos.__getitem__, self._numbers.tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


def order(ranks: bytes | bytearray) -> npt.NDArray[np.intp]:
    """The numbers of keys in the order of their ranks of 16 bytes each, which come one after another."""
    halves = np.frombuffer(ranks, ">u8").reshape(-1, 2)
    return np.lexsort((halves[:, 1], halves[:, 0]))
