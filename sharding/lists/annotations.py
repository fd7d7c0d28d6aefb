"""Annotations of labelled videos: Something-Something v1 (CSV) and v2 (JSON), or any CSV, as one list of videos.

Whatever is wrong in a file raises `UserError` with the file and the key at fault; nothing is skipped silently.
"""

from collections.abc import Iterator
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from sharding.errors import UserError
from sharding.lists import something
from sharding.lists.listing import Listing
from sharding.lists.videos import Annotations

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
    only: Path | None = None,
    separator: str | None = None,
) -> Iterator[Annotations]:
    """The annotations of the splits that are wanted, or of all; a CSV is parsed once.

    For a CSV, absolute paths may lead into the folder `videos`, and `share` (0 to 1) of the videos become the split
    `validation`; with a `separator`, which stands between two labels, each has a list of them. `only` is a file of
    class names, to which all is narrowed: see `narrowed`. Raises `UserError` naming the file and the key.
    """
    every = _load_all(dataset, source, wanted, classes, videos, share, separator)
    return every if only is None else narrowed(every, only)


def narrowed(every: Iterator[Annotations], file: Path) -> Iterator[Annotations]:
    """Each split with the videos of the classes in `file` alone, which are numbered in its order.

    The file is like a label file of Something-Something: a name a line, or JSON. Raises `UserError` where it names a
    class that the data set does not have, and where a split has no video left.
    """
    names = something.load_classes(file)
    for listed in every:
        number = {name: i for i, name in enumerate(listed.classes)}
        for name in names:
            if name not in number:
                raise UserError(f"{file}: the data set has no class {name!r}; {_meant(name, listed.classes)}")
        new = {number[name]: i for i, name in enumerate(names)}
        kept = (v._replace(label=_renumbered(v.label, new)) for v in listed.videos)
        videos = [v for v in kept if v.label is not None]
        if not videos:
            raise UserError(
                f"--only-classes {file}: split {listed.split} has no labelled video of these classes; "
                "name the splits to build, such as --split train --split validation"
            )
        yield replace(listed, classes=names, videos=videos, left_out=len(listed.videos) - len(videos))


def _meant(name: str, classes: list[str]) -> str:
    """Which of `classes` a `name` that is none of them most likely is, whatever its capitals."""
    plain = {known.casefold(): known for known in classes}
    near = get_close_matches(name.casefold(), plain, 1)
    return f"did you mean {plain[near[0]]!r}?" if near else f"its {len(classes)} are such as {classes[0]!r}"


def _renumbered(label: int | tuple[int, ...] | None, new: dict[int, int]) -> int | tuple[int, ...] | None:
    """What of `label` is in `new`, as numbered there; None where nothing is."""
    if isinstance(label, tuple):
        return tuple(sorted(new[one] for one in label if one in new)) or None
    return None if label is None else new.get(label)


def _load_all(
    dataset: str,
    source: Path,
    wanted: list[str] | None,
    classes: Path | None,
    videos: Path | None,
    share: float | None,
    separator: str | None,
) -> Iterator[Annotations]:
    if separator is not None and dataset != "csv":
        raise UserError(f"--label-separator: a video of {dataset} has one label; leave it out")
    if share is not None and dataset != "csv":
        raise UserError(f"--validation-share: {dataset} has a validation split of its own; leave it out")
    if dataset == "csv":
        listing = Listing(source, classes, videos, share, separator)
        for split in wanted or listing.splits():
            yield listing.annotations(split)
        return
    if dataset not in DATASETS:
        raise UserError(f"unknown data set {dataset!r}; known are {', '.join(DATASETS)}")
    load_one = something.load_v1 if dataset == "sthv1" else something.load_v2
    for split in wanted or splits(dataset, source):
        yield load_one(source, split)
