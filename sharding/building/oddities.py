"""What is odd in annotations, but may be meant: said before a build begins."""

from collections.abc import Mapping, Sequence
from itertools import chain

from sharding.lists.videos import Video


def notes(
    splits: Mapping[str, Sequence[Sequence[Video]]],
    unlabelled: Mapping[str, list[str]],
    left_out: Mapping[str, int],
) -> list[str]:
    """A sentence for each oddity of these splits, whose videos come shard by shard.

    `unlabelled`: keys of each; `left_out`: how many of each are of classes that were not wanted.
    """
    return [*_left_out(splits, left_out), *_without_label(splits, unlabelled), *_in_two_splits(splits)]


def _left_out(splits: Mapping[str, Sequence[Sequence[Video]]], left_out: Mapping[str, int]) -> list[str]:
    told = []
    for split, count in left_out.items():
        if count:
            kept = sum(map(len, splits[split]))
            told.append(
                f"{kept} of {kept + count} videos of {split} are of the wanted classes; the others are left out"
            )
    return told


def _without_label(
    splits: Mapping[str, Sequence[Sequence[Video]]], unlabelled: Mapping[str, list[str]]
) -> list[str]:
    told = []
    for split, shards in splits.items():
        total = sum(map(len, shards))
        missing = unlabelled[split]
        if 0 < len(missing) < total:
            told.append(
                f"{len(missing)} of {total} videos of {split} have no label, such as {min(missing)}; "
                "such a split cannot be trained on"
            )
    return told


def _in_two_splits(splits: Mapping[str, Sequence[Sequence[Video]]]) -> list[str]:
    told = []
    earlier: dict[str, set[str]] = {}
    for split, shards in splits.items() if len(splits) > 1 else ():
        paths = {video.path for video in chain(*shards)}
        for other, theirs in earlier.items():
            if both := paths & theirs:
                told.append(f"{len(both)} videos are in {other} and in {split}, such as {min(both)}")
        earlier[split] = paths
    return told
