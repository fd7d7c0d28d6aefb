"""The training program.

    torchrun --nproc-per-node 8 -m pipeline.train --config configs/blvnet-tam-50-f8x2-v2.yaml \
        data.root=s3://bucket/sthv2 run.folder=s3://bucket/runs/f8x2

Started again with the same run folder, it goes on from the newest complete checkpoint. Told to stop by SIGTERM or
SIGUSR1, Ctrl-C or the closing of the terminal, it writes one first and ends with status 75.
"""

from pipeline.ranks import signals

if __name__ == "__main__":
    signals.note()  # from here on, whatever is still to be imported

from collections.abc import Sequence
from dataclasses import replace

from pipeline import config as configuration
from pipeline.config import Config, Run
from pipeline.data import splits
from pipeline.data.splits import Mixed
from pipeline.evaluation.validation import validate
from pipeline.order import position
from pipeline.ranks import launcher
from pipeline.ranks.distributed import World, joined
from pipeline.ranks.preemption import Preempted, Preemption
from pipeline.ranks.program import RankArguments, rank_program
from pipeline.ranks.watchdog import Watchdog
from pipeline.run import provenance
from pipeline.run.checkpoint import Checkpoints, Merit
from pipeline.run.due import CheckpointClock, due_after
from pipeline.run.owner import owned
from pipeline.run.run_folder import RunFolder
from pipeline.training import announce
from pipeline.training.feed import train_batches
from pipeline.training.meter import Meter
from pipeline.training.progress import Progress, begin
from pipeline.training.utilisation import share_of_a_clip
from sharding.format.manifest import Manifest


def train(config: Config, world: World) -> None:
    """Train to the last epoch: from the start, or from the newest checkpoint of the run folder.

    Raises `Preempted`, after a last checkpoint, when a signal told any rank to stop.
    """
    run = config.run
    with (
        Preemption(world) as preemption,
        Watchdog(run.timeout_s) as watchdog,
        owned(run.folder, world) as owner,
    ):
        train_set, validation_set, mixed = splits.load_all(config)
        preemption.check_at_start()
        watchdog.beat()  # the shards are known
        progress = begin(config, train_set, validation_set, world, mixed)
        hosts = _introduce(config, progress, train_set, validation_set, world, mixed)
        learner, tally = progress.learner, progress.tally
        share, several = share_of_a_clip(config, world.device), train_set.several_labels
        meter = Meter(world, learner.forward_clock, hosts, share, several)
        clock = CheckpointClock(run.checkpoint_minutes)

        def evaluate() -> Merit | None:
            return validate(progress, validation_set, config, world, folder, between=pause)

        def pause() -> None:
            watchdog.beat()
            preemption.check("stopped in an evaluation as told; start again to go on")

        def save(merit: Merit | None) -> None:
            with meter.saving():
                folder.save(progress.at, progress.state(config, train_set), merit)
            clock.restart()

        with RunFolder(config, progress.at, world, owner) as folder:
            if progress.to_evaluate:  # what the run was stopped in
                save(evaluate())
                meter.restart()
            for batch in meter.timed(train_batches(config, train_set, progress.at, world, mixed)):
                rate = learner.schedule.rate(batch.epoch, batch.step, progress.at.steps_in_epoch)
                step = learner.step(batch.clips, batch.labels, progress.at.done, rate, batch.mixed)
                at = progress.at = progress.at.after(progress.at.done + 1)
                meter.add(step, len(batch.labels), len(batch.replaced))
                folder.used(at.done, batch)
                watchdog.beat()
                stop = preemption.agreed()
                due = due_after(at, run, config.optim.epochs, stop, lambda: world.share(clock.time_is_up()))
                if due.log:
                    figures, unfit = meter.read()
                    folder.metrics({"step": at.done, "epoch": batch.epoch, "lr": rate, **figures}, unfit)
                    tally.add(batch.epoch, figures["replaced"])
                merit, progress.to_evaluate = None, due.evaluate
                if due.evaluate and not due.stop:
                    try:
                        merit = evaluate()
                    except Preempted:
                        due = replace(due, stop=True)
                if due.save:
                    save(merit)
                if due.stop:
                    raise preemption.preempted(f"stopped after {at.done} steps as told; start again to go on")
                if due.epoch_ends:
                    meter.restart()
    if world.main:
        announce.say(announce.farewell(config, Checkpoints(run.folder, run.keep).best()))


def _introduce(
    config: Config,
    progress: Progress,
    train_set: Manifest,
    validation_set: Manifest,
    world: World,
    mixed: Sequence[Mixed],
) -> list[str]:
    """Say and write down what the run is, before its first step. Returns the ranks' hosts, on the main process."""
    ranks = world.gather(provenance.this_rank(world.device))
    if not world.main:
        return []
    at, folder = progress.at, config.run.folder
    if progress.before is not None:
        announce.say(announce.resumption(config, at, progress.before))
    announce.say(announce.introduction(config, at, train_set, validation_set, ranks, mixed))
    announce.warn(announce.warnings(config, at, ranks))
    if at.done < at.steps_in_epoch * config.optim.epochs or progress.to_evaluate:
        provenance.record(folder, at.done, config, ranks)
    else:
        announce.say([f"nothing to do: all {at.done} steps are done; a higher optim.epochs trains on"])
    return [rank.host for rank in ranks]


def parser() -> RankArguments:
    """The options."""
    parser = RankArguments(prog="python -m pipeline.train", description="Train bLVNet-TAM on shards.")
    parser.add_argument("--config", required=True, help="YAML file, or the name of a shipped one")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="changes to the configuration")
    parser.add_argument(
        "--print", action="store_true", help="print the whole configuration, and train nothing"
    )
    return parser


@rank_program
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(argv)
    if args.print:
        print(configuration.dump(configuration.load(args.config, args.overrides)), end="")
        return 0

    def prepared() -> tuple[Config, Run]:
        config = configuration.load(args.config, args.overrides)
        position.check_sizes(config, launcher.world_sizes())
        return config, config.run

    with joined(prepared) as (world, config):
        train(config, world)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
