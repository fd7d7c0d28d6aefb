"""The network at work: views of videos in, one row of logits a video out."""

import torch
from torch import Tensor, nn

from pipeline.training.normalise import Normaliser
from pipeline.training.precision import Precision


class Inference:
    """`model` in evaluation mode, on `device` in `precision` (as `run.precision`), for `batch` views at a time."""

    def __init__(self, model: nn.Module, precision: str, device: torch.device, batch: int) -> None:
        self._model = model.eval()
        self._normalise = Normaliser(device)
        self._precision = Precision(precision, device)
        self._batch = batch

    @torch.no_grad()
    def __call__(self, videos: Tensor) -> Tensor:
        """The logits of `videos`, uint8 (videos, views, frames, channels, height, width), averaged over the views.

        Returns float32 (videos, classes) on the CPU.
        """
        logits = []
        for views in torch.split(videos.flatten(0, 1), self._batch):
            with self._precision.autocast():
                logits.append(self._model(self._normalise(views)))
        return torch.cat(logits).view(*videos.shape[:2], -1).mean(1).cpu()
