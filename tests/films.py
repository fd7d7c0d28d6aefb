"""Sets of films and of their JPEGs, built alike from the same small videos."""

from pathlib import Path

from sharding.building import build
from sharding.building.build import Request, Summary
from sharding.building.settings import Settings

SHORT_SIDE = 32


def settings(store: str = "film", jpeg_hash: bool = False, samples_per_shard: int = 3) -> Settings:
    return Settings(
        short_side=SHORT_SIDE,
        samples_per_shard=samples_per_shard,
        store="film" if store == "film" else "jpeg",
        jpeg_hash=jpeg_hash,
    )


def built(folder: Path, out: Path, made: Settings, **changes: object) -> Summary:
    """A build of the set that `write_set` wrote to `folder`."""
    wanted: dict[str, object] = {
        "dataset": "sthv2",
        "annotations": folder / "annotations",
        "videos": folder / "videos",
        "out": str(out),
        "settings": made,
    }
    return build.build(Request(**(wanted | changes)))  # type: ignore[arg-type]
