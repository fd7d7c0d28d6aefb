"""Annotations of labelled videos: Something-Something v1 (CSV) and v2 (JSON), or any CSV, as one list of videos.

Whatever is wrong in a file raises `UserError` with the file and the key at fault; nothing is skipped silently.
"""

from collections.abc import Iterator
from pathlib import Path

from sharding.errors import UserError
from sharding.sources import something
from sharding.sources.listing import Listing
from sharding.sources.videos import Annotations

DATASETS = ("sthv1", "sthv2", "csv")


def splits(dataset: str, source: Path) -> list[str]:
    """The splits of `source`: those that a CSV names; for Something-Something all, but test only where it is there."""
    if dataset == "csv":
        return Listing(source).splits()
    return something.splits(source, version=1 if dataset == "sthv1" else 2)


def load(dataset: str, source: Path, split: str, classes: Path | None = None) -> Annotations:
    """The annotations of one split. `source` is the folder of the annotation files, or the CSV file itself.

    `classes` (CSV only) is a file with one class name a line. Raises `UserError` naming the file and the key.
    """
    return next(load_all(dataset, source, [split], classes))


def load_all(
    dataset: str,
    source: Path,
    wanted: list[str] | None = None,
    classes: Path | None = None,
    videos: Path | None = None,
    share: float | None = None,
) -> Iterator[Annotations]:
    """The annotations of the splits that are wanted, or of all; a CSV is parsed once.

    For a CSV, absolute paths may lead into the folder `videos`, and `share` (0 to 1) of the videos become the split
    `validation`. Raises `UserError` naming the file and the key.
    """
    if share is not None and dataset != "csv":
        raise UserError(f"--validation-share: {dataset} has a validation split of its own; leave it out")
    if dataset == "csv":
        listing = Listing(source, classes, videos, share)
        for split in wanted or listing.splits():
            yield listing.annotations(split)
        return
    if dataset not in DATASETS:
        raise UserError(f"unknown data set {dataset!r}; known are {', '.join(DATASETS)}")
    load_one = something.load_v1 if dataset == "sthv1" else something.load_v2
    for split in wanted or splits(dataset, source):
        yield load_one(source, split)
