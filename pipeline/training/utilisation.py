"""How much of a GPU's arithmetic training uses: model FLOP/s utilisation (Chowdhery et al., PaLM, appendix B)."""

import re

import torch
from torch.utils.flop_counter import FlopCounterMode

from pipeline.config import Config
from pipeline.training.network import build_model

PEAK_TFLOPS = {
    "V100": {"fp16": 125.0},
    "T4": {"fp16": 65.0},
    "A100": {"bf16": 312.0, "fp16": 312.0, "tf32": 156.0},
    "A10": {"bf16": 125.0, "fp16": 125.0, "tf32": 62.5},
    "A10G": {"bf16": 70.0, "fp16": 70.0, "tf32": 35.0},
    "A40": {"bf16": 149.7, "fp16": 149.7, "tf32": 74.8},
    "L4": {"bf16": 121.0, "fp16": 121.0, "tf32": 60.0},
    "L40": {"bf16": 181.0, "fp16": 181.0, "tf32": 90.5},
    "L40S": {"bf16": 362.0, "fp16": 362.0, "tf32": 183.0},
    "H100 PCIe": {"bf16": 756.0, "fp16": 756.0, "tf32": 378.0},
    "H100 NVL": {"bf16": 835.0, "fp16": 835.0, "tf32": 417.0},
    "H100": {"bf16": 989.0, "fp16": 989.0, "tf32": 494.0},
    "H200 NVL": {"bf16": 835.0, "fp16": 835.0, "tf32": 417.0},
    "H200": {"bf16": 989.0, "fp16": 989.0, "tf32": 494.0},
    "B200": {"bf16": 2250.0, "fp16": 2250.0},
}
"""Dense peaks by the makers' data sheets: words of the device's name, precision, 10^12 FLOP/s."""


def peak_flops(device_name: str, precision: str) -> float | None:
    """The device's peak in FLOP/s; None where it is not known. Whole words of the name count: an L40 is no L4.

    Of a part of a device (MIG, a virtual one of GRID) it is not known.
    """
    words = set(re.split(r"[ -]", device_name))
    fitting = [name for name in PEAK_TFLOPS if words.issuperset(name.split())]
    if not fitting or words & {"MIG", "GRID"}:
        return None
    peak = PEAK_TFLOPS[max(fitting, key=len)].get(precision)
    return None if peak is None else 1e12 * peak


def training_flops(config: Config) -> int:
    """FLOPs of training on one clip: the forward pass's (two a multiply-add) and twice that for the backward pass."""
    with torch.device("meta"):
        model = build_model(config, num_classes=174).eval()
        shape = (config.model.num_frames, config.model.in_channels, config.data.size, config.data.size)
        clips = torch.empty(1, *shape)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(clips)
    return int(3 * counter.get_total_flops())


def share_of_a_clip(config: Config, device: torch.device) -> float | None:
    """The share of `device`'s peak that training on one clip a second uses; None where the peak is not known."""
    if device.type != "cuda":
        return None
    peak = peak_flops(torch.cuda.get_device_name(device), config.run.precision)
    return None if peak is None else training_flops(config) / peak
