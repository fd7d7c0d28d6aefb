"""What a model says of every video of a split, the same for any number of ranks and any batch size."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from pipeline.config import Config
from pipeline.data.clips import EvalCutter, eval_cutter
from pipeline.data.films import shards_of
from pipeline.data.loader import batches
from pipeline.data.prefetch import on_device
from pipeline.data.sampling import FrameOrder
from pipeline.data.stream import ClipStream, Passes
from pipeline.evaluation.progress import Progress
from pipeline.labels import tensors
from pipeline.order import plan
from pipeline.ranks.distributed import World
from pipeline.training.inference import Inference
from sharding.format.manifest import Manifest


@dataclass(frozen=True)
class Predictions:
    """Logits of videos, in order of their `keys`.

    `labels`: int64 (videos,), -1 where unknown, or, where a video may have several, int8 (videos, classes) of zeros and
    ones, a row of -1 where unknown; `logits`: float32 (videos, classes), the mean over a video's views.
    """

    keys: list[str]
    labels: Tensor
    logits: Tensor


def predict(
    model: nn.Module,
    split: Manifest,
    config: Config,
    world: World,
    batch: int,
    order: FrameOrder = "forward",
    between: Callable[[], None] = lambda: None,
    at_once: int = 0,
) -> Predictions | None:
    """The logits of every video of `split`, each exactly once; on the main process only, None on the others.

    `batch`: views that a rank loads at a time; `at_once`: those that its network takes, by default as many; `order`:
    that of each clip's frames; `between` is called before each batch, and what it raises, alike on every rank, ends the
    evaluation. Every rank must call it, with the same weights and batch-norm statistics.
    """
    title = "evaluating" if order == "forward" else f"evaluating, frames in order {order}"
    with Progress(split.samples, title, world.main) as progress:
        cutter = eval_cutter(config, order)
        numbers, part = _predict_part(
            model, split, cutter, config, world, batch, at_once or batch, between, progress
        )
    gathered = world.gather((numbers, part))
    if not world.main:
        return None
    if sorted(number for numbers, _ in gathered for number in numbers) != list(range(split.samples)):
        raise RuntimeError(f"{split.root}: the predictions do not cover its {split.samples} videos once")
    parts = [part for _, part in gathered]
    keys = [key for part in parts for key in part.keys]
    by_key = sorted(range(len(keys)), key=keys.__getitem__)
    labels, logits = torch.cat([part.labels for part in parts]), torch.cat([part.logits for part in parts])
    return Predictions([keys[i] for i in by_key], labels[by_key], logits[by_key])


def device_batch(batch: int, device: torch.device) -> int:
    """How many views go at once through a device that trains on `batch` clips at once: what fits its memory.

    Training keeps 0.41 GB a clip for its gradients (50-f8x2, bf16), and a clip without gradients needs a fifth of that.
    A processor is no faster for more.
    """
    return 4 * batch if device.type == "cuda" else batch


def videos_a_step(config: Config, batch: int) -> int:
    """How many videos make about `batch` views; those of whole frames, whose sizes differ, come one by one."""
    if config.views.size == "full":
        return 1
    return max(1, batch // (config.views.clips * config.views.crops))


def _predict_part(
    model: nn.Module,
    split: Manifest,
    cutter: EvalCutter,
    config: Config,
    world: World,
    batch: int,
    at_once: int,
    between: Callable[[], None],
    progress: Progress,
) -> tuple[list[int], Predictions]:
    """This rank's predictions, and the videos' numbers in the split's order."""
    workers = config.data.workers
    order = plan.Order(seed=0, lanes=world.ranks * max(workers, 1), window=1)
    passes = Passes(videos_a_step(config, batch) * world.ranks, drop_last=False)
    shards = shards_of(config.data, split)
    stream = ClipStream(split, cutter, order, passes, world.rank, world.ranks, shards)
    whole = config.views.size == "full"  # frames of many sizes: one by one, and no reason to compile for each
    compiled = config.run.compile and not whole
    infer = Inference(model, config.run.precision, world.device, at_once, compiled)
    numbers: list[int] = []
    keys: list[str] = []
    labels = [tensors.empty(0, len(split.classes) if split.several_labels else None)]
    logits = [torch.empty(0, len(split.classes), device=world.device)]
    waiting: list[Tensor] = []
    for part in on_device(batches(stream, workers, pin=world.device.type == "cuda"), world.device):
        between()
        if part.numbers:  # else there are more ranks than videos in the last batch
            numbers += part.numbers
            keys += part.keys
            labels.append(part.labels)
            waiting.append(part.clips)
        enough = whole or at_once <= batch or sum(clips.shape[:2].numel() for clips in waiting) >= at_once
        if waiting and enough:
            logits.append(infer(_joined(waiting)))
            waiting.clear()
        progress.add(passes.global_batch)
    if waiting:
        logits.append(infer(_joined(waiting)))
    # What was found stays on the device until here: nothing waited for it.
    found = torch.cat([some.to(world.device) for some in labels]).cpu()
    return numbers, Predictions(keys, found, torch.cat(logits).cpu())


def _joined(clips: list[Tensor]) -> Tensor:
    """All of them in one, in channels-last memory as they are."""
    if len(clips) == 1:
        return clips[0]
    return torch.cat([some.movedim(-3, -1) for some in clips]).movedim(-1, -3)
