"""A trained network in forms that other programs read, and back again.

Each format has a writer, from the network to bytes, and a reader, from those bytes to a function from clips to logits:
what is written can be compared with the network before anybody uses it.
"""

import io
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from blvnet import BLVNetTAM, weights
from pipeline.training.normalise import coefficients, mean_and_std

About = dict[str, str]
Classify = Callable[[Tensor], Tensor]

OPSET = 20
_SHAPES = ({0: torch.export.Dim("batch", min=1)},)


class Portable(nn.Module):
    """The network with the normalisation in front: uint8 clips (batch, frames, channels, height, width) to logits."""

    scale: Tensor
    shift: Tensor

    def __init__(self, model: BLVNetTAM) -> None:
        super().__init__()
        # torch.export's archive keeps plain memory only; convolutions follow their input's channels-last.
        self.model = model.to(memory_format=torch.contiguous_format).eval()
        scale, shift = coefficients(model.in_channels)
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, clips: Tensor) -> Tensor:
        logits: Tensor = self.model(clips.float() * self.scale + self.shift)
        return logits


class Source(NamedTuple):
    """What is exported: the network's arguments and weights, and the height and width of its clips.

    `about` goes along as text: `model` (the arguments) and `classes` as JSON, `size`, `probabilities`.
    """

    arguments: dict[str, Any]
    state: dict[str, Tensor]
    size: int
    about: About

    def model(self) -> BLVNetTAM:
        """The network, in plain memory, for inference."""
        model = BLVNetTAM(**self.arguments)
        model.load_state_dict(self.state)
        return model

    def portable(self) -> Portable:
        """The network that takes uint8 clips."""
        return Portable(self.model())

    def about_graph(self) -> About:
        """`about` with the `input` that a graph takes."""
        shape = ", ".join(map(str, self._clip_shape()))
        kind = "RGB clips" if self._channels() == 3 else "clips of optical flow, x and y by turns,"
        return {**self.about, "input": f"uint8 {kind} (batch, {shape}); they are normalised inside"}

    def clips(self, batch: int) -> Tensor:
        """Noise, uint8 (batch, frames, channels, size, size), each frame of another brightness; the same every time."""
        shape = (batch, *self._clip_shape())
        random = torch.Generator().manual_seed(batch)
        brightness = 256 * torch.rand(*shape[:2], 1, 1, 1, generator=random)
        return (brightness * torch.rand(shape, generator=random)).to(torch.uint8)

    def _channels(self) -> int:
        return int(self.arguments["in_channels"])

    def _clip_shape(self) -> tuple[int, ...]:
        return self.arguments["num_frames"], self._channels(), self.size, self.size


class Format(NamedTuple):
    """How to write a source, and how to run what was written."""

    write: Callable[[Source], bytes]
    read: Callable[[Source, bytes], Classify]


def write_torch(source: Source) -> bytes:
    """A `torch.export` archive with any batch size; `about.json` is one of its extra files."""
    buffer = io.BytesIO()
    about = json.dumps(source.about_graph(), ensure_ascii=False)
    torch.export.save(_traced(source), buffer, extra_files={"about.json": about})
    return buffer.getvalue()


def read_torch(_: Source, content: bytes) -> Classify:
    return torch.export.load(io.BytesIO(content)).module()


def write_onnx(source: Source) -> bytes:
    """An ONNX graph, `clips` to `logits`, with any batch size; `about` is its metadata."""
    program = torch.onnx.export(
        _traced(source),
        input_names=["clips"],
        output_names=["logits"],
        dynamic_shapes=_SHAPES,
        opset_version=OPSET,
        verbose=False,
    )
    assert program is not None
    program.model.metadata_props.update(source.about_graph())
    content: bytes = program.model_proto.SerializeToString()
    return content


def read_onnx(_: Source, content: bytes) -> Classify:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])

    def classify(clips: Tensor) -> Tensor:
        (logits,) = session.run(["logits"], {"clips": clips.numpy()})
        return torch.from_numpy(logits)

    return classify


def write_safetensors(source: Source) -> bytes:
    """The state dict of a `BLVNetTAM`; `about` is its metadata, with the `mean` and `std` of its input."""
    from safetensors.torch import save

    mean, std = mean_and_std(source.arguments["in_channels"])
    about = {**source.about, "mean": json.dumps(mean), "std": json.dumps(std)}
    return save({name: tensor.contiguous() for name, tensor in source.state.items()}, about)


def read_safetensors(source: Source, content: bytes) -> Classify:
    from safetensors.torch import load

    return source._replace(state=load(content)).portable()


def write_reference(source: Source) -> bytes:
    """The published implementation's checkpoint: a flat dict of its own names."""
    state = weights.to_reference(source.state, dropout=source.arguments["dropout"] > 0)
    buffer = io.BytesIO()
    torch.save({name: tensor.contiguous() for name, tensor in state.items()}, buffer)
    return buffer.getvalue()


def read_reference(source: Source, content: bytes) -> Classify:
    model = BLVNetTAM(**source.arguments)
    weights.load_reference(model, io.BytesIO(content))
    return Portable(model)


FORMATS = {
    "torch": Format(write_torch, read_torch),
    "onnx": Format(write_onnx, read_onnx),
    "safetensors": Format(write_safetensors, read_safetensors),
    "reference": Format(write_reference, read_reference),
}


def _traced(source: Source) -> torch.export.ExportedProgram:
    # With two clips: one alone would be taken for a constant.
    return torch.export.export(source.portable(), (source.clips(2),), dynamic_shapes=_SHAPES)
