"""Mixup (Zhang et al., 2018): clips of a batch are blended in pairs, and so are their labels.

The clip at place i of a global batch of G is blended with that at place i + G/2. Where G/2 is a multiple of the ranks
R, both have the same remainder by R, so one rank has both: pairs depend on neither R nor on the loader's processes, and
no clip is sent anywhere. Which videos meet is as random as the order of samples.
"""

import numpy as np
import torch
from torch import Tensor

from pipeline.data.batch import Mixed
from pipeline.order import plan


def shares(mixup: float, seed: int, epoch: int, clips: list[tuple[int, int]]) -> list[float]:
    """How much of the partner each clip takes in, at most a half; `clips`: a rank's, by sample's number and repeat.

    Both of a pair take in as much. Blended by a share above a half they would be each other's, so nothing is lost.
    """
    drawn = [plan.mixing_rng(seed, epoch, *clip).beta(mixup, mixup) for clip in clips[: len(clips) // 2]]
    return [min(float(share), 1 - float(share)) for share in drawn] * 2


def mix(clips: Tensor, labels: Tensor, amounts: list[float]) -> Mixed:
    """Blend each of `clips`, uint8 (batch, ...), in place with the one half a batch away; returns what labels are then.

    `amounts`: from `shares`. One pair after the other: floats of a whole batch would take much memory.
    """
    half = len(clips) // 2
    for first, second, share in zip(clips[:half], clips[half:], amounts, strict=False):
        a, b = first.float(), second.float()
        first.copy_(torch.lerp(a, b, share).round_())
        second.copy_(torch.lerp(b, a, share).round_())
    other = torch.from_numpy(np.array(amounts, np.float32)).to(labels.device, non_blocking=True)
    return Mixed(labels.roll(half, 0), other)
