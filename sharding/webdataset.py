"""Our shards in a pipeline of plain webdataset, without the rest of this program.

webdataset.WebDataset(urls).decode(frames([0, 5, 10])).map(labelled)
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from sharding.errors import UserError
from sharding.format import mjpeg
from sharding.format.turbojpeg import Region

Which = Sequence[int] | Callable[[int], Sequence[int]]
"""Numbers of frames, from 0 on; or what gives them for a video of so many frames."""


class Frames:
    """A decoder of both members of a sample, for `webdataset.WebDataset(urls).decode(...)`; see `frames`."""

    def __init__(self, which: Which | None) -> None:
        self._which = which
        self._meta: dict[str, Any] | None = None  # of the sample that is on its way: its JSON comes first

    def __call__(self, name: str, data: bytes) -> Any:
        """A member's content; None for what webdataset is to decode itself."""
        if name == ".json":
            self._meta = json.loads(data)
            return self._meta
        if name == ".mjpeg":
            return self._decoded(data, self._meta_of(name))
        if self._meta is not None and _is_of_film(self._meta):
            return self._of_film(name, data, self._meta_of(name))
        return None

    def _meta_of(self, name: str) -> dict[str, Any]:
        """The JSON of the sample whose other member this is: there is one."""
        meta, self._meta = self._meta, None
        if meta is None:
            raise UserError(
                f"sharding.webdataset.frames: a sample's .json has not come before its {name}; give .decode() whole "
                f"samples, and not only='{name[1:]}'"
            )
        return meta

    def _decoded(self, blob: bytes, meta: dict[str, Any]) -> mjpeg.Array:
        numbers = self._numbers(len(meta["offsets"]))
        return mjpeg.decode(blob, meta["offsets"], numbers, (meta["width"], meta["height"]))

    def _of_film(self, name: str, film: bytes, meta: dict[str, Any]) -> mjpeg.Array:
        from sharding.foreign.sample import FilmFrames

        count, width, height = meta["frames"], meta["width"], meta["height"]
        numbers = list(self._numbers(count))
        if any(not 0 <= number < count for number in numbers):
            raise IndexError(f"frames {numbers} asked for, the film has {count}")
        kept = FilmFrames(memoryview(film), count, f"film{name}")
        return kept.decode(numbers, (width, height), "RGB", Region(0, 0, width, height), mjpeg.fresh)

    def _numbers(self, count: int) -> Sequence[int]:
        if self._which is None:
            return range(count)
        return self._which(count) if callable(self._which) else self._which


def _is_of_film(meta: Any) -> bool:
    """Whether this is the JSON of a sample of `build --store film`: that of JPEGs, but for their places."""
    known = isinstance(meta, dict) and {"label", "frames", "width", "height", "source"} <= meta.keys()
    return known and "offsets" not in meta


def frames(which: Which | None = None) -> Frames:
    """What `.decode()` of a `webdataset.WebDataset` takes to read our shards, whole videos or the frames `which`.

    `json` of a sample becomes a dict, and `mjpeg`, or the film in a shard of films, uint8 (n, height, width, 3), RGB.
    A damaged picture, or a frame that is not there, is webdataset's `DecodingError` with the sample's key and URL, and
    goes to `handler` as ever.
    """
    return Frames(which)


def labelled(sample: dict[str, Any]) -> dict[str, Any]:
    """A decoded sample, for `.map()`, as one flat dict: `label`, `frames`, and what else its JSON says.

    `label` is None in a test split. What else is in the sample, as `__key__`, stays; places of bytes are left out.
    """
    meta = {name: value for name, value in sample["json"].items() if name != "offsets"}
    frames_of = next(
        name for name, value in sample.items() if isinstance(value, np.ndarray) and value.ndim == 4
    )
    rest = {name: value for name, value in sample.items() if name not in ("json", frames_of)}
    return {**rest, **meta, "frames": sample[frames_of]}
