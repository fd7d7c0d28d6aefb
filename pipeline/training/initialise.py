"""The weights that a new run starts from."""

import copy
import io

from blvnet import BLVNetTAM, weights
from pipeline.config import Init
from pipeline.run import checkpoint
from sharding import storage
from sharding.errors import UserError
from sharding.format.kinds import has_several_labels


def initialise(model: BLVNetTAM, init: Init, several: bool = False) -> None:
    """Load what `init` names into `model`; a file that does not fit is a `UserError` naming every tensor.

    From a shorter-clip model with other classes, all but the classifier is taken; so it is between one label a video
    and `several`, whatever the classes: the two read its logits differently. From a model of images all but the
    classifier is taken too, and the temporal blending begins anew. A stem for colour is averaged over the three, and
    repeated, for a network of flow.
    """
    try:
        if init.reference:
            head = copy.deepcopy(model.classifier.state_dict())
            weights.load_reference(model, io.BytesIO(storage.read_bytes(init.reference)))
            if several:
                model.classifier.load_state_dict(head)
        elif init.from_:
            state = checkpoint.load(init.from_)
            tensors = weights.adapt_stem(checkpoint.weights_of(state), model)
            same = len(tensors["classifier.bias"]) == model.classifier.out_features
            same = same and has_several_labels(state.get("shards", {})) == several
            fresh = weights.fresh_after_images(tensors, model) or (() if same else weights.HEAD)
            weights.load(model, tensors, fresh)
    except weights.WeightsError as error:
        raise UserError(f"{init.reference or init.from_}: {error}") from None
