"""Logits that are no numbers: some class would be named first all the same, and now and then it is right."""

from torch import Tensor


def unfit(logits: Tensor) -> Tensor:
    """Which videos' logits are not finite, bool (videos,); `logits`: (videos, classes)."""
    return ~logits.isfinite().all(1)


def advice(precision: str) -> str:
    """What to do about them, in a network that computes in `precision`."""
    return "run.precision=fp32 may help" if precision == "fp16" else "the network's weights are of no use"
