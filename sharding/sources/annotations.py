"""Annotations of labelled videos: Something-Something v1 (CSV) and v2 (JSON), or any CSV, as one list of videos.

Whatever is wrong in a file raises `UserError` with the file and the key at fault; nothing is skipped silently.
"""

from pathlib import Path

from sharding.errors import UserError
from sharding.sources import listing, something
from sharding.sources.videos import Annotations

DATASETS = ("sthv1", "sthv2", "csv")


def splits(dataset: str, source: Path) -> list[str]:
    """The splits of `source`: those that a CSV names; for Something-Something all, but test only where it is there."""
    if dataset == "csv":
        return listing.splits(source)
    return something.splits(source, version=1 if dataset == "sthv1" else 2)


def load(dataset: str, source: Path, split: str, classes: Path | None = None) -> Annotations:
    """The annotations of one split. `source` is the folder of the annotation files, or the CSV file itself.

    `classes` (CSV only) is a file with one class name a line. Raises `UserError` naming the file and the key.
    """
    if dataset == "csv":
        return listing.load(source, split, classes)
    if dataset == "sthv1":
        return something.load_v1(source, split)
    if dataset == "sthv2":
        return something.load_v2(source, split)
    raise UserError(f"unknown data set {dataset!r}; known are {', '.join(DATASETS)}")
