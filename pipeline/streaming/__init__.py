"""The public face of the loader: a shard set for a program of one's own, as a stream or as a data set.

May import `run`, `data` and what those may import.
"""

from pipeline.streaming.dataset import ShardDataset
from pipeline.streaming.stream import Batch, Stream
from pipeline.streaming.video import Transform, Video

__all__ = ["Batch", "ShardDataset", "Stream", "Transform", "Video"]
