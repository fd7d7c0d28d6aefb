"""What a training step of any network costs: the same step for ours and for its peers."""

import time
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet50

from benchmarks.peers import tsm, tsn
from benchmarks.plain_network import PlainBLVNetTAM
from blvnet import BLVNetTAM, tam_op
from blvnet.tam import Form
from blvnet.tam_choice import set_form
from pipeline.training.normalise import Normaliser
from pipeline.training.precision import Precision

CLASSES = 174
_BLVNETS: dict[str, Callable[[int, int, int], nn.Module]] = {"blvnet": BLVNetTAM, "plain": PlainBLVNetTAM}


class Network(NamedTuple):
    """A network by name: how it is made, and the shape of one of its clips (or images)."""

    build: Callable[[], nn.Module]
    frames: int | None

    def clip(self, size: int) -> tuple[int, ...]:
        return (3, size, size) if self.frames is None else (self.frames, 3, size, size)


def network(name: str) -> Network:
    """Such as `blvnet-50-f8x2`, `plain-50-f8x2`, `tsm-50-8f`, `tsn-50-16f`, `resnet-50` (of images)."""
    kind, depth, *frames = name.split("-")
    if kind in ("blvnet", "plain"):
        of, count = _BLVNETS[kind], 2 * int(frames[0][1:].removesuffix("x2"))
        return Network(lambda: of(int(depth), count, CLASSES), count)
    if kind == "resnet":
        return Network(lambda: resnet50(weights=None).to(memory_format=torch.channels_last), None)
    made, count = {"tsm": tsm, "tsn": tsn}[kind], int(frames[0].removesuffix("f"))
    return Network(lambda: made(count, CLASSES), count)


def cost(name: str, size: int = 224) -> tuple[float, float]:
    """GMACs of convolutions and classifier for a clip, and millions of parameters."""
    chosen = network(name)
    with torch.device("meta"):
        model = chosen.build().eval()
        clip = torch.empty(1, *chosen.clip(size))
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(clip)
    return counter.get_total_flops() / 2e9, sum(parameter.numel() for parameter in model.parameters()) / 1e6


class Rates(NamedTuple):
    """Clips a second, training and inference, and the peak memory of training, MiB (of a GPU; 0 on the CPU)."""

    training: float
    inference: float
    peak_mib: float


class Trainer:
    """A network with all that a training step has: normalisation, autocast, loss, gradients, SGD."""

    def __init__(
        self,
        name: str,
        precision: str,
        device: torch.device,
        size: int = 224,
        form: Form | None = None,
        compiled: bool = False,
    ) -> None:
        torch.manual_seed(0)
        self._network, self._size, self._device = network(name), size, device
        self._model = self._network.build().to(device)
        if isinstance(self._model, BLVNetTAM):
            if form == "kernel" and device.type == "cuda" and not tam_op.AVAILABLE:
                raise RuntimeError("triton, a C compiler or Python's headers are missing")
            set_form(self._model, form)
        self._run = torch.compile(self._model) if compiled else self._model
        self._normalise = Normaliser(device)
        self._precision = Precision(precision, device)
        self._optimizer = torch.optim.SGD(
            self._model.parameters(), 0.01, 0.9, nesterov=True, fused=device.type == "cuda"
        )

    def rates(self, batch: int, seconds: float) -> Rates:
        """Of batches of so many clips, in about so many seconds, and half of them for inference."""
        training, peak_mib = self.training(batch, seconds)
        return Rates(training, self.inference(batch, seconds / 2), peak_mib)

    def training(self, batch: int, seconds: float) -> tuple[float, float]:
        """Clips a second, of batches of so many, in about so many seconds; and the peak memory of a GPU, MiB."""
        clips, labels = self._clips(batch), torch.zeros(batch, dtype=torch.int64, device=self._device)
        self._model.train()
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        rate = batch * self._often(lambda: self._train(clips, labels), seconds)
        peak = torch.cuda.max_memory_allocated(self._device) / 2**20 if self._device.type == "cuda" else 0.0
        return rate, peak

    def inference(self, batch: int, seconds: float) -> float:
        """Clips a second without gradients."""
        clips = self._clips(batch)
        self._model.eval()
        return batch * self._often(lambda: self._infer(clips), seconds)

    def _clips(self, batch: int) -> Tensor:
        """Uint8 in channels-last memory, as the loader's arrive."""
        *front, channels, height, width = (batch, *self._network.clip(self._size))
        pixels = torch.empty(*front, height, width, channels, dtype=torch.uint8).random_(0, 256)
        return pixels.to(self._device).movedim(-1, -3)

    def _train(self, clips: Tensor, labels: Tensor) -> None:
        with self._precision.autocast():
            loss = F.cross_entropy(self._run(self._normalise(clips)), labels)
        self._precision.backward(loss)
        self._precision.scaler.step(self._optimizer)
        self._precision.scaler.update()
        self._optimizer.zero_grad(set_to_none=True)

    def _infer(self, clips: Tensor) -> None:
        with torch.no_grad(), self._precision.autocast():
            self._run(self._normalise(clips))

    def _often(self, work: Callable[[], None], seconds: float) -> float:
        """How often a second `work` is done, after a warm-up; at least twice, at most for `seconds`."""
        for _ in range(4 if self._device.type == "cuda" else 1):
            work()
        begun, done = self._now(), 0
        while True:
            for _ in range(2):
                work()
            done += 2
            if (taken := self._now() - begun) > seconds:
                return done / taken

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()
