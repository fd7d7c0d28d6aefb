"""torchvision's r3d_18 on the stream. Started again, it goes on at the next batch, on as many processes as there are.

torchrun --nproc-per-node 2 docs/examples/r3d18.py demo/shards/train run.pt
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torchvision.models.video import r3d_18

from pipeline.streaming import Stream, Video

FRAMES, SIZE = 16, 112


def clip(video: Video, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Frames from all over the video, and a random square of them: uint8 (FRAMES, SIZE, SIZE, 3)."""
    which = np.linspace(0, video.frames - 1, FRAMES).astype(int)
    x, y = rng.integers(video.width - SIZE + 1), rng.integers(video.height - SIZE + 1)
    return video.decode(which, (int(x), int(y), SIZE, SIZE))


def main(split: str, file: Path) -> None:
    if "RANK" in os.environ:  # torchrun's
        dist.init_process_group("gloo")  # on GPUs "nccl"
    stream = Stream(split, clip, global_batch=4, epochs=2, workers=2, audit=f"{file}.audit")
    model = r3d_18(num_classes=len(stream.classes))
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    if file.exists():
        kept = torch.load(file)
        model.load_state_dict(kept["model"])
        optimiser.load_state_dict(kept["optimiser"])
        stream.load_state_dict(kept["stream"])
    trained = DistributedDataParallel(model) if dist.is_initialized() else model
    for batch in stream:
        clips = batch.data.permute(0, 4, 1, 2, 3).contiguous() / 255 - 0.45
        loss = cross_entropy(trained(clips), batch.labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        print(f"step {stream.done}: loss {loss.item():.3f}", flush=True)
        if stream.done % 3 == 0:
            state = {"model": model.state_dict(), "optimiser": optimiser.state_dict()}
            state["stream"] = stream.state_dict()
            if os.environ.get("RANK", "0") == "0":
                torch.save(state, f"{file}.new")
                Path(f"{file}.new").replace(file)  # there is always a whole one


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
