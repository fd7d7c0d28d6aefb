"""What an evaluation says at its end: a table for people, or the same as JSON for programs."""

import json
from typing import Any

from pipeline.evaluation import protocol
from sharding.format.manifest import Manifest

_FIVE = 5  # of so few classes, the right one is always among the first five


def say(content: dict[str, Any], split: Manifest, as_json: bool) -> None:
    """Print what was found on `split`: scores, the effect of another order of frames, or that it has no labels."""
    print(json.dumps(content) if as_json else "\n".join(lines(content, split)), flush=True)


def lines(content: dict[str, Any], split: Manifest) -> list[str]:
    """The table of `content`, which is what `--json` prints."""
    if "order" in content:
        heading, rows = f"{split.split}, frames in order {content['order']}", _effect(content)
    elif "loss" in content:
        heading = f"{split.split}: {content['videos']:,} videos, views {protocol.text(content['views'])}"
        rows = _several(content, split) if "map" in content else _scores(content, split)
    else:
        return [
            f"{split.split}: {content['videos']:,} videos predicted; they have no labels to score against"
        ]
    width = max(len(name) for name, _ in rows)
    return [heading, *(f"  {name:<{width}}  {value:>8}" for name, value in rows)]


def _scores(content: dict[str, Any], split: Manifest) -> list[tuple[str, str]]:
    top5 = [("top-5", f"{content['top5']:.2f} %")] if len(split.classes) > _FIVE else []
    published = []
    if known := content.get("published"):
        name = f"published top-1, views {protocol.text(known['views'])}"
        published.append((name, f"{known['top1']:.2f} %"))
    return [
        ("top-1", f"{content['top1']:.2f} %"),
        *top5,
        ("mean class accuracy", f"{content['mean_class']:.2f} %"),
        ("loss", f"{content['loss']:.4f}"),
        *published,
    ]


def _several(content: dict[str, Any], split: Manifest) -> list[tuple[str, str]]:
    without = content["classes_without"]
    hit5 = (
        [("a label among the first five", f"{content['hit5']:.2f} %")] if len(split.classes) > _FIVE else []
    )
    return [
        ("mean average precision", f"{content['map']:.2f} %"),
        ("first answer is a label", f"{content['hit1']:.2f} %"),
        *hit5,
        ("loss", f"{content['loss']:.4f}"),
        *([("classes without a video, left out", f"{without:,}")] if without else []),
    ]


def _effect(content: dict[str, Any]) -> list[tuple[str, str]]:
    flipped = content["flipped"]
    mirrored = [] if flipped is None else [("now taken for their mirror in time", f"{flipped:.1f} %")]
    return [
        ("top-1 forwards", f"{content['top1_forward']:.2f} %"),
        ("top-1 in this order", f"{content['top1']:.2f} %"),
        ("drop", f"{content['drop']:.2f} %"),
        ("classes with a mirror in time", f"{content['mirrored_classes']:,}"),
        ("videos of these recognised forwards", f"{content['recognised']:,}"),
        *mirrored,
    ]
