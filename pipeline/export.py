"""A network for other systems, compared with what was trained before it is published.

    python -m pipeline.export --checkpoint RUN --format onnx --out model.onnx
    python -m pipeline.export --model blvnet-tam-50-f8x2-v2 --reference-weights FILE --format onnx --out model.onnx

`torch` (a torch.export archive, .pt2) and `onnx` take clips, uint8 (batch, frames, channels, size, size): 3 channels of
RGB, or 10 of optical flow. They give logits (batch, classes), for batches of any size; the normalisation is inside.
`safetensors` is the network's state dict, `reference` a checkpoint of the published implementation. All but the last
carry the network's arguments, the names of the classes, and which function makes probabilities of logits: softmax, or
sigmoid where a video has several labels.
"""

import json
from collections.abc import Sequence
from importlib.util import find_spec

import torch

from pipeline.evaluation import options
from pipeline.evaluation.trained import Trained
from pipeline.exporting import portable
from pipeline.exporting.portable import FORMATS, Source
from sharding import storage
from sharding.arguments import Arguments, place
from sharding.errors import UserError, one_line_errors
from sharding.pages import units

TOLERANCE = 1e-4
_BATCHES = (1, 3)
_NEEDS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "safetensors": ("safetensors",)}


def export(source: Source, kind: str, out: str) -> tuple[int, float]:
    """Write the network to `out` as `kind`, one of `FORMATS`: its bytes, and how far its logits differ.

    The file is read back and run before it is published; `UserError` where its logits are further than `TOLERANCE`
    (absolute, and relative) from the network's.
    """
    content = FORMATS[kind].write(source)
    difference = compare(source, FORMATS[kind].read(source, content), kind)
    storage.write_bytes(out, content)
    return len(content), difference


def check_packages(kind: str) -> None:
    """`UserError` where a package is missing that `kind` needs."""
    for package in _NEEDS.get(kind, ()):
        if find_spec(package) is None:
            raise UserError(
                f"--format {kind} needs {package}, which is missing; pip install 'blvnet-pipeline[export]'"
            )


def exportable(found: Trained) -> Source:
    """What is exported of a network: its arguments, the weights that evaluation uses, and what goes along."""
    arguments = {"num_classes": len(found.classes), **found.config.model.model_dump()}
    size = found.config.data.size
    about = {
        "model": json.dumps(arguments),
        "size": str(size),
        "classes": json.dumps(found.classes, ensure_ascii=False),
        "probabilities": "sigmoid" if found.several else "softmax",
    }
    return Source(arguments, found.model.state_dict(), size, about)


@torch.no_grad()
def compare(source: Source, exported: portable.Classify, kind: str) -> float:
    """The largest difference between the logits of `exported` and of the network, over a few random clips."""
    network = source.portable()
    largest = 0.0
    for batch in _BATCHES:
        clips = source.clips(batch)
        expected, found = network(clips), exported(clips)
        difference = (found - expected).abs().max().item()
        largest = max(largest, difference)
        if not torch.allclose(found, expected, rtol=TOLERANCE, atol=TOLERANCE):
            raise UserError(
                f"--format {kind}: its logits differ from the network's by {difference:.2g}; nothing was written"
            )
    return largest


def parser() -> Arguments:
    """The options."""
    parser = Arguments(
        prog="python -m pipeline.export",
        description="Write a trained network in a form that other systems read.",
    )
    options.add(parser)
    parser.add_argument(
        "--format",
        required=True,
        choices=tuple(FORMATS),
        help="torch: a torch.export archive; onnx: a graph; safetensors: weights alone; "
        "reference: the published implementation's checkpoint",
    )
    parser.add_argument("--out", type=place, required=True, help="file or URL to write")
    return parser


@one_line_errors
def main(argv: Sequence[str] | None = None) -> int:
    """The command line."""
    args = parser().parse_args(argv)
    check_packages(args.format)
    size, difference = export(exportable(options.chosen(args, [])), args.format, args.out)
    print(f"{args.out}: {units.size(size)}, read back: logits within {difference:.1e} of the network's")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
