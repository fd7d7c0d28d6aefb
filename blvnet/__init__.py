"""bLVNet-TAM (Fan et al., "More Is Less", NeurIPS 2019): frames in, logits out."""

from blvnet.model import BLVNetTAM, image_model
from blvnet.zoo import create_model

__version__ = "0.2.0"
__all__ = ["BLVNetTAM", "create_model", "image_model"]
