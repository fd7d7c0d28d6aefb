"""A sample's way to a clip: only what is needed is decoded, and the pixels are those of the long way round."""

import numpy as np
import pytest
import torch

from pipeline import config
from pipeline.data.clips import train_cutter
from pipeline.data.inputs import FrameDecoder
from pipeline.data.samples import Sample
from pipeline.data.stream import empty_clips
from pipeline.data.transforms import resize
from sharding.format import mjpeg
from tests import shards


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """Noise, in which every pixel differs, so that nothing wrong goes unseen."""
    root = tmp_path_factory.mktemp("shards")
    rng = np.random.default_rng(0)
    split = shards.make(
        root, [1], picture=lambda s, n, w, h: rng.integers(0, 256, (h, w, 3), np.uint8), width=150, height=117
    )
    return shards.samples(split, 0)[0]


@pytest.mark.parametrize("seed", range(12))
def test_a_training_clip_has_the_pixels_of_decoding_cropping_resizing_and_flipping_all(
    sample: Sample, seed: int
) -> None:
    tree = {"data": {"root": "x", "size": 48, "flip": "reference"}, "run": {"folder": "x"}}
    cutter = train_cutter(config.override(tree, ["model.num_frames=4"], "test"), shards.CLASSES)
    clip = empty_clips(1, (4, 3, 48, 48))[0]
    cutter(sample, np.random.default_rng(seed), clip)

    rng = np.random.default_rng(seed)
    indices = cutter.frame_rule(sample.row.frames, 4, rng)
    (x, y, w, h), flip, _ = cutter.transform.choose(150, 117, 0, rng)
    frames = mjpeg.decode(sample.blob, sample.meta.offsets, indices.tolist(), (150, 117))
    expected = resize(torch.from_numpy(frames).permute(0, 3, 1, 2)[:, :, y : y + h, x : x + w], 48, 48)
    assert torch.equal(clip, expected.flip(-1) if flip else expected)
    assert clip.stride()[1:] == (1, 3 * 48, 3)


@pytest.mark.parametrize("seed", range(6))
def test_several_clips_of_a_decoding_are_each_what_it_would_be_alone(sample: Sample, seed: int) -> None:
    tree = {"data": {"root": "x", "size": 48, "flip": "reference"}, "run": {"folder": "x"}}
    one, three = (
        train_cutter(
            config.override(dict(tree), ["model.num_frames=4", f"data.repeats={repeats}"], "test"),
            shards.CLASSES,
        )
        for repeats in (1, 3)
    )
    assert three.shape(sample) == (3, 4, 3, 48, 48)
    alone, clips = empty_clips(1, (4, 3, 48, 48))[0], empty_clips(1, (3, 4, 3, 48, 48))[0]
    one(sample, np.random.default_rng(seed), alone)
    three(sample, np.random.default_rng(seed), clips)
    assert torch.equal(clips[0], alone)

    rng = np.random.default_rng(seed)
    indices = one.frame_rule(sample.row.frames, 4, rng)
    choices = [one.transform.choose(150, 117, 0, rng) for _ in range(3)]
    assert len({choice.box for choice in choices}) > 1
    frames = torch.from_numpy(
        mjpeg.decode(sample.blob, sample.meta.offsets, indices.tolist(), (150, 117))
    ).permute(0, 3, 1, 2)
    for clip, ((x, y, w, h), *_) in zip(clips, choices, strict=True):
        expected = resize(frames[:, :, y : y + h, x : x + w], 48, 48)
        assert torch.equal(clip, expected.flip(-1) if choices[0].flip else expected)


def test_the_decoder_reuses_its_memory_over_sizes(sample: Sample) -> None:
    decode = FrameDecoder()
    whole = decode(sample, np.array([0, 3])).clone()
    part = decode(sample, np.array([3, 3, 7]), (20, 10, 64, 40))
    assert part.shape == (3, 3, 40, 64)
    assert torch.equal(part[0], whole[1, :, 10:50, 20:84])
    assert torch.equal(part[0], part[1])
    assert torch.equal(decode(sample, np.array([0, 3])), whole)
