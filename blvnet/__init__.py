"""bLVNet-TAM (Fan et al., "More Is Less", NeurIPS 2019): frames in, logits out."""

from blvnet.model import BLVNetTAM

__all__ = ["BLVNetTAM"]
