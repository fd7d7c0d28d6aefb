"""The batches that a rank trains on."""

from collections.abc import Iterator, Sequence

from pipeline.augmentation.batches import changer
from pipeline.config import Config
from pipeline.data import corrupt
from pipeline.data.batch import Batch
from pipeline.data.clips import train_cutter
from pipeline.data.films import shards_of
from pipeline.data.loader import batches
from pipeline.data.prefetch import on_device
from pipeline.data.splits import Mixed
from pipeline.data.stream import ClipStream, Passes
from pipeline.order.position import Position
from pipeline.ranks.distributed import World
from sharding.format.manifest import Manifest


def train_batches(
    config: Config, train_set: Manifest, at: Position, world: World, mixed: Sequence[Mixed] = ()
) -> Iterator[Batch]:
    """This rank's batches from `at` to the end of the last epoch, on its device; `mixed` are further sets."""
    passes = Passes(at.global_batch, config.optim.epochs, first_epoch=at.epoch, first_step=at.step)
    cutter = train_cutter(config, train_set.classes)
    shards = shards_of(config.data, train_set)
    allowed = corrupt.allowed(config.data, at.samples_of(train_set))
    stream = ClipStream(train_set, cutter, at.order, passes, world.rank, world.ranks, shards, allowed, mixed)
    made = batches(stream, config.data.workers, pin=world.device.type == "cuda")
    return on_device(made, world.device, changer(config.augment, at.seed, config.data.repeats))
