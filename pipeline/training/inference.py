"""The network at work: views of videos in, one row of logits a video out."""

from typing import cast

import torch
from torch import Tensor, nn

from pipeline.training.normalise import Normaliser
from pipeline.training.precision import Precision


class Inference:
    """`model` in evaluation mode, on `device` in `precision` (as `run.precision`), for `batch` views at a time.

    `compiled`: it goes through torch.compile, for batches of one shape.
    """

    def __init__(
        self, model: nn.Module, precision: str, device: torch.device, batch: int, compiled: bool = False
    ) -> None:
        self._model = model.eval()
        if compiled:
            self._model = cast(nn.Module, torch.compile(self._model))
        self._compiled = compiled
        self._normalise = Normaliser(device)
        self._precision = Precision(precision, device)
        self._batch = batch

    @torch.no_grad()
    def __call__(self, videos: Tensor) -> Tensor:
        """The logits of `videos`, uint8 (videos, views, frames, channels, height, width), averaged over the views.

        Returns float32 (videos, classes) on the device, which is not waited for.
        """
        logits = []
        for views in torch.split(videos.flatten(0, 1), self._batch):
            inputs = self._normalise(views)
            if self._compiled and len(views) < self._batch:  # another size would be compiled anew
                inputs = torch.cat([inputs, inputs[:1].expand(self._batch - len(views), *inputs.shape[1:])])
            with self._precision.autocast():
                logits.append(self._model(inputs)[: len(views)])
        return torch.cat(logits).view(*videos.shape[:2], -1).mean(1)
