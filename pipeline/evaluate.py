"""Scores of a network on a split by the paper's protocol, the same for any number of ranks and any batch size.

torchrun --nproc-per-node 8 -m pipeline.evaluate --checkpoint RUN --data s3://bucket/sthv2/validation views.crops=3
python -m pipeline.evaluate --model blvnet-tam-50-f8x2-v2 --reference-weights FILE --data sthv2/validation
"""

from pipeline.ranks import signals

if __name__ == "__main__":
    signals.note()  # from here on, whatever is still to be imported

import argparse
import functools
import sys
from collections.abc import Sequence
from dataclasses import asdict

from blvnet import zoo
from pipeline.config import Run
from pipeline.data.splits import check_input, is_labelled
from pipeline.evaluation import finite, options, outputs, protocol, said, time_order
from pipeline.evaluation.predictions import Predictions, device_batch, predict
from pipeline.evaluation.scores import rate
from pipeline.evaluation.trained import Trained, check_classes, share
from pipeline.ranks import launcher
from pipeline.ranks.devices import settle
from pipeline.ranks.distributed import joined
from pipeline.ranks.preemption import Preemption
from pipeline.ranks.program import RankArguments, rank_program
from sharding.arguments import at_least_1, place
from sharding.errors import UserError
from sharding.format import manifest
from sharding.format.manifest import Manifest

BATCH = 16


def parser() -> RankArguments:
    """The options."""
    parser = RankArguments(
        prog="python -m pipeline.evaluate",
        description="Score a checkpoint, or a published model, on a split.",
    )
    options.add(parser)
    parser.add_argument(
        "--data",
        type=place,
        required=True,
        help="folder or URL of the split, such as s3://bucket/sthv2/validation",
    )
    parser.add_argument(
        "--batch", type=at_least_1, help="views at a time on each process (default: 16, on a GPU 64)"
    )
    parser.add_argument(
        "--out", type=place, help="folder or URL for scores, tables, predictions and the leaderboard's file"
    )
    parser.add_argument(
        "--order",
        choices=("forward", "reverse", "shuffle"),
        default="forward",
        help="evaluate with the frames of each clip in this order too, and tell the difference",
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON, a line for the scores and one for the other order"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key.path=value", help="changes to the run's configuration"
    )
    return parser


@rank_program
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(argv)

    def prepared() -> tuple[Trained | None, Run]:
        found = options.chosen(args, args.overrides) if launcher.is_main() else None
        return found, options.place_of(args.overrides)

    with joined(prepared) as (world, found):
        trained = share(world, found)
        settle(trained.config.run)
        split = manifest.load(args.data)
        _check(split, trained, args)
        trained.model.to(world.device)
        with Preemption(world) as preemption:
            between = functools.partial(preemption.check, "evaluation stopped as told; start again")
            batch = args.batch or BATCH
            at_once = args.batch or device_batch(BATCH, world.device)
            score_all = functools.partial(
                predict, trained.model, split, trained.config, world, batch, between=between, at_once=at_once
            )
            scored, other = score_all(), None
            if args.order != "forward":
                other = score_all(order=args.order)
        if scored:
            _report(split, trained, args, scored, other)
    return 0


def _check(split: Manifest, trained: Trained, args: argparse.Namespace) -> None:
    """`UserError` where the split cannot be scored, or nothing would be left of its predictions."""
    check_classes(trained, split)
    check_input(split, trained.config.model)
    if split.several_labels and args.order != "forward":
        raise UserError(
            f"--order {args.order}: tells what becomes of top-1, and videos of {split.root} have several labels"
        )
    if not is_labelled(split) and (args.order != "forward" or not args.out):
        raise UserError(
            f"{split.root}: its videos have no labels to score against; with --out alone they are predicted"
        )


def _report(
    split: Manifest, trained: Trained, args: argparse.Namespace, found: Predictions, other: Predictions | None
) -> None:
    """Print what was found, and write it to --out; `UserError` where it is nothing."""
    _check_finite(split, trained, found)
    about = {"split": split.split, **trained.source}
    if args.out:
        outputs.write_predictions(args.out, split, found)
    if not is_labelled(split):
        outputs.write_leaderboard(args.out, split, found)
        said.say({**about, "videos": len(found.keys)}, split, args.json)
        if split.failures:
            missing = f"{len(split.failures)} videos that could not be built have no prediction"
            print(f"warning: {split.root}: {missing}; failures.csv names them", file=sys.stderr)
        return
    content = {**about, **asdict(rate(found)), "views": protocol.views(trained.config)}
    if trained.published and trained.published.top1 is not None:
        content["published"] = {"top1": trained.published.top1, "views": zoo.PROTOCOL}
    said.say(content, split, args.json)
    if args.out:
        outputs.write_scores(args.out, split, found, content)
    if other:
        labels, forward = found.labels.numpy(), found.logits.numpy()
        compared = time_order.effect(args.order, split.classes, labels, forward, other.logits.numpy())
        effect = {**about, **asdict(compared)}
        said.say(effect, split, args.json)
        if args.out:
            outputs.write_order(args.out, split, effect)


def _check_finite(split: Manifest, trained: Trained, found: Predictions) -> None:
    if unfit := int(finite.unfit(found.logits).sum()):
        precision = trained.config.run.precision
        raise UserError(
            f"{split.root}: the logits of {unfit} of {len(found.keys)} videos are not finite, in {precision}; "
            f"{finite.advice(precision)}; nothing was written"
        )


if __name__ == "__main__":
    raise SystemExit(main())
