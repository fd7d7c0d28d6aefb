"""The evaluation of a run between two epochs."""

from collections.abc import Callable
from dataclasses import asdict

from pipeline.config import Config
from pipeline.evaluation.predictions import predict
from pipeline.evaluation.scores import score
from pipeline.ranks.distributed import World
from pipeline.run.run_folder import RunFolder
from pipeline.training.progress import Progress
from sharding.format.manifest import Manifest


def validate(
    progress: Progress,
    split: Manifest,
    config: Config,
    world: World,
    folder: RunFolder,
    between: Callable[[], None],
) -> float | None:
    """Score the network on `split`, and write the scores down; returns top-1, None on others than the main process.

    Every rank must call it. `between` is called before each batch; what it raises ends the evaluation, which is then
    still to be done.
    """
    learner, at = progress.learner, progress.at
    progress.to_evaluate = True
    world.share_buffers(learner.evaluated)
    batch = at.global_batch // world.ranks
    predictions = predict(learner.evaluated, split, config, world, batch, between=between)
    top1, loss = None, 0.0
    if predictions:
        scores = score(predictions)
        top1, loss = scores.top1, scores.loss
        folder.validation(at, asdict(scores), split, predictions.keys)
    learner.schedule.evaluated(*world.share((top1 or 0.0, loss)))
    progress.to_evaluate = False
    return top1
