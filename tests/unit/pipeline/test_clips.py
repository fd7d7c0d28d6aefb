"""A sample's way to a clip: only what is needed is decoded, and the pixels are those of the long way round."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import config
from pipeline.clips import FrameDecoder, train_cutter
from pipeline.samples import Sample
from pipeline.stream import empty_clips
from pipeline.transforms import resize
from sharding import mjpeg
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
    frames = mjpeg.decode(sample.blob, sample.meta["offsets"], indices.tolist())
    expected = resize(torch.from_numpy(frames).permute(0, 3, 1, 2)[:, :, y : y + h, x : x + w], 48, 48)
    assert torch.equal(clip, expected.flip(-1) if flip else expected)
    assert clip.stride()[1:] == (1, 3 * 48, 3)


def test_the_decoder_reuses_its_memory_over_sizes(sample: Sample) -> None:
    decode = FrameDecoder()
    whole = decode(sample, np.array([0, 3])).clone()
    part = decode(sample, np.array([3, 3, 7]), rows=50)
    assert part.shape == (3, 3, 50 + mjpeg.INEXACT_ROWS, 150)
    assert torch.equal(part[0, :, :50], whole[1, :, :50])
    assert torch.equal(part[0], part[1])
    assert torch.equal(decode(sample, np.array([0, 3])), whole)


def test_a_short_frame_read_from_disk_is_exact_down_to_every_row(sample: Sample, tmp_path: Path) -> None:
    whole = mjpeg.decode(sample.blob, sample.meta["offsets"], [5])
    for rows in range(1, 118):
        part = np.empty((1, rows, 150, 3), np.uint8)
        mjpeg.decode(sample.blob, sample.meta["offsets"], [5], part)
        exact = rows if rows == 117 else max(0, rows - mjpeg.INEXACT_ROWS)
        assert np.array_equal(part[:, :exact], whole[:, :exact])
