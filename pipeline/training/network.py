"""The network that a configuration describes."""

from typing import Any

from blvnet import BLVNetTAM
from pipeline import config as configuration
from pipeline.config import Config
from sharding.errors import UserError


def build_model(config: Config, num_classes: int) -> BLVNetTAM:
    """The network that the configuration describes, with random weights."""
    return BLVNetTAM(num_classes=num_classes, **config.model.model_dump())


def check_model(saved: dict[str, Any], config: Config, source: str) -> None:
    """`UserError` where the network is not the one whose configuration the checkpoint in `source` kept."""
    wanted = config.model.model_dump(mode="json")
    # What its version did not know was the default.
    for name, value in {**configuration.defaults()["model"], **saved["model"]}.items():
        if wanted[name] != value:
            raise UserError(
                f"{source}: model.{name} was {value} when this was trained, and cannot be {wanted[name]}"
            )
