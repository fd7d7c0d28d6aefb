"""The evaluation of a run between two epochs."""

from collections.abc import Callable
from dataclasses import asdict

from pipeline.config import Config
from pipeline.evaluation.predictions import device_batch, predict
from pipeline.evaluation.scores import rate
from pipeline.ranks.distributed import World
from pipeline.run.checkpoint import Merit
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
) -> Merit | None:
    """Score the network on `split`, and write the scores down; returns what checkpoints are compared by.

    That is top-1, or mean average precision where videos have several labels; None on others than the main process.

    Every rank must call it. `between` is called before each batch; what it raises ends the evaluation, which is then
    still to be done.
    """
    learner, at = progress.learner, progress.at
    progress.to_evaluate = True
    world.share_buffers(learner.evaluated)
    batch = at.global_batch // world.ranks
    at_once = device_batch(max(1, batch // config.optim.accumulate), world.device)
    predictions = predict(learner.evaluated, split, config, world, batch, between=between, at_once=at_once)
    merit, loss = None, 0.0
    if predictions:
        scores = rate(predictions)
        merit, loss = scores.merit, scores.loss
        folder.validation(at, asdict(scores), split, predictions.keys)
    learner.schedule.evaluated(*world.share((merit.value if merit else 0.0, loss)))
    progress.to_evaluate = False
    return merit
