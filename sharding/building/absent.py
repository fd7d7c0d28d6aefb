"""A look at the names in the video folder, or in the archives, before a build.

A wrong or half-unpacked folder must not become shards.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from sharding.archives.films import Films
from sharding.errors import UserError
from sharding.format.budget import Budget
from sharding.lists.videos import Video

_SHOWN = 3


def check(
    videos: Sequence[Video], folder: Path, budget: Budget, planned: int, films: Films | None = None
) -> None:
    """`UserError` where more of these videos are missing in `folder` than may fail of all that are `planned`.

    `films` are those of the archives in `folder`, where that is a folder of archives.
    """
    if films is None:
        missing = _not_in(videos, folder)
        place, doubt = "it", "is it the right folder, and unpacked to the end?"
    else:
        missing = [video.path for video in videos if films.size(video.path) is None]
        place, doubt = "its archives", "are they the right ones, and all of them?"
    if budget.is_exceeded(len(missing), planned):
        shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
        raise UserError(
            f"{folder}: {len(missing)} of {planned} videos are not in {place}: {shown}; "
            f"--max-failures is {budget.text}; nothing was built: {doubt}"
        )


def _not_in(videos: Sequence[Video], folder: Path) -> list[str]:
    names: dict[
        str, set[str]
    ] = {}  # of each folder in it that has videos: one listing is quicker than many looks
    missing = []
    for video in videos:
        parent, name = os.path.split(os.path.normpath(video.path))
        if parent not in names:
            names[parent] = _names(folder / parent)
        if name not in names[parent]:
            missing.append(video.path)
    return missing


def _names(folder: Path) -> set[str]:
    try:
        return set(os.listdir(folder))  # noqa: PTH208 - names alone, of a million files
    except OSError:
        return set()
