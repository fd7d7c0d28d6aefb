"""The views of the test protocol: which frames and pixels each shows, and how they are averaged."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import config
from pipeline.config import Config
from pipeline.data import sampling
from pipeline.data.clips import eval_cutter
from pipeline.data.lane_reader import LaneReader, epoch_of
from pipeline.data.samples import Sample, checked
from pipeline.data.stream import empty_clips
from pipeline.data.transforms import crop_views, resize, scaled_size
from pipeline.evaluation.predictions import Predictions, device_batch, predict, videos_a_step
from pipeline.order.plan import Order
from pipeline.ranks.distributed import World
from pipeline.training.inference import Inference
from pipeline.training.normalise import Normaliser
from sharding.errors import UserError
from sharding.format import mjpeg
from sharding.format.manifest import Manifest
from tests import shards
from tests.networks import network

WORLD = World(0, 1, torch.device("cpu"))
SIDES = (150, 117, 96)  # width and height as stored, shorter side in evaluation


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Noise, in which every frame and pixel differs."""
    rng = np.random.default_rng(0)
    return shards.make(
        tmp_path_factory.mktemp("shards"),
        [3, 2],
        picture=lambda s, n, w, h: rng.integers(0, 256, (h, w, 3), np.uint8),
        width=SIDES[0],
        height=SIDES[1],
    )


def settings(*overrides: str) -> Config:
    small = ["model.num_frames=4", "model.depth=26", "data.size=64", f"data.short_side={SIDES[2]}"]
    alone = ["data.workers=0", "run.precision=fp32"]
    tree = {"data": {"root": "unused"}, "run": {"folder": "unused"}}
    return config.override(tree, [*small, *alone, *overrides], "test")


def first_sample(split: Manifest) -> Sample:
    return checked(next(iter(LaneReader(split, epoch_of(split, Order(0, 1, 1), 0), 0))))


def views(sample: Sample, *overrides: str, order: str = "forward") -> torch.Tensor:
    cutter = eval_cutter(settings(*overrides), order)  # type: ignore[arg-type]
    out = empty_clips(1, cutter.shape(sample))[0]
    assert cutter(sample, np.random.default_rng(0), out) == sample.row.label
    return out


@pytest.mark.parametrize("crops", [1, 3, 5, 10])
@pytest.mark.parametrize("rule", ["uniform", "dense"])
def test_views_have_the_pixels_of_decoding_resizing_and_cropping_each_by_hand(
    split: Manifest, crops: int, rule: str
) -> None:
    sample = first_sample(split)
    width, height = scaled_size(*SIDES)
    indices = {
        "uniform": sampling.uniform_indices(12, 4, 3),
        "dense": sampling.dense_indices(12, 4, 2, 3),
    }[rule]
    expected = []
    for clip in indices:
        frames = mjpeg.decode(sample.blob, sample.meta.offsets, clip.tolist(), SIDES[:2])
        scaled = resize(torch.from_numpy(frames).permute(0, 3, 1, 2), width, height)
        for (x, y, w, h), flip in crop_views(width, height, 64, crops):
            crop = scaled[:, :, y : y + h, x : x + w]
            expected.append(crop.flip(-1) if flip else crop)
    found = views(sample, "views.clips=3", f"views.crops={crops}", f"views.sampling={rule}")
    assert torch.equal(found, torch.stack(expected))


def test_random_clips_of_a_video_are_the_same_in_every_run_and_others_in_another_video(
    split: Manifest,
) -> None:
    clips = [eval_cutter(settings("views.sampling=random", "views.clips=5"))._clips(40, key) for key in "aab"]
    assert (clips[0] == clips[1]).all() and (clips[0] != clips[2]).any()
    assert (clips[0] // 10 == range(4)).all() and len(np.unique(clips[0], axis=0)) > 1
    assert views(first_sample(split), "views.sampling=random", "views.clips=2").shape[0] == 2


def test_random_clips_are_drawn_as_the_runs_training_draws_them() -> None:
    """The published code's `--random_sampling` does so, and has both of these."""

    def clips(*more: str) -> np.ndarray:
        return eval_cutter(settings("views.sampling=random", "views.clips=50", *more))._clips(43, "a")

    reference = clips("data.sampling=reference")
    assert (np.diff(reference, axis=1) == 10).all() and set(reference[:, 0]) == set(range(10))
    dense = clips("data.sampling=dense", "data.dense_stride=5", "views.dense_stride=3")
    assert (np.diff(dense, axis=1) == 5).all() and len(np.unique(dense[:, 0])) > 10
    grouped = clips("data.frames_per_group=2").reshape(50, 2, 2)
    assert (np.diff(grouped, axis=2) == 1).all()


def test_full_resolution_shows_the_whole_resized_frame(split: Manifest) -> None:
    sample = first_sample(split)
    found = views(sample, "views.size=full", "views.clips=2")
    width, height = scaled_size(*SIDES)
    assert found.shape == (2, 4, 3, height, width)
    assert torch.equal(views(sample)[0], found[0, :, :, 16:80, 30:94])  # torchvision's centre
    assert videos_a_step(settings("views.size=full"), 16) == 1


def test_a_view_may_be_larger_than_a_training_clip(split: Manifest) -> None:
    assert views(first_sample(split), f"views.size={SIDES[2]}").shape == (1, 4, 3, SIDES[2], SIDES[2])


def test_reversed_and_shuffled_clips_show_the_same_frames_in_another_order(split: Manifest) -> None:
    sample = first_sample(split)
    forward = views(sample, "views.clips=2")
    assert torch.equal(views(sample, "views.clips=2", order="reverse"), forward.flip(1))
    mixed = views(sample, "views.clips=2", order="shuffle")
    assert torch.equal(mixed, views(sample, "views.clips=2", order="shuffle"))
    assert not torch.equal(mixed, forward)
    for one, other in zip(mixed, forward, strict=True):
        assert {frame.sum().item() for frame in one} == {frame.sum().item() for frame in other}


def predictions(split: Manifest, *overrides: str, batch: int = 16, at_once: int = 0) -> Predictions:
    settled = settings(*overrides)
    found = predict(network(settled, 3), split, settled, WORLD, batch, at_once=at_once)
    assert found is not None
    return found


def test_the_logits_of_several_views_are_the_mean_of_each_views_own(split: Manifest) -> None:
    several = predictions(split, "views.clips=2", "views.crops=3", "views.sampling=dense")
    model = network(settings(), 3)
    sample = first_sample(split)
    normalise = Normaliser(torch.device("cpu"))
    clips = views(sample, "views.clips=2", "views.crops=3", "views.sampling=dense")
    with torch.no_grad():
        each = torch.stack([model(normalise(view[None]))[0] for view in clips])
    assert len(each) == 6 and each.std(0).min() > 1e-3
    number = several.keys.index(sample.row.key)
    torch.testing.assert_close(several.logits[number], each.mean(0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("overrides", [["views.clips=3", "views.crops=3"], ["views.size=full"], []])
def test_predictions_do_not_depend_on_batch_and_workers(split: Manifest, overrides: list[str]) -> None:
    expected = predictions(split, *overrides)
    assert expected.keys == [f"clip-{s}" for s in range(5)]
    assert expected.labels.tolist() == [0, 1, 2, 0, 1]
    for batch, workers in ((1, 0), (7, 2)):
        found = predictions(split, *overrides, f"data.workers={workers}", batch=batch)
        assert found.keys == expected.keys
        torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=1e-5)


@pytest.mark.parametrize("overrides", [["views.clips=3"], ["views.size=full"], []])
def test_predictions_do_not_depend_on_what_goes_through_the_network_at_once(
    split: Manifest, overrides: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = predictions(split, *overrides)
    taken: list[int] = []
    take = Inference.__call__

    def noted(self: Inference, videos: torch.Tensor) -> torch.Tensor:
        assert videos.movedim(-3, -1).is_contiguous()  # channels-last, as the network wants it
        taken.append(len(videos))
        return take(self, videos)

    monkeypatch.setattr(Inference, "__call__", noted)
    views = 3 if "views.clips=3" in overrides else 1
    found = predictions(split, *overrides, batch=views, at_once=2 * views)
    assert found.keys == expected.keys and found.labels.tolist() == expected.labels.tolist()
    torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=1e-5)
    assert taken == ([1] * 5 if "views.size=full" in overrides else [2, 2, 1])


def test_the_network_may_take_fewer_views_at_once_than_are_loaded(
    split: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, taken = predictions(split, "views.clips=3"), []
    run = Normaliser.__call__

    def noted(self: Normaliser, clips: torch.Tensor) -> torch.Tensor:
        taken.append(len(clips))
        return run(self, clips)

    monkeypatch.setattr(Normaliser, "__call__", noted)
    found = predictions(split, "views.clips=3", batch=9, at_once=2)
    torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=1e-5)
    assert sum(taken) == 15 and max(taken) == 2


def test_a_gpu_takes_more_clips_than_it_trains_on() -> None:
    assert device_batch(8, torch.device("cuda", 0)) == 32
    assert device_batch(8, torch.device("cpu")) == 8


def test_evaluation_is_compiled_where_training_is_for_one_shape_alone(
    split: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, ...]] = []

    def compiled(model: torch.nn.Module) -> torch.nn.Module:
        model.register_forward_pre_hook(lambda _, clips: shapes.append(tuple(clips[0].shape)))
        return model

    monkeypatch.setattr(torch, "compile", compiled)
    expected = predictions(split)
    assert not shapes
    found = predictions(split, "run.compile=true", batch=2)
    assert set(shapes) == {(2, 4, 3, 64, 64)} and len(shapes) == 3
    torch.testing.assert_close(found.logits, expected.logits, rtol=0, atol=1e-5)
    shapes.clear()
    predictions(split, "run.compile=true", "views.size=full")
    assert not shapes  # frames of many sizes


def test_a_batch_counts_views() -> None:
    assert videos_a_step(settings("views.clips=2", "views.crops=3"), 16) == 2
    assert videos_a_step(settings("views.clips=10", "views.crops=3"), 16) == 1


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["views.crops=4"], "views.crops"),
        (["views.size=full", "views.crops=3"], "size full has one crop, not 3"),
        (["views.size=128"], "views.size 128 is more than data.short_side 96"),
        (["views.clips=0"], "views.clips"),
    ],
)
def test_views_that_cannot_be_are_named(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        settings(*overrides)


@pytest.mark.parametrize(("workers", "batch"), [(0, 1), (2, 8)])
def test_whole_frames_of_videos_of_several_sizes_are_scored(tmp_path: Path, workers: int, batch: int) -> None:
    split = shards.make(tmp_path, [3, 2], width=150, height=117, wider=30)
    full = ["views.size=full", "views.clips=2"]
    found = predictions(split, *full, f"data.workers={workers}", batch=batch)
    assert found.keys == [f"clip-{s}" for s in range(5)]
    model, normalise = network(settings(), 3), Normaliser(WORLD.device)
    widths = set()
    for number, sample in enumerate([*shards.samples(split, 0), *shards.samples(split, 1)]):
        seen = views(sample, *full)
        widths.add(seen.shape[-1])
        with torch.no_grad():
            expected = torch.stack([model(normalise(view[None]))[0] for view in seen]).mean(0)
        torch.testing.assert_close(found.logits[number], expected, rtol=0, atol=1e-5)
    assert len(widths) == 5
