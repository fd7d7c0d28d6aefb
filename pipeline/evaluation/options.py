"""The options that say which network a program uses: a checkpoint, or a published model and its file of weights."""

import argparse

from pipeline import config as configuration
from pipeline.config import Run
from pipeline.evaluation import trained
from pipeline.evaluation.trained import Trained
from sharding.arguments import place
from sharding.errors import UserError


def add(parser: argparse.ArgumentParser) -> None:
    """Add `--checkpoint`, `--model`, `--reference-weights` and `--classes` to the parser."""
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--checkpoint", type=place, help="checkpoint file, latest.json, best.json or run folder"
    )
    source.add_argument("--model", help="a published model, such as blvnet-tam-50-f8x2-v2")
    parser.add_argument("--reference-weights", type=place, help="the published file of --model")
    parser.add_argument(
        "--classes",
        type=place,
        help="label file of the data set of --model: v2's JSON, or a name a line as v1's CSV has them",
    )


def chosen(args: argparse.Namespace, overrides: list[str]) -> Trained:
    """The network that the options name, its configuration changed by `overrides`."""
    if args.model:
        if not args.reference_weights:
            raise UserError(
                f"--model {args.model}: needs --reference-weights, the file with its published weights"
            )
        return trained.published(args.model, args.reference_weights, args.classes, overrides)
    for option, value in (("--reference-weights", args.reference_weights), ("--classes", args.classes)):
        if value:
            raise UserError(f"{option} {value}: belongs to --model; a checkpoint has its own")
    return trained.load(args.checkpoint, overrides)


def place_of(overrides: list[str]) -> Run:
    """Where a process computes and how long it waits for others, of which the overrides alone decide.

    A checkpoint was made on another machine, and one process alone reads it.
    """
    own = [text for text in overrides if text.startswith("run.")]
    return configuration.override({"data": {"root": "-"}, "run": {"folder": "-"}}, own, "command line").run
