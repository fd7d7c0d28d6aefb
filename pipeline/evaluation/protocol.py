"""How the videos of a score were seen, so that nobody compares two protocols unknowingly."""

from typing import Any

from blvnet import zoo
from pipeline.config import Config

Views = dict[str, Any]


def views(config: Config) -> Views:
    """What `config` asks for: `clips`, `crops`, `sampling`, `size`, `short_side`, `precision`, and more.

    `frames_per_group` and `in_channels` are there where they are not the usual ones, 1 and 3; `drawn` is how random
    frames are, as `data.sampling` has it.
    """
    unusual: Views = {}
    if config.views.sampling == "random":
        unusual["drawn"] = config.data.sampling
    if config.data.frames_per_group != 1:
        unusual["frames_per_group"] = config.data.frames_per_group
    if config.model.in_channels != 3:
        unusual["in_channels"] = config.model.in_channels
    return {
        **config.views.model_dump(),
        "size": config.views.size or config.data.size,
        "short_side": config.data.short_side,
        "precision": config.run.precision,
        **unusual,
    }


def is_published(seen: Views) -> bool:
    """Whether the published scores are of such views; the precision and what a rule does not use do not count."""
    unusual = seen.get("frames_per_group", 1) != 1 or seen.get("in_channels", 3) != 3
    return not unusual and all(seen.get(name) == value for name, value in zoo.PROTOCOL.items())


def text(seen: Views) -> str:
    """Such as `3 x 10 (dense), 224 of 256, fp32`: clips, crops, frames, pixels of a crop and of the shorter side.

    In the brackets too: the rule by which random frames are drawn, how many follow in a row, and whether they are flow.
    """
    frames = [f"{seen['sampling']} {seen.get('drawn', '')}".strip()]
    if (group := seen.get("frames_per_group", 1)) != 1:
        frames.append(f"by {group}")
    if seen.get("in_channels", 3) != 3:
        frames.append("flow")
    counts = f"{seen['clips']} x {seen['crops']} ({', '.join(frames)})"
    size = f"{seen['size']} of {seen.get('short_side', 'unknown')}"
    return ", ".join([counts, size, *([seen["precision"]] if "precision" in seen else [])])
