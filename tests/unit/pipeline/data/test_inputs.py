"""Optical flow on its way to clips: which pictures make a frame, with which pixels, and what a mirror does to them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline import config
from pipeline.config import Config, Model
from pipeline.data import sampling
from pipeline.data.clips import eval_cutter, train_cutter
from pipeline.data.inputs import pictures_of, positions
from pipeline.data.samples import DamagedError, Sample
from pipeline.data.splits import check_input
from pipeline.data.stream import empty_clips
from pipeline.data.transforms import crop_views, fill_flow, resize, scaled_size
from pipeline.training.normalise import Normaliser
from sharding.building import build
from sharding.building.build import Request
from sharding.building.settings import Settings
from sharding.errors import UserError
from sharding.format import manifest, mjpeg
from sharding.format.manifest import Manifest
from tests import shards
from tests.unit.sharding.flows import level, write_flow_set
from tests.unit.sharding.videos import CLASSES

SIZE = (96, 64)


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("flow")
    annotations, videos = write_flow_set(folder, train=4, validation=1, steps=9, size=SIZE)
    wanted = Settings(short_side=SIZE[1], input="flow", samples_per_shard=4)
    build.build(Request("sthv2", annotations, videos, str(folder / "shards"), wanted))
    return manifest.load(str(folder / "shards" / "train"))


@pytest.fixture(scope="module")
def sample(split: Manifest) -> Sample:
    return shards.samples(split, 0)[0]


def settings(*overrides: str) -> Config:
    small = ["model.num_frames=4", "model.in_channels=10", "data.size=48", "data.short_side=56"]
    tree = {"data": {"root": "unused"}, "run": {"folder": "unused"}}
    return config.override(tree, [*small, *overrides], "test")


def mirrored(clip: torch.Tensor) -> torch.Tensor:
    """uint8 (frames, 10, h, w) the other way round: 255 - x, and y as it is."""
    turned = clip.flip(-1)
    turned[:, 0::2] = 255 - turned[:, 0::2]
    return turned


def pictures(sample: Sample) -> torch.Tensor:
    """All of a sample, uint8 (pictures, 1, H, W)."""
    every = range(sample.row.frames)
    found = mjpeg.decode(sample.blob, sample.meta.offsets, every, SIZE, "GRAY")
    return torch.from_numpy(found).permute(0, 3, 1, 2)


def test_the_set_says_that_it_is_flow_and_one_of_videos_says_nothing_new(split: Manifest) -> None:
    assert split.settings["input"] == "flow" and split.samples == 4 and not split.failures
    assert "input" not in Settings().to_dict()


def test_a_set_of_flow_holds_every_step_exactly(split: Manifest) -> None:
    for one in shards.samples(split, 0):
        video = int(one.row.key)
        found = pictures(one)[:, 0, 30, 80].numpy().astype(int)
        assert len(found) == 2 * (9 + video % 3)
        wanted = [level(video, step, axis) for step in range(9 + video % 3) for axis in "xy"]
        assert np.abs(found - wanted).max() <= 1


@given(st.integers(1, 300), st.integers(0, 300))
def test_a_frame_is_five_steps_in_a_row_x_before_y(steps: int, place: int) -> None:
    count = positions(2 * steps)
    assert count == max(1, steps - 4)
    found = pictures_of(np.array([[place % count]]), 2 * steps)
    assert found.shape == (1, 1, 10) and found.dtype == np.int64
    wanted = [min(place % count + step, steps - 1) for step in range(5)]
    assert found.reshape(5, 2).tolist() == [[2 * step, 2 * step + 1] for step in wanted]


@given(st.integers(2, 60), st.integers(0, 2**32 - 1), st.sampled_from(["segment", "reference", "dense"]))
def test_training_frames_lie_where_five_steps_are(steps: int, seed: int, rule: str) -> None:
    cutter = train_cutter(settings(f"data.sampling={rule}"), CLASSES)
    frames = cutter.frame_rule(positions(2 * steps), 4, np.random.default_rng(seed))
    found = pictures_of(frames, 2 * steps)
    assert found.min() >= 0 and found.max() < 2 * steps
    if steps >= 5:
        assert (np.diff(found[..., 0::2], axis=-1) == 2).all()


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("group", [1, 2])
def test_a_training_clip_has_the_pixels_of_decoding_cropping_resizing_and_mirroring_all(
    sample: Sample, seed: int, group: int
) -> None:
    cutter = train_cutter(settings("data.flip=reference", f"data.frames_per_group={group}"), CLASSES)
    assert cutter.shape(sample) == (4, 10, 48, 48)
    clip = empty_clips(1, cutter.shape(sample))[0]
    cutter(sample, np.random.default_rng(seed), clip)

    rng = np.random.default_rng(seed)
    steps = sample.row.frames // 2
    frames = sampling.segment_indices(steps - 4, 4, rng, group)
    (x, y, w, h), flip, _ = cutter.transform.choose(*SIZE, 0, rng)
    every = pictures(sample)
    for number, first in enumerate(frames.tolist()):
        for channel in range(10):
            part = every[2 * first + channel][None, :, y : y + h, x : x + w]
            expected = resize(part, 48, 48)[0, 0]
            if flip:
                expected = expected.flip(-1)
                expected = 255 - expected if channel % 2 == 0 else expected
            assert torch.equal(clip[number, channel], expected)
    assert clip.stride()[1:] == (1, 10 * 48, 10)


@pytest.mark.parametrize("seed", range(4))
def test_several_clips_of_a_decoding_are_of_the_same_frames(sample: Sample, seed: int) -> None:
    one, three = (train_cutter(settings("data.flip=reference", f"data.repeats={n}"), CLASSES) for n in (1, 3))
    alone, clips = (empty_clips(1, cutter.shape(sample))[0] for cutter in (one, three))
    assert clips.shape == (3, 4, 10, 48, 48)
    one(sample, np.random.default_rng(seed), alone)
    three(sample, np.random.default_rng(seed), clips)
    assert torch.equal(clips[0], alone)


@pytest.mark.parametrize("crops", [1, 3, 10])
@pytest.mark.parametrize("rule", ["uniform", "dense", "random"])
def test_views_have_the_pixels_of_each_by_hand(sample: Sample, crops: int, rule: str) -> None:
    chosen = settings("views.clips=2", f"views.crops={crops}", f"views.sampling={rule}")
    cutter = eval_cutter(chosen)
    found = empty_clips(1, cutter.shape(sample))[0]
    assert cutter(sample, np.random.default_rng(0), found) == sample.row.label
    count = positions(sample.row.frames)
    rng = sampling.drawn_by(sample.row.key)
    frames = {
        "uniform": lambda: sampling.uniform_indices(count, 4, 2),
        "dense": lambda: sampling.dense_indices(count, 4, 2, 2),
        "random": lambda: np.stack([sampling.segment_indices(count, 4, rng) for _ in range(2)]),
    }[rule]()
    width, height = scaled_size(*SIZE, 56)
    scaled = resize(pictures(sample), width, height)
    expected = []
    for clip in frames.tolist():
        seen = torch.stack([scaled[2 * first : 2 * first + 10, 0] for first in clip])
        for (x, y, w, h), flip in crop_views(width, height, 48, crops):
            part = seen[..., y : y + h, x : x + w]
            expected.append(mirrored(part) if flip else part)
    assert torch.equal(found, torch.stack(expected))


def test_a_mirror_turns_x_about_and_leaves_y_and_what_the_network_sees_of_x_has_the_other_sign() -> None:
    every = torch.randint(0, 256, (14, 1, 3, 4), dtype=torch.uint8)
    wanted = torch.from_numpy(pictures_of(np.array([0, 2]), 14))
    plain, turned = empty_clips(2, (2, 10, 3, 4))
    fill_flow(every, wanted, False, plain)
    fill_flow(every, wanted, True, turned)
    assert torch.equal(plain, every[:, 0][wanted])
    assert torch.equal(turned, mirrored(plain)) and torch.equal(mirrored(turned), plain)
    normalise = Normaliser(torch.device("cpu"))
    there, back = normalise(turned[None])[0], normalise(plain[None])[0].flip(-1)
    torch.testing.assert_close(there[:, 0::2], -back[:, 0::2], rtol=0, atol=1e-5)
    torch.testing.assert_close(there[:, 1::2], back[:, 1::2], rtol=0, atol=1e-5)


def test_flow_is_normalised_about_a_half_by_the_mean_of_the_deviations() -> None:
    clip = torch.tensor([0, 127, 128, 255], dtype=torch.uint8).view(1, 1, 1, 2, 2).expand(-1, -1, 10, -1, -1)
    found = Normaliser(torch.device("cpu"))(clip)
    expected = (clip / 255 - 0.5) / ((0.229 + 0.224 + 0.225) / 3)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_sample_of_an_odd_number_of_pictures_is_damaged(tmp_path: Path) -> None:
    odd = shards.samples(shards.make(tmp_path, [1], frames=11), 0)[0]
    for cutter in (train_cutter(settings(), shards.CLASSES), eval_cutter(settings())):
        with pytest.raises(DamagedError, match=r"sample clip-0 has 11 pictures, an odd number"):
            cutter(odd, np.random.default_rng(0), empty_clips(1, cutter.shape(odd))[0])


def test_a_set_and_a_network_of_two_kinds_are_told_apart(split: Manifest, tmp_path: Path) -> None:
    colour = shards.make(tmp_path, [1])
    check_input(split, Model(in_channels=10))
    check_input(colour, Model())
    with pytest.raises(UserError, match=r"flow.* set model\.in_channels=10"):
        check_input(split, Model())
    with pytest.raises(UserError, match=r"pictures in colour, .*--input flow"):
        check_input(colour, Model(in_channels=10))
