"""A folder of optical flow as a video: gray JPEGs, of each step one of x and one of y, as extractors write them.

Which of the two a picture is, its folder or a word of its name says: `u/frame1.jpg` and `v/frame1.jpg`; `flow_x_1.jpg`
and `flow_y_1.jpg`; `1_x.jpg` and `1_y.jpg`. What remains of the name is the step's, the same for both.
"""

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import numpy as np
from av import VideoFrame

from sharding.format import header, mjpeg
from sharding.format.mjpeg import Array
from sharding.sources.fault import Unusable
from sharding.sources.pictures import FPS, Originals, by_numbers, is_picture, read_picture, whole_picture
from sharding.sources.times import Timed

PICTURES_A_SECOND = 2 * FPS

_AXES = {"x": 0, "u": 0, "y": 1, "v": 1}
_OTHER = {"x": "y", "y": "x", "u": "v", "v": "u"}
_FOLDERS = {"x": "x", "y": "y", "u": "u", "v": "v", "flow_x": "x", "flow_y": "y"}
_FILMS = {".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv"}
_DIGITS = re.compile(r"[0-9]+")
_NEUTRAL = 8
"""Levels by which the colours of a gray picture may be off gray."""


def folder_of(path: str) -> str:
    """The folder with the flow of the video at `path`: the film's name without its ending, or the path itself."""
    film = PurePosixPath(path)
    return str(film.with_suffix("")) if film.suffix.lower() in _FILMS else path


class FlowPictures:
    """The flow of a folder, x and y by turns, in the order of the numbers in their names. Other pictures are not read.

    With `within`, a folder whose links are resolved, no picture may lie outside of it. Raises `Unusable`, here or while
    pictures are read, and names the picture.
    """

    def __init__(self, folder: Path, within: Path | None = None) -> None:
        self._folder, self._within = folder, within
        self._files = [file for pair in _pairs(folder) for file in pair]

    def frames(self) -> Iterator[Timed]:
        """Every picture, in gray; x and y of a step have the same time."""
        first = None
        for number, file in enumerate(self._files):
            levels = self._levels(file)
            first = first or levels.shape
            if levels.shape != first:
                sizes = (f"{width}x{height}" for height, width in (levels.shape, first))
                raise Unusable("picture {} is {}, the first is {}".format(self._shown(file), *sizes))
            # Of unspecified range, so that nobody stretches what means pixels a step.
            yield number // 2 / FPS, VideoFrame.from_ndarray(levels, format="gray")

    def originals(self) -> Originals | None:
        """The pictures themselves, if each is what a shard holds: gray, baseline, all of one size."""
        sizes = {self._size_as_is(file) for file in self._files}
        size = sizes.pop()
        if sizes or size is None:
            return None
        jpegs = ((number // 2 / FPS, self._whole(file)) for number, file in enumerate(self._files))
        return Originals(size, jpegs)

    def _size_as_is(self, file: Path) -> tuple[int, int] | None:
        try:
            jpeg = read_picture(file, self._within, self._shown(file))
            found = header.read(jpeg)
        except ValueError:
            return None
        plain = found.is_gray and not found.progressive and jpeg.endswith(b"\xff\xd9")
        return (found.width, found.height) if plain and b"Exif\0\0" not in jpeg[: found.at] else None

    def _whole(self, file: Path) -> bytes:
        return whole_picture(file, self._within, self._shown(file))

    def _levels(self, file: Path) -> Array:
        """uint8 (H, W). `Unusable` for a picture in colour: that is none of flow, or one painted for people."""
        jpeg = self._whole(file)
        found = header.read(jpeg)
        size = found.width, found.height
        if not found.is_gray:
            (colours,) = mjpeg.decode(jpeg, [0], [0], size)
            if int(np.ptp(colours, axis=-1).max()) > _NEUTRAL:
                raise Unusable(f"picture {self._shown(file)} is in colour; flow is gray, x and y apart")
        levels: Array = mjpeg.decode(jpeg, [0], [0], size, "GRAY")[0, ..., 0]
        return levels

    def _shown(self, file: Path) -> str:
        return file.relative_to(self._folder).as_posix().encode("utf-8", "backslashreplace").decode()


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    """The pictures of x and y of each step, in order."""
    steps: dict[str, dict[int, Path]] = {}
    partners: dict[str, str] = {}
    for name, step, axis, partner in _named(folder):
        of_axis = steps.setdefault(step, {})
        if _AXES[axis] in of_axis:
            other = of_axis[_AXES[axis]].relative_to(folder)
            raise Unusable(
                f"pictures {other} and {name} are of the same step, and both of {'xy'[_AXES[axis]]}"
            )
        of_axis[_AXES[axis]] = folder / name
        partners[step] = f"picture {name} has no partner {partner}"
    if not steps:
        raise Unusable(
            "a folder without pictures of flow (such as flow_x_1.jpg and flow_y_1.jpg, or u/1.jpg, v/1.jpg)"
        )
    forms = {_DIGITS.sub("", step): step for step in steps}
    if len(forms) > 1:  # each step would be there twice
        raise Unusable(f"flow under names of two kinds: {' and '.join(sorted(forms.values())[:2])}")
    ordered = sorted(steps, key=by_numbers)
    for step in ordered:
        if len(steps[step]) < 2:
            raise Unusable(partners[step])
    return [(steps[step][0], steps[step][1]) for step in ordered]


def _named(folder: Path) -> Iterator[tuple[str, str, str, str]]:
    """Of each picture of flow: its name, that of its step, its axis, and its partner's name."""
    for entry in sorted(folder.iterdir()):
        if is_picture(entry):
            words = entry.stem.split("_")
            at = [i for i, word in enumerate(words) if word in _AXES]
            if len(at) != 1:
                continue
            axis = words[at[0]]
            words[at[0]] = "*"
            step = "_".join(words)
            yield entry.name, step, axis, step.replace("*", _OTHER[axis]) + entry.suffix
        elif entry.name in _FOLDERS and entry.is_dir():
            axis = _FOLDERS[entry.name]
            beside = entry.name[:-1] + _OTHER[axis]
            for file in sorted(filter(is_picture, entry.iterdir())):
                yield f"{entry.name}/{file.name}", f"*/{file.stem}", axis, f"{beside}/{file.name}"
