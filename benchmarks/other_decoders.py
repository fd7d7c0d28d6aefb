"""The same clips by other libraries' decoders and resizing: torchcodec, SPDL, DALI on the CPU; for `benchmarks.loader`.

None has a format for clips of JPEGs, so they get the frames' JPEGs from memory: nothing is read, checked or ordered
here. What comes out is uint8 batches of the same boxes, scaled bilinearly to the same size and flipped alike.
torchcodec decodes, torch does the rest. SPDL decodes, cuts and scales with FFmpeg, in its own pipeline of threads. DALI
decodes the box alone, as this project does, with libjpeg's exact settings.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torchvision.transforms.v2 import functional

from pipeline.data.transforms import Box


class Wanted(NamedTuple):
    """A clip to be made: the JPEGs of its frames, the box that is cut from them, and whether it is flipped."""

    jpegs: list[bytes]
    box: Box
    flip: bool


Maker = Callable[[Sequence[Wanted]], None]
"""Makes batches of clips, and drops them."""


def with_torchcodec(size: int, batch: int) -> Maker:
    """Its JPEG decoder on the CPU; crop, antialiased resize and flip as with the other loaders."""
    from torchcodec.decoders import decode_jpeg

    def clip(wanted: Wanted) -> torch.Tensor:
        x, y, w, h = wanted.box
        # Its frames have interleaved pixels; cut so, and stacked so, they need no reordering.
        frames = [frame.permute(1, 2, 0)[y : y + h, x : x + w] for frame in decode_jpeg(wanted.jpegs)]
        cut = functional.resize(torch.stack(frames).permute(0, 3, 1, 2), [size, size], antialias=True)
        return functional.horizontal_flip(cut) if wanted.flip else cut

    def make(clips: Sequence[Wanted]) -> None:
        for start in range(0, len(clips), batch):
            torch.stack([clip(wanted) for wanted in clips[start : start + batch]])

    return make


def with_spdl(size: int, batch: int) -> Maker:
    """SPDL's pipeline: a thread decodes, cuts and scales with FFmpeg, another puts batches together."""
    _lend_ffmpeg()
    import spdl.io
    from spdl.pipeline import PipelineBuilder

    spdl.io.demux_config()  # a library that cannot be loaded is said here

    def frames(wanted: Wanted) -> list[object]:
        x, y, w, h = wanted.box
        steps = [f"crop={w}:{h}:{x}:{y}:exact=1", f"scale={size}:{size}:flags=bilinear"]
        steps += ["hflip"] * wanted.flip + ["format=pix_fmts=rgb24"]
        return [
            spdl.io.decode_packets(spdl.io.demux_image(jpeg), filter_desc=",".join(steps))
            for jpeg in wanted.jpegs
        ]

    def together(clips: list[list[object]]) -> torch.Tensor:
        return spdl.io.to_torch(spdl.io.convert_frames([frame for clip in clips for frame in clip]))

    def make(clips: Sequence[Wanted]) -> None:
        built = PipelineBuilder().add_source(clips).pipe(frames).aggregate(batch).pipe(together).add_sink(2)
        pipeline = built.build(num_threads=1)
        with pipeline.auto_stop():
            done = sum(len(made) for made in pipeline.get_iterator())
        assert done == sum(len(wanted.jpegs) for wanted in clips)

    return make


def _lend_ffmpeg() -> None:
    """SPDL's wheel has no FFmpeg: PyAV's is linked into its folder, under the names that it looks for there."""
    import av
    import spdl.io.lib

    folder = Path(spdl.io.lib.__file__).parent
    for file in (Path(av.__file__).parents[1] / "av.libs").glob("lib*.so.*"):
        if named := re.match(r"(lib(?:av|sw)\w+)-\w+(\.so\.\d+)", file.name):
            link = folder / (named[1] + named[2])
            if not link.is_symlink():
                link.symlink_to(file)


def with_dali(size: int, batch: int) -> Maker:
    """A pipeline of DALI on the CPU, with one thread: decode the box, resize, flip."""
    from nvidia.dali import fn, pipeline_def, types

    def of(name: str, kind: object, ndim: int) -> Any:
        return fn.external_source(name=name, dtype=kind, ndim=ndim)

    @pipeline_def(num_threads=1, device_id=None, prefetch_queue_depth=1)  # type: ignore[untyped-decorator]
    def cutting() -> Any:
        start, shape = of("start", types.FLOAT, 1), of("shape", types.FLOAT, 1)
        absolute = {"normalized_anchor": False, "normalized_shape": False}
        frames = fn.decoders.image_slice(
            of("jpegs", types.UINT8, 1), start, shape, jpeg_fancy_upsampling=True, **absolute
        )
        frames = fn.resize(
            frames, resize_x=size, resize_y=size, interp_type=types.INTERP_LINEAR, antialias=True
        )
        return fn.flip(frames, horizontal=of("flip", types.INT32, 0))

    pipelines: dict[int, Any] = {}

    def make(clips: Sequence[Wanted]) -> None:
        for first in range(0, len(clips), batch):
            each = [(jpeg, one) for one in clips[first : first + batch] for jpeg in one.jpegs]
            if len(each) not in pipelines:
                pipelines[len(each)] = cutting(batch_size=len(each))
                pipelines[len(each)].build()
            pipeline = pipelines[len(each)]
            pipeline.feed_input("jpegs", [np.frombuffer(jpeg, np.uint8) for jpeg, _ in each])
            pipeline.feed_input("start", [np.array(one.box[:2], np.float32) for _, one in each])
            pipeline.feed_input("shape", [np.array(one.box[2:], np.float32) for _, one in each])
            pipeline.feed_input("flip", [np.array(one.flip, np.int32) for _, one in each])
            (made,) = pipeline.run()
            torch.from_numpy(np.array(made.as_tensor()))  # out of the pipeline's memory, to be kept

    return make
