import io
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from sharding.demo import demo
from sharding.demo.scene import scene
from sharding.errors import UserError

SMALL = {"train": 8, "validation": 4, "test": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small set, rendered once."""
    made = tmp_path_factory.mktemp("demo") / "videos"
    assert demo.make(made, seed=3, workers=2, **SMALL) == 14
    return made


def _read(folder: Path, name: str) -> list[dict[str, str]]:
    return list(json.loads((folder / f"something-something-v2-{name}.json").read_text()))


def test_annotations_are_those_of_something_something_v2(folder: Path) -> None:
    labels = json.loads((folder / "something-something-v2-labels.json").read_text())
    assert list(labels) == sorted(labels)
    assert list(labels.values()) == [str(i) for i in range(8)]
    assert "Pushing something from left to right" in labels
    for split in ("train", "validation"):
        entries = _read(folder, split)
        assert len(entries) == SMALL[split]
        for entry in entries:
            assert set(entry) == {"id", "label", "template", "placeholders"}
            assert entry["template"].replace("[", "").replace("]", "") in labels
            assert len(entry["placeholders"]) == entry["template"].count("[something]")
            assert "[" not in entry["label"] and all(
                thing in entry["label"] for thing in entry["placeholders"]
            )
    assert all(set(entry) == {"id"} for entry in _read(folder, "test"))


def test_every_video_is_there_once(folder: Path) -> None:
    ids = [entry["id"] for split in SMALL for entry in _read(folder, split)]
    assert len(set(ids)) == 14
    assert sorted(path.stem for path in (folder / demo.VIDEO_FOLDER).iterdir()) == sorted(ids)


def test_videos_are_vp9_of_the_stated_size_rate_and_length(folder: Path) -> None:
    for path in (folder / demo.VIDEO_FOLDER).iterdir():
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            frames = sum(1 for _ in container.decode(stream))
            assert container.format.name == "matroska,webm"
            assert stream.codec_context.name in ("vp9", "libvpx-vp9")
            assert stream.average_rate == 12
            assert stream.height == 240 and stream.width in demo.WIDTHS
            assert 24 <= frames <= 48


def test_the_video_shows_the_frames_that_were_drawn() -> None:
    clip = demo.plan(demo.Settings())["train"][0]
    drawn = demo.film(clip)
    with av.open(io.BytesIO(demo.encode(drawn))) as container:
        seen = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert seen.shape == drawn.shape
    assert np.abs(seen.astype(int) - drawn).mean() < 6


def test_classes_are_balanced_and_splits_differ() -> None:
    clips = demo.plan(demo.Settings())
    assert {split: len(videos) for split, videos in clips.items()} == {
        "train": 240,
        "validation": 64,
        "test": 16,
    }
    for videos in clips.values():
        assert set(Counter(clip.template for clip in videos).values()) == {len(videos) // 8}
    seeds = [clip.seed for videos in clips.values() for clip in videos]
    assert len(set(seeds)) == len(seeds) == 320


@pytest.mark.parametrize("pair", demo.PAIRS, ids=lambda pair: pair[0])
def test_the_classes_of_a_pair_have_the_same_frames_in_opposite_order(pair: tuple[str, str, str]) -> None:
    clip = demo.Clip("1", pair[0], False, pair[1], 320, 24, (7, 7))
    forwards, backwards = demo.film(clip), demo.film(replace(clip, backwards=True))
    assert np.array_equal(forwards, backwards[::-1])
    assert not np.array_equal(forwards, backwards)


@pytest.mark.parametrize(
    ("motion", "way"),
    [("across", (1, 0)), ("rising", (0, -1)), ("turning left", (1, 0)), ("turning up", (0, 1))],
)
def test_what_is_seen_moves_as_its_template_says(motion: str, way: tuple[int, int]) -> None:
    for seed in range(20):
        course = scene(motion, np.random.default_rng(seed), 427, 240, 36).course
        steps = np.diff(course.things[0] - course.camera, axis=0) @ np.array(way)
        assert (steps > 0).all()
        assert steps.sum() > 0.5 * 240
        assert steps.max() < 3 * steps.mean()  # spread over the whole video


def test_approaching_enlarges_and_meeting_brings_together() -> None:
    for seed in range(20):
        near = scene("approaching", np.random.default_rng(seed), 427, 240, 36).course
        assert (np.diff(near.zoom) > 0).all() and near.zoom[-1] > 1.8 * near.zoom[0]
        first, second = scene("meeting", np.random.default_rng(seed), 427, 240, 36).course.things
        apart = np.linalg.norm(first - second, axis=1)
        assert (np.diff(apart) < 0).all() and apart[0] > 2 * apart[-1]


def test_the_same_seed_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    demo.make(tmp_path / "again", seed=3, workers=1, **SMALL)
    for path in folder.rglob("*"):
        if path.is_file():
            assert (tmp_path / "again" / path.relative_to(folder)).read_bytes() == path.read_bytes(), path
    assert demo.plan(demo.Settings(seed=4)) != demo.plan(demo.Settings(seed=3))


def test_a_second_call_renders_only_what_is_missing(folder: Path) -> None:
    videos = sorted((folder / demo.VIDEO_FOLDER).iterdir())
    content = videos[3].read_bytes()
    videos[3].unlink()
    before = {path: path.stat().st_mtime_ns for path in videos if path.exists()}
    assert demo.make(folder, seed=3, workers=1, **SMALL) == 14
    assert videos[3].read_bytes() == content
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_set_in_the_folder_is_an_error(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"demo\.json: the folder holds a set made with .*'seed': 3.*another folder"
    ):
        demo.make(folder, seed=4, **SMALL)
    (tmp_path / "demo.json").write_text("{")
    with pytest.raises(UserError, match=r"demo\.json: not the settings"):
        demo.make(tmp_path)
    with pytest.raises(UserError, match="classes=3: take an even number from 2 to 12"):
        demo.make(tmp_path, classes=3)


def test_the_module_imports_no_torch_and_no_decoder() -> None:
    program = (
        "import sys, sharding.demo.demo; print([m for m in ('torch', 'av', 'tqdm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
