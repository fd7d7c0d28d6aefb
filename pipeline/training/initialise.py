"""The weights that a new run starts from."""

import io

from blvnet import BLVNetTAM, weights
from pipeline.config import Init
from pipeline.run import checkpoint
from sharding import storage
from sharding.errors import UserError


def initialise(model: BLVNetTAM, init: Init) -> None:
    """Load what `init` names into `model`; a file that does not fit is a `UserError` naming every tensor.

    From a shorter-clip model with other classes, all but the classifier is taken; from one of images, all of it but
    the classifier, and the temporal blending begins anew.
    """
    try:
        if init.reference:
            weights.load_reference(model, io.BytesIO(storage.read_bytes(init.reference)))
        elif init.from_:
            tensors = checkpoint.weights_of(checkpoint.load(init.from_))
            fresh = weights.fresh_after_images(tensors, model)
            if len(tensors["classifier.bias"]) != model.classifier.out_features:
                fresh = fresh or weights.HEAD
            weights.load(model, tensors, fresh)
    except weights.WeightsError as error:
        raise UserError(f"{init.reference or init.from_}: {error}") from None
