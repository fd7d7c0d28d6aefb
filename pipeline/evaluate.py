"""Scores of a checkpoint on a split by the paper's protocol, the same for any number of ranks and any batch size.

torchrun --nproc-per-node 8 -m pipeline.evaluate --checkpoint RUN --data s3://bucket/sthv2/validation views.crops=3
"""

import argparse
import copy
import json
from collections.abc import Sequence
from dataclasses import asdict

from pipeline import checkpoint, position
from pipeline import config as configuration
from pipeline.distributed import joined
from pipeline.learner import build_model
from pipeline.predictions import predict
from pipeline.scores import score
from sharding import manifest, storage
from sharding.errors import UserError, one_line_errors
from sharding.manifest import Manifest


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
    parser.add_argument("--batch", type=int, default=16, help="views at a time on each process (default: 16)")
    parser.add_argument("--out", help="folder or URL for scores-SPLIT.json")
    parser.add_argument(
        "overrides", nargs="*", metavar="key.path=value", help="changes to the run's configuration"
    )
    args = parser.parse_args(argv)
    state = checkpoint.load(args.checkpoint)
    trained = state["config"]
    settings = configuration.override(copy.deepcopy(trained), args.overrides, args.checkpoint)
    position.check_model(trained, settings, args.checkpoint)
    with joined(settings.run.timeout_s) as world:
        split = manifest.load(args.data)
        _check_classes(split, state["classes"], args.checkpoint)
        if not position.is_labelled(split):
            raise UserError(f"{split.root}: its videos have no labels to score against")
        model = build_model(settings, len(split.classes)).to(world.device)
        model.load_state_dict(checkpoint.weights_of(state))
        predictions = predict(model, split, settings, world, args.batch)
        if predictions:
            scores = score(predictions)
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
