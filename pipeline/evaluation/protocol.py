"""How the videos of a score were seen, so that nobody compares two protocols unknowingly."""

from typing import Any

from blvnet import zoo
from pipeline.config import Config

Views = dict[str, Any]


def views(config: Config) -> Views:
    """What `config` asks for: `clips`, `crops`, `sampling`, `size`, `short_side`, `precision`, and more."""
    return {
        **config.views.model_dump(),
        "size": config.views.size or config.data.size,
        "short_side": config.data.short_side,
        "precision": config.run.precision,
    }


def is_published(seen: Views) -> bool:
    """Whether the published scores are of such views; the precision and what a rule does not use do not count."""
    return all(seen.get(name) == value for name, value in zoo.PROTOCOL.items())


def text(seen: Views) -> str:
    """Such as `3 x 10 (dense), 224 of 256, fp32`: clips, crops, frames, pixels of a crop and of the shorter side."""
    counts = f"{seen['clips']} x {seen['crops']} ({seen['sampling']})"
    size = f"{seen['size']} of {seen.get('short_side', 'unknown')}"
    return ", ".join([counts, size, *([seen["precision"]] if "precision" in seen else [])])
