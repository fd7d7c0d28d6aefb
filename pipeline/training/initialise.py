"""The weights that a new run starts from."""

import io

from blvnet import BLVNetTAM, weights
from pipeline.config import Init
from pipeline.run import checkpoint
from sharding import storage
from sharding.errors import UserError


def initialise(model: BLVNetTAM, init: Init) -> None:
    """Load what `init` names into `model`; a file that does not fit is a `UserError` naming every tensor.

    From a shorter-clip model with other classes, all but the classifier is taken.
    """
    try:
        if init.reference:
            weights.load_reference(model, io.BytesIO(storage.read_bytes(init.reference)))
        elif init.from_:
            tensors = checkpoint.weights_of(checkpoint.load(init.from_))
            same_classes = len(tensors["classifier.bias"]) == model.classifier.out_features
            weights.load(model, tensors, fresh=() if same_classes else weights.HEAD)
    except weights.WeightsError as error:
        raise UserError(f"{init.reference or init.from_}: {error}") from None
