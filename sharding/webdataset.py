"""Our shards in a pipeline of plain webdataset, without the rest of this program.

webdataset.WebDataset(urls).decode(frames([0, 5, 10])).map(labelled)
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from sharding.errors import UserError
from sharding.format import mjpeg

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
        return self._decoded(data) if name == ".mjpeg" else None

    def _decoded(self, blob: bytes) -> mjpeg.Array:
        meta, self._meta = self._meta, None
        if meta is None:
            raise UserError(
                "sharding.webdataset.frames: a sample's .json has not come before its .mjpeg; give .decode() whole "
                "samples, and not only='mjpeg'"
            )
        count = len(meta["offsets"])
        which = range(count) if self._which is None else self._which
        numbers = which(count) if callable(which) else which
        return mjpeg.decode(blob, meta["offsets"], numbers, (meta["width"], meta["height"]))


def frames(which: Which | None = None) -> Frames:
    """What `.decode()` of a `webdataset.WebDataset` takes to read our shards, whole videos or the frames `which`.

    `json` of a sample becomes a dict, and `mjpeg` uint8 (n, height, width, 3), RGB. A damaged JPEG, or a frame that is
    not there, is webdataset's `DecodingError` with the sample's key and URL, and goes to `handler` as ever.
    """
    return Frames(which)


def labelled(sample: dict[str, Any]) -> dict[str, Any]:
    """A decoded sample, for `.map()`, as one flat dict: `label`, `frames`, and what else its JSON says.

    `label` is None in a test split. The names that webdataset gives, as `__key__`, stay; places of bytes are left out.
    """
    meta = {name: value for name, value in sample["json"].items() if name != "offsets"}
    rest = {name: value for name, value in sample.items() if name not in ("json", "mjpeg")}
    return {**rest, **meta, "frames": sample["mjpeg"]}
