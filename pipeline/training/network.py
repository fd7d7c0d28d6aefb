"""The network that a configuration describes."""

from typing import Any

import torch

from blvnet import BLVNetTAM, tam_op
from blvnet.tam import Form
from blvnet.tam_choice import fastest, set_form, trial
from pipeline import config as configuration
from pipeline.config import Config
from pipeline.ranks.distributed import World
from pipeline.training.precision import Precision
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


def settle_blend(model: BLVNetTAM, config: Config, world: World, kept: Form | None = None) -> Form | None:
    """Let `model`, on the rank's device, blend frames as `run.blend` says; returns how, None on the CPU and of images.

    With "auto" the main process tries each form, and all ranks take the fastest: what differs is the rounding. A run
    that goes on has `kept` its choice. A deterministic run chooses without a clock. Raises `UserError` where what is
    asked for is not to be had.
    """
    if world.device.type != "cuda" or model.num_frames == 1:
        return None
    form: Form | None = None
    if config.run.blend == "kernel" and not tam_op.AVAILABLE:
        raise UserError(
            "run.blend=kernel: needs triton, a C compiler (gcc or clang) and Python's headers (python3-dev), and not "
            "all are here; install them, or choose run.blend=convolution"
        )
    if config.run.blend != "auto":
        form = config.run.blend
    elif not config.run.deterministic and kept is None:
        form = world.share(_fastest(model, config, world) if world.main else None)
    else:
        form = kept or "kernel"
    set_form(model, form)
    return form


def _fastest(model: BLVNetTAM, config: Config, world: World) -> Form:
    precision = Precision(config.run.precision, world.device)
    clips = config.optim.global_batch * config.data.repeats // world.ranks // config.optim.accumulate
    taken = trial(model, max(clips, 1), config.data.size, precision.dtype, precision.autocast)
    found, seconds = fastest(taken)
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(world.device)  # it is training's that is reported
    each = ", ".join(f"{form} {1000 * needed:.1f} ms" for form, needed in seconds.items())
    print(f"blending frames by: {found} (a step's: {each})", flush=True)
    return found
