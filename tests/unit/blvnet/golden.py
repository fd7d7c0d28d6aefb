"""The golden models: filled by the reference's names, loaded as the reference's files are."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from blvnet import BLVNetTAM
from blvnet.weights import from_reference, load, to_reference
from tests.golden import fill

FOLDER = Path(fill.__file__).parent
CASES: dict[str, Any] = json.loads((FOLDER / "model_public.json").read_text())
KEYS: dict[str, Any] = json.loads((FOLDER / "state_dict_keys.json").read_text())


def filled_reference(model: BLVNetTAM, dropout: bool, seed: int) -> dict[str, Tensor]:
    """A deterministic state dict for `model` under the reference's names, without `num_batches_tracked`."""
    return {
        name: torch.from_numpy(fill.filled(name, tuple(tensor.shape), seed))
        for name, tensor in to_reference(model.state_dict(), dropout).items()
        if not name.endswith("num_batches_tracked")
    }


def golden_model(case: str) -> BLVNetTAM:
    """The network of the golden `case`, filled."""
    config = CASES[case]["config"]
    model = BLVNetTAM(**config)
    load(model, from_reference(filled_reference(model, config["dropout"] > 0, CASES[case]["fill_seed"])))
    return model


def clip_like(config: dict[str, Any], seed: int, batch: int, height: int, width: int) -> Tensor:
    """The golden input as the network takes it: (batch, T, C, H, W)."""
    channels = config["in_channels"]
    flat = fill.clip(seed, batch, config["num_frames"], channels, height, width)
    return torch.from_numpy(flat).unflatten(1, (config["num_frames"], channels))
