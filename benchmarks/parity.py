"""Whether a training here is a training there: the program beside a literal training loop, from equal weights.

    python -m benchmarks.parity [--seeds 6] [--epochs 16] [--depth 50] [--size 64] [--sets easy,hard] \
        [--out benchmarks/results/parity.md]

"program" is `python -m pipeline.train` with `recipe=reference`, one process, fp32. "literal" is what one would write
from the published description: the same shards unpacked to lists of JPEGs, each epoch a shuffle of the whole set,
Pillow for decoding and resizing, floats for normalising, `benchmarks.plain_network`, torch's SGD and its cosine. It
shares no code with `pipeline/` or `blvnet/`. For each seed both start from the same weights; the order of the samples,
the crops, the frames and the dropout differ, as they do from seed to seed.
"easy" is the set of `make demo`; "hard" has 12 classes instead of 8, and half of the videos for each of them.
"""

import argparse
import io
import json
import math
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from benchmarks.plain_network import PlainBLVNetTAM
from blvnet import BLVNetTAM

FRAMES, BATCH, LR, DROPOUT = 8, 8, 0.01, 0.5
SCALES = (1.0, 0.875, 0.75, 0.66)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SETS = {"easy": {"classes": 8, "train": 240}, "hard": {"classes": 12, "train": 180}}
VALIDATION = 64


@dataclass(frozen=True)
class Recipe:
    """What both sides do."""

    depth: int
    epochs: int
    size: int


@dataclass
class Outcome:
    """Mean training losses by epoch, and the top-1 of the last, in percent."""

    losses: list[float]
    top1: float


def make_set(folder: Path, name: str) -> Path:
    """The shards of a set."""
    chosen = SETS[name]
    videos, out = folder / f"{name}-videos", folder / name
    program = (
        "import sys; from sharding.demo import demo; "
        f"demo.make(sys.argv[1], classes={chosen['classes']}, train={chosen['train']}, validation={VALIDATION}, test=2)"
    )
    quietly([sys.executable, "-c", program, str(videos)])
    source = ("--annotations", str(videos), "--videos", str(videos / "20bn-something-something-v2"))
    quietly([sys.executable, "-m", "sharding.cli", "build", "--dataset", "sthv2", *source, "--out", str(out)])
    return out


def quietly(words: list[str]) -> None:
    """Run a program, and show what it said only where it fails."""
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}\n{done.stdout}{done.stderr}")


def first_weights(recipe: Recipe, classes: int, seed: int) -> dict[str, Tensor]:
    """The weights that both sides start from."""
    torch.manual_seed(seed)
    return dict(BLVNetTAM(recipe.depth, FRAMES, classes).state_dict())


def program(shards: Path, weights: dict[str, Tensor], recipe: Recipe, seed: int, folder: Path) -> Outcome:
    """A run of the trainer."""
    start = folder / "start.pt"
    torch.save({"config": {}, "model": weights}, start)
    settings = {
        "recipe": "reference",
        "model.depth": recipe.depth,
        "model.num_frames": FRAMES,
        "data.root": shards,
        "data.size": recipe.size,
        "data.short_side": recipe.size,
        "data.workers": 1,
        "optim.global_batch": BATCH,
        "optim.lr": LR,
        "optim.lr_batch": BATCH,
        "optim.epochs": recipe.epochs,
        "init.from": start,
        "run.folder": folder / "run",
        "run.seed": seed,
        "run.precision": "fp32",
        "run.log_steps": 1,
        "run.evaluate_epochs": recipe.epochs,
    }
    words = [f"{key}={value}" for key, value in settings.items()]
    quietly([sys.executable, "-m", "pipeline.train", "--config", "paper", *words])
    lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    by_epoch: dict[int, list[float]] = {}
    for line in lines:
        if line["kind"] == "train":
            by_epoch.setdefault(line["epoch"], []).append(line["loss"])
    top1 = next(line["top1"] for line in reversed(lines) if line["kind"] == "validation")
    return Outcome([statistics.mean(losses) for _, losses in sorted(by_epoch.items())], top1)


Video = tuple[list[bytes], int]


def unpacked(split: Path) -> list[Video]:
    """Every video of a split: its JPEGs, and its label."""
    videos = []
    for path in sorted(split.glob("*.tar")):
        with tarfile.open(path) as tar:
            members = {member.name: tar.extractfile(member) for member in tar}
            for name in sorted(name for name in members if name.endswith(".json")):
                described, film = members[name], members[name.replace(".json", ".mjpeg")]
                assert described is not None and film is not None
                about, content = json.load(described), film.read()
                ends = [*about["offsets"][1:], len(content)]
                jpegs = [content[a:b] for a, b in zip(about["offsets"], ends, strict=True)]
                videos.append((jpegs, about["label"]))
    return videos


def training_clip(video: Video, size: int, random: np.random.Generator) -> list[Image.Image]:
    """The published training path: a random phase, a multi-scale crop in one of 13 places, a flip."""
    jpegs, _ = video
    stride = len(jpegs) // FRAMES
    if stride:
        phase = int(random.integers(stride))
        chosen = [i * stride + phase for i in range(FRAMES)]
    else:
        chosen = sorted(random.integers(0, len(jpegs), FRAMES).tolist())
    frames = [Image.open(io.BytesIO(jpegs[i])).convert("RGB") for i in chosen]
    width, height = frames[0].size
    sides = [int(min(width, height) * scale) for scale in SCALES]
    sides = [size if abs(side - size) < 3 else side for side in sides]
    pairs = [(w, h) for i, h in enumerate(sides) for j, w in enumerate(sides) if abs(i - j) <= 1]
    w, h = pairs[random.integers(len(pairs))]
    across, down = (width - w) // 4, (height - h) // 4
    places = [
        (0, 0),
        (4, 0),
        (0, 4),
        (4, 4),
        (2, 2),
        (0, 2),
        (4, 2),
        (2, 4),
        (2, 0),
        (1, 1),
        (3, 1),
        (1, 3),
        (3, 3),
    ]
    x, y = places[random.integers(13)]
    box = (x * across, y * down, x * across + w, y * down + h)
    frames = [frame.crop(box).resize((size, size), Image.Resampling.BILINEAR) for frame in frames]
    if random.random() < 0.5:
        frames = [frame.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for frame in frames]
    return frames


def test_clip(video: Video, size: int) -> list[Image.Image]:
    """The middle frame of each segment, scaled to the shorter side, its centre."""
    jpegs, _ = video
    tick = len(jpegs) / FRAMES
    frames = []
    for i in range(FRAMES):
        frame = Image.open(io.BytesIO(jpegs[int(tick / 2 + tick * i)])).convert("RGB")
        short = min(frame.size)
        frame = frame.resize(
            (int(size * frame.size[0] / short), int(size * frame.size[1] / short)), Image.Resampling.BILINEAR
        )
        x, y = round((frame.size[0] - size) / 2), round((frame.size[1] - size) / 2)
        frames.append(frame.crop((x, y, x + size, y + size)))
    return frames


def floats(clips: list[list[Image.Image]]) -> Tensor:
    """Normalised clips, float32 (clips, frames, 3, size, size)."""
    pixels = (
        np.stack([np.stack([np.asarray(frame) for frame in clip]) for clip in clips]).astype(np.float32) / 255
    )
    normal = (pixels - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return torch.from_numpy(normal.transpose(0, 1, 4, 2, 3).copy())


def literal(shards: Path, weights: dict[str, Tensor], recipe: Recipe, seed: int) -> Outcome:
    """The loop that one would write."""
    training, validation = unpacked(shards / "train"), unpacked(shards / "validation")
    model = PlainBLVNetTAM(recipe.depth, FRAMES, len(weights["classifier.bias"]), dropout=DROPOUT)
    model.load_state_dict(weights)
    optimizer = torch.optim.SGD(model.parameters(), LR, momentum=0.9, weight_decay=5e-4, nesterov=True)
    random = np.random.default_rng(seed)
    torch.manual_seed(seed)
    losses = []
    for epoch in range(recipe.epochs):
        for group in optimizer.param_groups:
            group["lr"] = LR * 0.5 * (1 + math.cos(math.pi * epoch / recipe.epochs))
        model.train()
        order = random.permutation(len(training))
        taken = []
        for begin in range(0, len(order) - BATCH + 1, BATCH):
            batch = [training[i] for i in order[begin : begin + BATCH]]
            clips = floats([training_clip(video, recipe.size, random) for video in batch])
            loss = F.cross_entropy(model(clips), torch.tensor([label for _, label in batch]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            taken.append(loss.item())
        losses.append(statistics.mean(taken))
    model.eval()
    right = 0
    with torch.inference_mode():
        for video in validation:
            right += int(model(floats([test_clip(video, recipe.size)])).argmax()) == video[1]
    return Outcome(losses, 100 * right / len(validation))


def one_pair(shards: Path, recipe: Recipe, classes: int, seed: int) -> tuple[Outcome, Outcome]:
    """Both sides from the same weights, side by side on two cores: the program is a process of its own."""
    weights = first_weights(recipe, classes, seed)
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(1) as thread:
        theirs = thread.submit(program, shards, weights, recipe, seed, Path(scratch))
        plain = literal(shards, weights, recipe, seed)
        return theirs.result(), plain


def spread(values: list[float], digits: int) -> str:
    """Mean and standard error."""
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return f"{statistics.mean(values):.{digits}f} ± {error:.{digits}f}"


def compared(ours: list[float], plain: list[float]) -> str:
    """The difference of the means by its own standard error."""
    if len(ours) < 2:
        return ""
    error = math.sqrt((statistics.variance(ours) + statistics.variance(plain)) / len(ours))
    return f"{(statistics.mean(ours) - statistics.mean(plain)) / error:+.1f}" if error else "0.0"


def table(name: str, pairs: list[tuple[Outcome, Outcome]], epochs: int) -> list[str]:
    """Losses by epoch, and the final scores."""
    ours, plain = ([pair[side] for pair in pairs] for side in (0, 1))
    rows = []
    for epoch in sorted({0, 1, 2, *range(0, epochs, max(1, epochs // 6)), epochs - 1} & set(range(epochs))):
        a, b = ([outcome.losses[epoch] for outcome in side] for side in (ours, plain))
        rows.append(f"| loss of epoch {epoch + 1} | {spread(a, 3)} | {spread(b, 3)} | {compared(a, b)} |")
    a, b = ([outcome.top1 for outcome in side] for side in (ours, plain))
    rows.append(f"| top-1 at the end, % | {spread(a, 1)} | {spread(b, 1)} | {compared(a, b)} |")
    return [
        f"## {name}: {SETS[name]['classes']} classes, {SETS[name]['train']} videos, {len(pairs)} seeds",
        "",
        "| | program | literal | difference, in its standard errors |",
        "|---|---:|---:|---:|",
        *rows,
        "",
        f"Top-1 by seed: program {', '.join(f'{v:.0f}' for v in a)}; literal {', '.join(f'{v:.0f}' for v in b)}.",
        "",
    ]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="The program beside a literal training loop.")
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--epochs", type=int, default=16)
    parser.add_argument("--depth", type=int, default=50)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--sets", default="easy,hard")
    parser.add_argument("--out", help="Markdown file to write, anew after each seed")
    args = parser.parse_args()
    torch.set_num_threads(1)
    recipe = Recipe(args.depth, args.epochs, args.size)
    done: dict[str, list[tuple[Outcome, Outcome]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name in args.sets.split(","):
            shards = make_set(Path(scratch), name)
            for seed in range(args.seeds):
                done.setdefault(name, []).append(one_pair(shards, recipe, SETS[name]["classes"], seed))
                lines = [
                    "# A training here and a training there",
                    "",
                    f"{date.today()}, {os.cpu_count()} cores, no GPU, torch {torch.__version__}; "
                    f"`python -m benchmarks.parity --seeds {args.seeds} --epochs {args.epochs} --depth {args.depth} "
                    f"--size {args.size} --sets {args.sets}`.",
                    "",
                    f"Depth {args.depth}, {FRAMES} frames (f{FRAMES // 2}x2), {args.size} pixels, batch {BATCH}, rate "
                    f"{LR}, dropout {DROPOUT}, {args.epochs} epochs, fp32. Mean ± standard error over the seeds.",
                    "",
                    *(
                        line
                        for set_name, pairs in done.items()
                        for line in table(set_name, pairs, args.epochs)
                    ),
                ]
                print("\n".join(lines), flush=True)
                if args.out:
                    Path(args.out).write_text("\n".join(lines))


if __name__ == "__main__":
    main()
