"""Networks that need no training: what they say differs from clip to clip and is the same in every run."""

from pathlib import Path
from typing import Any

import torch

from blvnet import BLVNetTAM
from pipeline.config import Config
from pipeline.training.network import build_model

_SCALE = 2000.0  # gives logits of the size of one


def network(config: Config, classes: int) -> BLVNetTAM:
    """The network of the configuration, lively and in evaluation mode."""
    torch.manual_seed(0)
    model = build_model(config, classes)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.ones_(module.weight)
    torch.nn.init.normal_(model.classifier.weight, std=_SCALE)
    return model.eval()


def save(path: Path, config: Config, classes: list[str], shards: dict[str, Any]) -> str:
    """A checkpoint of such a network, as training leaves one; returns its path."""
    state = {
        "model": network(config, len(classes)).state_dict(),
        "config": config.model_dump(mode="json", by_alias=True),
        "classes": classes,
        "shards": shards,
    }
    torch.save(state, path)
    return str(path)
