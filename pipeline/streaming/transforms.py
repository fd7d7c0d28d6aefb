"""A user's transform at work: what it raises is told in one line, and so is that it cannot be sent to a process."""

import pickle
import traceback
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from pipeline.data.samples import Sample
from pipeline.labels.tensors import Label
from pipeline.streaming.layout import Layout
from pipeline.streaming.video import Transform, Video
from sharding.errors import UserError


def applied(transform: Transform, sample: Sample, rng: np.random.Generator) -> Any:
    """What `transform` makes of `sample`. Whatever it raises is a `UserError` that names shard and key."""
    try:
        return transform(Video(sample), rng)
    except UserError:  # a damaged sample's names both already
        raise
    except Exception as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        what = " ".join(f"{type(error).__name__}: {error}".split())
        raise UserError(
            f"{_where(sample)}: the transform {_name(transform)} failed: {what} ({at.filename}, line {at.lineno})"
        ) from error


class TransformCutter:
    """A transform as what makes a clip of each sample; see `pipeline.data.stream.Cutter`.

    To the loader a clip is the bytes of what the transform makes, as `layout` has them.
    """

    def __init__(self, transform: Transform, layout: Layout) -> None:
        self._transform: Transform | _Packed = transform
        self._layout = layout

    def shape(self, sample: Sample) -> tuple[int, ...]:
        """(bytes, 1, 1), whatever the sample."""
        return self._layout.bytes, 1, 1

    def __call__(self, sample: Sample, rng: np.random.Generator, out: Tensor) -> Label:
        """Fill `out`, uint8 (bytes, 1, 1); returns the sample's label."""
        if isinstance(self._transform, _Packed):
            self._transform = _unpacked(self._transform)
        made = applied(self._transform, sample, rng)
        try:
            self._layout.write(made, out.view(-1))
        except ValueError as error:
            raise made_otherwise(self._transform, sample, error) from None
        return sample.row.label

    def __getstate__(self) -> tuple["_Packed", Layout]:
        kept = self._transform
        return kept if isinstance(kept, _Packed) else packed(kept), self._layout

    def __setstate__(self, state: tuple["_Packed", Layout]) -> None:
        self._transform, self._layout = state


class _Packed(NamedTuple):
    """A pickled transform: it is unpickled where an error has words, which a loader process's start has not."""

    name: str
    content: bytes


def packed(transform: Transform) -> _Packed:
    """`transform` for another process. Raises `UserError` where it cannot be pickled."""
    try:
        return _Packed(_name(transform), pickle.dumps(transform))
    except Exception as error:
        raise UserError(
            f"the transform {_name(transform)} cannot be sent to loader processes ({error}); make it a function or an "
            "object of a class that stands at the top of a file, with nothing in it that cannot be pickled, or use "
            "workers=0"
        ) from None


def _unpacked(kept: _Packed) -> Transform:
    try:
        transform: Transform = pickle.loads(kept.content)
    except Exception as error:
        raise UserError(
            f"the transform {kept.name} cannot be loaded in a loader process ({type(error).__name__}: {error}); "
            'define it in a file, outside of `if __name__ == "__main__":`, not in a session or a notebook, or use '
            "workers=0"
        ) from None
    return transform


def made_otherwise(transform: Transform, sample: Sample, error: ValueError) -> UserError:
    """What is wrong with what `transform` made of `sample`, by `error`."""
    return UserError(f"{_where(sample)}: the transform {_name(transform)} made {error}")


def _where(sample: Sample) -> str:
    return f"{sample.url}: sample {sample.row.key}"


def _name(transform: Transform) -> str:
    return str(getattr(transform, "__qualname__", None) or type(transform).__qualname__)
