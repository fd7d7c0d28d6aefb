"""The classes of videos: files, or folders of JPEGs.

    python -m pipeline.predict --checkpoint RUN a.webm b.mp4
    python -m pipeline.predict --model blvnet-tam-50-f8x2-v2 --reference-weights FILE --classes labels.json a.webm

A video goes the way of the data set: decoded, resized and encoded as for a shard of the run, then decoded and cut as in
evaluation, with the views of the configuration.
"""

import dataclasses
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from blvnet.ranking import top_classes
from pipeline.data.clips import EvalCutter, eval_cutter
from pipeline.data.samples import Sample
from pipeline.data.stream import empty_clips
from pipeline.evaluation import finite, options
from pipeline.evaluation.trained import Trained
from pipeline.labels import loss as losses
from pipeline.ranks.devices import device_for
from pipeline.training.inference import Inference
from sharding.arguments import Arguments
from sharding.building import sample as encoding
from sharding.building.settings import Settings
from sharding.errors import UserError, one_line_errors
from sharding.format.rows import SampleRow
from sharding.format.shard import Meta
from sharding.lists.videos import Video
from sharding.sources.decode import Unusable

Show = Callable[[str, list[dict[str, Any]]], str]
VIEWS_AT_A_TIME = 16


def views(path: str, settings: Settings, cutter: EvalCutter) -> Tensor:
    """The views of the video at `path`, uint8 (1, views, frames, 3, height, width). Raises `Unusable`."""
    # Random clips are drawn by the key, which in a shard is most often made of the file's name.
    video = Video(key=Path(path).stem, path=path, label=None)
    meta, jpegs = encoding.encode(video, Path(), dataclasses.replace(settings, follow_links=True))
    with jpegs:
        blob = b"".join(jpegs)
    row = SampleRow(video.key, 0, len(blob), 0, None, meta["frames"])
    about = Meta(None, meta["frames"], meta["offsets"], meta["width"], meta["height"])
    sample = Sample(row, path, about, memoryview(blob))
    clips = empty_clips(1, cutter.shape(sample))
    cutter(sample, np.random.default_rng(), clips[0])
    return clips


def best(logits: Tensor, classes: list[str], most: int, several: bool = False) -> list[dict[str, Any]]:
    """The `most` most probable classes of one video's `logits`, (classes,): name, index and probability.

    Where a video may have `several` labels, each probability is one by itself, and they do not add up to 1.
    """
    probabilities = losses.probabilities(logits, several)
    return [
        {"class": classes[i], "index": i, "probability": round(probabilities[i].item(), 6)}
        for i in top_classes(logits[None], most)[0].tolist()
    ]


def as_text(video: str, found: list[dict[str, Any]]) -> str:
    """The video's name, and a line a class below it."""
    lines = [f"{100 * answer['probability']:6.2f} %  {answer['class']}" for answer in found]
    return "\n".join([video, *lines])


def as_json(video: str, found: list[dict[str, Any]]) -> str:
    """One line of JSON."""
    return json.dumps({"video": video, "predictions": found}, ensure_ascii=False)


def run(model: Trained, videos: Sequence[str], most: int, show: Show) -> int:
    """Predict and print one video after another; returns how many could not be used, each named on stderr."""
    cutter, failed = eval_cutter(model.config), 0
    device, precision = device_for(model.config.run), model.config.run.precision
    infer = Inference(model.model.to(device), precision, device, VIEWS_AT_A_TIME)
    for video in videos:
        try:
            logits = infer(views(video, model.shards, cutter)).cpu()
            if finite.unfit(logits).any():
                raise Unusable(f"its logits are not finite, in {precision}; {finite.advice(precision)}")
        except Unusable as reason:
            print(f"error: {video}: {reason}", file=sys.stderr, flush=True)
            failed += 1
            continue
        print(show(video, best(logits[0], model.classes, most, model.several)), flush=True)
    return failed


def parser() -> Arguments:
    """The options."""
    parser = Arguments(prog="python -m pipeline.predict", description="Name the classes of videos.")
    options.add(parser)
    parser.add_argument("--top", type=int, default=5, help="classes a video (default: 5)")
    parser.add_argument("--json", action="store_true", help="a line of JSON a video")
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEO | key.path=value",
        help="files, folders of JPEGs; changes to the configuration",
    )
    return parser


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command line: status 2 where a video could not be used."""
    args = parser().parse_args(argv)
    overrides = [text for text in args.videos if _is_override(text)]
    videos = [text for text in args.videos if not _is_override(text)]
    if not videos:
        raise UserError("no video given; name files or folders of JPEGs")
    if args.top < 1:
        raise UserError(f"--top {args.top}: must be at least 1")
    model = options.chosen(args, overrides)
    if model.config.model.in_channels != 3:
        raise UserError(
            f"{args.checkpoint or args.model}: a network of optical flow, which a video is not; build a set with "
            "blvnet-shard build --input flow, and see pipeline.evaluate --out"
        )
    failed = run(model, videos, args.top, as_json if args.json else as_text)
    return 2 if failed else 0


def _is_override(text: str) -> bool:
    """Whether it is key.path=value, and no video of that name."""
    section, _, _ = text.partition(".")
    return "=" in text and section.isidentifier() and not Path(text).exists()


if __name__ == "__main__":
    raise SystemExit(main())
