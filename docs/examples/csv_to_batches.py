"""Another data set, from a CSV of videos to batches: shards are built once, and then read in order or by number.

python docs/examples/csv_to_batches.py videos.csv videos shards
"""

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from pipeline.streaming import ShardDataset, Stream, Video
from sharding.building.build import Request, build
from sharding.building.settings import Settings


def clip(video: Video, rng: np.random.Generator) -> dict[str, NDArray[np.generic]]:
    """Four random frames in order, each of its middle 64 x 64 pixels, and where in the video they are."""
    which = np.sort(rng.choice(video.frames, 4, replace=False))
    box = (video.width - 64) // 2, (video.height - 64) // 2, 64, 64
    return {"frames": video.decode(which, box), "at": (which / video.frames).astype(np.float32)}


def main(csv: str, videos: str, out: str) -> None:
    """`csv` has the columns path, label and split; `videos` is the folder that the paths are in."""
    settings = Settings(short_side=64, samples_per_shard=5)
    print(build(Request("csv", Path(csv), Path(videos), out, settings, workers=2)).line())

    # A stream: every video once an epoch, in an exact order, read from start to end.
    for batch in Stream(f"{out}/train", clip, global_batch=4, workers=2):
        print(batch.keys, batch.labels.tolist(), batch.data["frames"].shape)

    # A data set: any video by its number.
    dataset = ShardDataset(f"{out}/validation", clip)
    print(len(dataset), "videos of", dataset.classes)
    for made, labels in DataLoader(dataset, batch_size=3, shuffle=True, num_workers=2):
        print(labels.tolist(), made["at"].shape)


if __name__ == "__main__":
    main(*sys.argv[1:])
