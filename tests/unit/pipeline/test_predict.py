"""Prediction: the same probabilities as evaluation, of files and folders, as text and as JSON."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from blvnet import create_model, weights
from pipeline import config, evaluate, predict
from sharding.building import build
from sharding.building.build import Request
from sharding.building.settings import Settings
from sharding.format import mjpeg
from tests import networks
from tests.unit.sharding import videos

SMALL = ["model.num_frames=8", "model.depth=26", "data.size=32", "data.short_side=36", "data.workers=0"]
SHARDS = Settings(short_side=40, quality=60, samples_per_shard=3)
FP32 = "run.precision=fp32"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Videos of 6 to 8 frames, at most as long as the clip, their shards, and the checkpoint of a network."""
    folder = tmp_path_factory.mktemp("root")
    annotations, films = videos.write_set(folder, train=1, validation=4, test=0)
    build.build(Request("sthv2", annotations, films, str(folder / "shards"), SHARDS, ["validation"]))
    settings = config.override({"data": {"root": "unused"}, "run": {"folder": "unused"}}, SMALL, "test")
    networks.save(folder / "network.pt", settings, videos.CLASSES, SHARDS.to_dict())
    return folder


def test_probabilities_are_those_of_evaluation_on_the_same_videos_shard(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    views = ["views.clips=2", "views.crops=5", FP32]
    checkpoint = f"--checkpoint={root}/network.pt"
    data = f"--data={root}/shards/validation"
    assert evaluate.main([checkpoint, data, f"--out={tmp_path}", *views]) == 0
    with np.load(tmp_path / "predictions-validation.npz") as arrays:
        keys, expected = arrays["keys"], torch.from_numpy(arrays["logits"]).softmax(1)
    capsys.readouterr()
    assert predict.main([checkpoint, "--json", *(f"{root}/videos/{key}.webm" for key in keys), *views]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [Path(line["video"]).stem for line in lines] == keys.tolist()
    for line, probabilities in zip(lines, expected, strict=True):
        found = {answer["index"]: answer["probability"] for answer in line["predictions"]}
        assert [found[i] for i in range(3)] == pytest.approx(probabilities.tolist(), abs=1e-5)


ANSWERS = [
    {"class": "Holding something", "index": 2, "probability": 0.9},
    {"class": "Pushing something from left to right", "index": 0, "probability": 0.0625},
]


def test_text_and_json_are_as_written_here() -> None:
    logits = torch.tensor([0.0625, 0.0375, 0.9]).log()
    found = predict.best(logits, videos.CLASSES, 2)
    assert found == ANSWERS
    assert predict.as_text("a.webm", found) == (
        "a.webm\n 90.00 %  Holding something\n  6.25 %  Pushing something from left to right"
    )
    assert predict.as_json("a.webm", found) == (
        '{"video": "a.webm", "predictions": [{"class": "Holding something", "index": 2, "probability": 0.9}, '
        '{"class": "Pushing something from left to right", "index": 0, "probability": 0.0625}]}'
    )


def test_what_cannot_be_read_is_named_and_the_others_are_predicted(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = tmp_path / "folder"
    pictures.mkdir()
    for number in range(5):
        jpeg = mjpeg.encode_rgb(videos.picture(number, 64, 48), 90)
        (pictures / f"{number:05d}.jpg").write_bytes(jpeg)
    broken, short = tmp_path / "broken.webm", tmp_path / "short.webm"
    broken.write_bytes(b"no video")
    videos.write_video(short, frames=2)
    linked = tmp_path / "linked.webm"
    linked.symlink_to(root / "videos" / "2.webm")
    named = [str(path) for path in (tmp_path / "missing.mp4", pictures, broken, short, linked)]
    assert predict.main([f"--checkpoint={root}/network.pt", "--top=1", *named, FP32]) == 2
    printed = capsys.readouterr()
    assert printed.out.splitlines()[::2] == [str(pictures), str(linked)]
    missing, undecodable, too_short = printed.err.splitlines()
    assert missing == f"error: {tmp_path}/missing.mp4: no such file"
    assert undecodable.startswith(f"error: {broken}: cannot be decoded: ")
    assert too_short == f"error: {short}: 2 frames, fewer than 3"


def test_a_published_checkpoint_is_used_directly(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    released = tmp_path / "released.pth.tar"
    torch.save(weights.to_reference(create_model("blvnet-tam-50-f8x2-v1").state_dict()), released)
    labels = tmp_path / "labels.csv"
    labels.write_text("".join(f"Class {i}\n" for i in range(174)))
    video = shutil.copy(root / "videos" / "3.webm", tmp_path / "a.webm")
    command = ["--model=blvnet-tam-50-f8x2-v1", f"--reference-weights={released}", "--json", "--top=3"]
    small = ["data.short_side=64", "data.size=64"]
    printed = []
    for more in ([], [f"--classes={labels}"]):
        assert predict.main([*command, *more, str(video), *small]) == 0
        printed.append(json.loads(capsys.readouterr().out)["predictions"])
    assert [answer["class"] for answer in printed[0]] == [str(answer["index"]) for answer in printed[0]]
    assert [answer["class"] for answer in printed[1]] == [f"Class {answer['index']}" for answer in printed[0]]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--checkpoint={root}/network.pt"], "VIDEO"),
        (["--checkpoint={root}/network.pt", FP32], "no video given"),
        (["--checkpoint={root}/network.pt", "--top=0", "a.webm"], "--top 0: must be at least 1"),
        (["--checkpoint={root}/network.pt", "a.webm", "view.clips=3"], "unknown key view"),
        (["--model=blvnet", "--reference-weights=x", "a.webm"], "no such model"),
        (
            ["--checkpoint={root}/network.pt", "--reference-weights=x", "a.webm"],
            "weights x: belongs to --model",
        ),
        (["--checkpoint={root}/network.pt", "--classes=x", "a.webm"], "--classes x: belongs to --model"),
        (["--model=blvnet-tam-50-f8x2-v1", "a.webm"], "needs --reference-weights"),
        (["--model=blvnet-tam-50-f8x2-v1", "--reference-weights=/x.pth", "a.webm"], "/x.pth: no such file"),
    ],
)
def test_a_mistake_is_named(
    root: Path, args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        status = predict.main([arg.format(root=root) for arg in args])
    except SystemExit as usage:  # argparse's own
        status = usage.code  # type: ignore[assignment]
    assert status == 2
    assert message in capsys.readouterr().err
