"""From single pictures to a video model: built, trained, scored, and taken for the start of a training on clips."""

from pathlib import Path

import numpy as np
import pytest
import torch

from blvnet.weights import HEAD
from pipeline import train
from pipeline.run import checkpoint, journal
from sharding import cli
from sharding.format import manifest, mjpeg
from tests import shards

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 200)}
EPOCHS = 6


def draw(colour: tuple[int, int, int], random: np.random.Generator) -> bytes:
    """A picture of that colour and a lot of noise, of one of several sizes."""
    height, width = random.integers(40, 80, 2)
    noise = random.normal(0, 60, (height, width, 3))
    return bytes(mjpeg.encode_rgb(np.clip(colour + noise, 0, 255).astype(np.uint8), 90))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of pictures with a damaged one, and a run on them."""
    folder = tmp_path_factory.mktemp("root")
    random = np.random.default_rng(0)
    lines = ["path,label,split"]
    for split, count in (("train", 16), ("validation", 6)):
        for name, colour in COLOURS.items():
            for number in range(count):
                path = folder / "pictures" / name / f"{split}-{number}.JPEG"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(draw(colour, random))
                lines.append(f"{name}/{path.name},{name},{split}")
    broken = folder / "pictures" / "red" / "train-3.JPEG"
    broken.write_bytes(broken.read_bytes()[:-300])
    (folder / "list.csv").write_text("\n".join(lines))
    words = ["--dataset=csv", f"--annotations={folder}/list.csv", f"--videos={folder}/pictures"]
    made = [f"--out={folder}/images", "--input=image", "--short-side=48", "--max-failures=1", "--workers=1"]
    assert cli.main(["build", *words, *made]) == 0
    assert cli.main(["verify", f"{folder}/images", "--workers=1"]) == 0
    assert train.main(command(folder, "images", "model.num_frames=1", f"optim.epochs={EPOCHS}")) == 0
    return folder


def command(root: Path, name: str, *overrides: str) -> list[str]:
    where = [f"data.root={root}/{name}", f"run.folder={root}/{name}-run"]
    small = ["data.size=32", "data.short_side=32", "optim.global_batch=8", "data.workers=0"]
    return ["--config", "configs/demo.yaml", *where, *small, "run.precision=fp32", *overrides]


def test_each_picture_is_a_sample_of_one_frame_and_a_damaged_one_a_failure(root: Path) -> None:
    split = manifest.load(f"{root}/images/train")
    assert (split.samples, sum(shard.frames for shard in split.shards)) == (47, 47)
    assert split.settings["input"] == "image"
    failures = (root / "images" / "train" / "failures.csv").read_text()
    assert "picture train-3.JPEG is damaged" in failures


def test_the_network_of_images_learns_them(root: Path) -> None:
    lines = list(journal.read(f"{root}/images-run/metrics.jsonl"))
    assert max(line["top1"] for line in lines if line["kind"] == "validation") > 60  # chance: 33


def test_a_video_model_starts_from_it(root: Path) -> None:
    shards.make(root / "clips", [8])
    shards.make(root / "clips", [3], split="validation")
    start = [f"init.from={root}/images-run", "optim.epochs=1", "optim.lr=1e-9", "model.num_frames=4"]
    # Norms as they are stored: so that only what the start left fresh differs.
    assert train.main(command(root, "clips", *start, "optim.frozen_norm=all")) == 0
    images, video = (checkpoint.load(f"{root}/{name}-run")["model"] for name in ("images", "clips"))
    fresh = {*HEAD, *(name for name in video if ".tam." in name)}
    assert video.keys() - images.keys() == {name for name in fresh if ".tam." in name}
    for name in video.keys() - fresh:
        if video[name].is_floating_point():
            torch.testing.assert_close(video[name], images[name], rtol=0, atol=1e-5)


def test_a_network_of_images_starts_no_other_way_round(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards.make(root / "others", [8])
    shards.make(root / "others", [3], split="validation")
    assert train.main(command(root, "others", "model.num_frames=2", "optim.epochs=1")) == 0
    capsys.readouterr()
    start = [f"init.from={root}/others-run", "model.num_frames=1", f"run.folder={root}/never"]
    assert train.main(command(root, "images", *start)) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ")
    assert "tam.weight" in printed
    assert printed.count("\n") == 1


def test_pictures_are_no_films(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train.main(command(root, "images", f"run.folder={root}/film", "model.num_frames=2")) == 2
    assert (
        "single pictures (built with --input image), and model.num_frames 2 is a film"
        in capsys.readouterr().err
    )
