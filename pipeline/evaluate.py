"""Scores of a model on a split, the same for any number of ranks and any batch size.

torchrun --nproc-per-node 8 -m pipeline.evaluate --checkpoint RUN --data s3://bucket/sthv2/validation
"""

import argparse
import copy
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm

from pipeline import checkpoint, plan
from pipeline import config as configuration
from pipeline.clips import eval_cutter
from pipeline.config import Config
from pipeline.distributed import World, joined
from pipeline.learner import build_model
from pipeline.loader import batches
from pipeline.normalise import Normaliser
from pipeline.position import check_model
from pipeline.precision import Precision
from pipeline.stream import ClipStream, Passes
from sharding import manifest, storage
from sharding.errors import UserError, one_line_errors
from sharding.manifest import Manifest


@dataclass(frozen=True)
class Predictions:
    """Logits of videos: `numbers` and `labels` int64 (videos,), `keys`; `logits` float32 (videos, classes)."""

    numbers: torch.Tensor
    keys: list[str]
    labels: torch.Tensor
    logits: torch.Tensor


@dataclass(frozen=True)
class Scores:
    """Accuracies in percent and the mean cross-entropy, over all videos of a split."""

    top1: float
    top5: float
    loss: float
    videos: int


def evaluate(model: nn.Module, split: Manifest, config: Config, world: World, batch: int) -> Scores | None:
    """The scores of `model` on a labelled split; on the main process only, None on the others.

    `batch`: clips at a time, on all ranks together. Every rank must call it, with the same weights and batch-norm
    statistics.
    """
    predictions = predict(model, split, config, world, batch)
    return score(predictions) if predictions else None


def predict(
    model: nn.Module, split: Manifest, config: Config, world: World, batch: int
) -> Predictions | None:
    """The logits of every video of `split`, each exactly once; on the main process only."""
    parts = world.gather(_predict_part(model, split, config, world, batch))
    if not world.main:
        return None
    numbers = torch.cat([part.numbers for part in parts])
    keys = [key for part in parts for key in part.keys]
    order = numbers.argsort()
    if not torch.equal(numbers[order], torch.arange(split.samples)):
        raise RuntimeError(
            f"{split.root}: {len(numbers)} predictions do not cover {split.samples} videos once"
        )
    return Predictions(
        numbers[order],
        [keys[i] for i in order.tolist()],
        torch.cat([part.labels for part in parts])[order],
        torch.cat([part.logits for part in parts])[order],
    )


def score(predictions: Predictions) -> Scores:
    """Top-1, top-5 and loss of `predictions`; `UserError` where the split has no labels to compare with."""
    logits, labels = predictions.logits, predictions.labels
    if (labels < 0).any():
        raise UserError(f"sample {predictions.keys[int(labels.argmin())]} has no labels to score against")
    right = logits.topk(min(5, logits.shape[1])).indices == labels[:, None]
    return Scores(
        top1=100 * right[:, 0].float().mean().item(),
        top5=100 * right.any(1).float().mean().item(),
        loss=F.cross_entropy(logits, labels).item(),
        videos=len(labels),
    )


@torch.no_grad()
def _predict_part(model: nn.Module, split: Manifest, config: Config, world: World, batch: int) -> Predictions:
    """This rank's predictions."""
    model.eval()
    workers = config.data.workers
    order = plan.Order(seed=0, lanes=world.ranks * max(workers, 1), window=1)
    passes = Passes(batch, drop_last=False)
    stream = ClipStream(split, eval_cutter(config), order, passes, world.rank, world.ranks)
    normalise, precision = Normaliser(world.device), Precision(config.run.precision, world.device)
    numbers, keys = [], []
    labels = [torch.empty(0, dtype=torch.int64)]
    logits = [torch.empty(0, len(split.classes))]
    shown = world.main and sys.stderr.isatty()
    steps = tqdm(
        total=passes.steps(split.samples), desc="evaluating", unit="step", leave=False, disable=not shown
    )
    for part in batches(stream, workers, pin=world.device.type == "cuda"):
        steps.update()
        if not part.numbers:  # more ranks than videos in the last batch
            continue
        with precision.autocast():
            output = model(normalise(part.clips))
        numbers += part.numbers
        keys += part.keys
        labels.append(part.labels)
        logits.append(output.float().cpu())
    steps.close()
    return Predictions(torch.tensor(numbers, dtype=torch.int64), keys, torch.cat(labels), torch.cat(logits))


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m pipeline.evaluate", description="Score a checkpoint on a split."
    )
    parser.add_argument(
        "--checkpoint", required=True, help="checkpoint file, latest.json, best.json or run folder"
    )
    parser.add_argument(
        "--data", required=True, help="folder or URL of the split, such as s3://bucket/sthv2/validation"
    )
    parser.add_argument("--batch", type=int, default=16, help="clips at a time on each process (default: 16)")
    parser.add_argument("--out", help="folder or URL for scores-SPLIT.json")
    parser.add_argument(
        "overrides", nargs="*", metavar="key.path=value", help="changes to the run's configuration"
    )
    args = parser.parse_args(argv)
    state = checkpoint.load(args.checkpoint)
    trained = state["config"]
    settings = configuration.override(copy.deepcopy(trained), args.overrides, args.checkpoint)
    check_model(trained, settings, args.checkpoint)
    with joined(settings.run.timeout_s) as world:
        split = manifest.load(args.data)
        _check_classes(split, state["classes"], args.checkpoint)
        model = build_model(settings, len(split.classes)).to(world.device)
        model.load_state_dict(state["model"])
        scores = evaluate(model, split, settings, world, args.batch * world.ranks)
        if scores:
            content = json.dumps({"split": split.split, "checkpoint": args.checkpoint, **asdict(scores)})
            print(content, flush=True)
            if args.out:
                storage.write_bytes(storage.join(args.out, f"scores-{split.split}.json"), content.encode())
    return 0


def _check_classes(split: Manifest, classes: list[str], source: str) -> None:
    if split.classes != classes:
        raise UserError(f"{split.root}: its classes are not those that {source} was trained on")


if __name__ == "__main__":
    raise SystemExit(main())
