"""Crops, flips and resizing: the reference's boxes and pixels, and the properties of what is drawn."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms.v2 import functional

from pipeline.data.transforms import (
    EvalTransform,
    TrainTransform,
    around,
    crop_boxes,
    crop_views,
    mirror_labels,
    mirrored_bgr,
    multi_scale_crops,
    resize,
    resize_into,
    scaled_size,
)
from tests.golden.fill import picture

GOLDEN_DIR = Path(__file__).parents[3] / "golden"
GOLDEN: dict[str, Any] = json.loads((GOLDEN_DIR / "data_public.json").read_text())
PIXELS: list[dict[str, Any]] = json.loads((GOLDEN_DIR / "pixels.json").read_text())
SCALES = (1, 0.875, 0.75, 0.66)
CLASSES = [
    "Pushing [something] from left to right",
    "Pushing [something] from right to left",
    "Holding [something]",
]

sides = st.integers(64, 400)


def clip_of(frames: NDArray[np.uint8]) -> torch.Tensor:
    """uint8 (T, H, W, 3) as the (T, 3, H, W) channels-last view that the pipeline hands around."""
    return torch.from_numpy(frames).permute(0, 3, 1, 2)


def noise(frames: int, width: int, height: int) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return clip_of(rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8))


def empty(views: int, frames: int, size: int) -> torch.Tensor:
    """Room for (views, frames, 3, size, size), each frame's pixels interleaved."""
    return torch.zeros(views, frames, size, size, 3, dtype=torch.uint8).permute(0, 1, 4, 2, 3)


@pytest.mark.parametrize("case", GOLDEN["multi_scale_crop"], ids=lambda c: f"{c['width']}x{c['height']}")
def test_multi_scale_boxes_are_the_references(case: dict[str, Any]) -> None:
    expected = [(x, y, *crop["crop"]) for crop in case["crops"] for x, y in crop["offsets"]]
    got = multi_scale_crops(case["width"], case["height"], case["input_size"], case["scales"])
    assert got == sorted(expected)


@pytest.mark.parametrize(
    "case", GOLDEN["n_crop"], ids=lambda c: f"{c['width']}x{c['height']}-{c['num_crops']}"
)
def test_test_boxes_are_the_references(case: dict[str, Any]) -> None:
    width, height = scaled_size(case["width"], case["height"], case["scale"])
    assert [width, height] == case["scaled"]
    boxes = crop_boxes(width, height, case["size"], case["num_crops"])
    assert [[x, y, x + w, y + h] for x, y, w, h in boxes] == case["boxes"]
    views = crop_views(width, height, case["size"], case["num_crops"])
    assert len(views) == case["num_crops"]
    if case["flipped_copy_follows_each_crop"]:
        assert [(v.box, v.flip) for v in views] == [(box, flip) for box in boxes for flip in (False, True)]
    else:
        assert views == [(box, False) for box in boxes]


@given(sides, sides, st.sampled_from([1, 3, 5, 10]))
def test_test_boxes_lie_inside_the_frame(width: int, height: int, num_crops: int) -> None:
    for x, y, w, h in crop_boxes(width, height, 64, num_crops):
        assert (w, h) == (64, 64)
        assert 0 <= x <= width - w
        assert 0 <= y <= height - h


@given(st.integers(36, 400), st.booleans())
def test_three_crops_of_the_shorter_side_are_the_ends_and_the_middle_of_the_longer(
    longer: int, upright: bool
) -> None:
    width, height = (32, longer) if upright else (longer, 32)
    boxes = crop_boxes(width, height, 32, 3)
    along = [box[upright] for box in boxes]
    assert {box[not upright] for box in boxes} == {0} and len(set(along)) == 3
    assert along[0] == 0 and longer - 32 - 3 <= along[1] <= longer - 32 and along[2] == along[1] / 2


@pytest.mark.parametrize("num_crops", [1, 3, 5])
def test_views_of_a_turned_film_are_the_turned_views(num_crops: int) -> None:
    """What a camera held upright has seen is cut as what it has seen lying, but for the order of the corners."""
    wide = noise(2, 90, 64)
    views = []
    for frames in (wide, wide.transpose(2, 3)):
        clip = empty(num_crops, 2, 48)
        EvalTransform(48, 64, num_crops)(frames, np.array([[0, 1]]), clip)
        views.append(clip)
    turned = views[1].transpose(3, 4)
    order = [0, 2, 1, 3, 4] if num_crops == 5 else list(range(num_crops))
    assert torch.equal(turned[order], views[0])


@given(sides, sides, st.integers(32, 400))
def test_multi_scale_boxes_lie_inside_the_frame(width: int, height: int, input_size: int) -> None:
    for x, y, w, h in multi_scale_crops(width, height, input_size, SCALES):
        assert 0 <= x <= width - w
        assert 0 <= y <= height - h
        assert min(w, h) >= int(0.66 * min(width, height)) - 2


@pytest.mark.parametrize("case", PIXELS, ids=lambda c: c["file"])
def test_evaluation_pixels_are_the_references(case: dict[str, Any]) -> None:
    """Fixed-point rounding differs from PIL's by one level in a few pixels; most frames are equal."""
    frames = np.stack([picture(case["width"], case["height"], case["seed"])] * 2)
    clip = empty(1, 2, case["crop"])
    EvalTransform(case["crop"], case["shorter_side"])(clip_of(frames), np.array([[0, 1]]), clip)
    expected = np.asarray(Image.open(GOLDEN_DIR / case["file"]).convert("RGB"))
    for frame in clip[0]:
        difference = np.abs(frame.permute(1, 2, 0).numpy().astype(int) - expected)
        assert difference.max() <= 1
        assert difference.mean() < 0.01


@pytest.mark.parametrize("box", [(0, 0, 168, 192), (49, 0, 256, 256), (13, 7, 224, 168), (57, 16, 224, 224)])
def test_training_pixels_are_pils(box: tuple[int, int, int, int]) -> None:
    frames = picture(455, 256, 3)
    x, y, w, h = box
    expected = (
        Image.fromarray(frames).crop((x, y, x + w, y + h)).resize((224, 224), Image.Resampling.BILINEAR)
    )
    got = empty(1, 1, 224)[0]
    resize_into(clip_of(frames[None])[:, :, y : y + h, x : x + w], got)
    difference = np.abs(got[0].permute(1, 2, 0).numpy().astype(int) - np.asarray(expected))
    assert difference.max() <= 1
    assert difference.mean() < 0.1


@pytest.mark.parametrize("shorter_side", [256, 224])
def test_evaluation_of_ten_crops_shows_each_box_and_its_mirror_image(shorter_side: int) -> None:
    clip = empty(10, 2, 32)
    EvalTransform(32, shorter_side // 4, 10)(noise(2, 80, 64), np.array([[0, 1]]), clip)
    assert torch.equal(clip[0::2].flip(-1), clip[1::2])
    assert not torch.equal(clip[0], clip[2])


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize(("count", "channels"), [(1, 1), (1, 3), (2, 1), (3, 3), (2, 10)])
def test_resizing_gives_torchvisions_pixels_and_keeps_the_layout(
    layout: torch.memory_format, count: int, channels: int
) -> None:
    whole = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, channels, 57, 83), np.uint8))
    whole = whole.contiguous(memory_format=layout)
    for frames in (whole, whole[:, :, 3:40, 5:60], whole.flip(-1)):
        for width, height in ((31, 20), (100, 90), (83, 20), (56, 37)):
            resized = resize(frames, width, height)
            assert torch.equal(resized, functional.resize(frames, [height, width], antialias=True))
            assert channels == 1 or resized.is_contiguous(memory_format=layout)


def test_nothing_is_resized_that_has_the_wanted_size() -> None:
    frames = noise(2, 300, 256)
    assert resize(frames, 300, 256) is frames
    crop = empty(1, 2, 224)[0]
    resize_into(frames[:, :, 20:244, 10:234], crop)
    assert torch.equal(crop, frames[:, :, 20:244, 10:234])


@pytest.mark.parametrize("width", [1, 6, 33])
def test_reversing_the_bytes_of_bgr_rows_flips_and_gives_rgb(width: int) -> None:
    rgb = noise(3, width + 4, 9)[:, :, 2:7, 3 : 3 + width]
    assert torch.equal(mirrored_bgr(rgb.flip(1)), rgb.flip(-1))
    box_of_bgr = noise(3, width + 4, 9).flip(1).contiguous(memory_format=torch.channels_last)
    assert torch.equal(mirrored_bgr(box_of_bgr[:, :, 2:7, 3 : 3 + width]), rgb.flip(-1))


@pytest.mark.parametrize("size", [32, 112, 224, 256])
def test_the_order_of_flip_and_resize_does_not_matter(size: int) -> None:
    """For every width up to full HD: what flips first gives the pixels of what is flipped at the end."""
    rng = np.random.default_rng(size)
    flipped_first, flipped_last = torch.empty(2, 1, 2, size, 3, dtype=torch.uint8).permute(0, 1, 4, 2, 3)
    for width in range(1, 1921):
        frames = clip_of(rng.integers(0, 256, (1, 2, width, 3), dtype=np.uint8))
        resize_into(frames, flipped_last)
        resize_into(frames.flip(-1), flipped_first)
        assert torch.equal(flipped_first, flipped_last.flip(-1)), width


@given(st.lists(st.tuples(*[st.integers(0, 50)] * 2, *[st.integers(1, 50)] * 2), min_size=1, max_size=4))
def test_the_box_around_boxes_holds_all_of_them_and_no_more(boxes: list[tuple[int, int, int, int]]) -> None:
    covered = np.zeros((100, 100), bool)
    for x, y, w, h in boxes:
        covered[y : y + h, x : x + w] = True
    rows, columns = np.nonzero(covered)
    left, top, width, height = around(boxes)
    assert (left, top, left + width - 1, top + height - 1) == (
        *(columns.min(), rows.min()),
        *(columns.max(), rows.max()),
    )


def test_mirror_exchanges_left_and_right_as_words() -> None:
    classes = [
        "Pulling [something] from left to right",
        "Holding [something]",
        "Pulling [something] from right to left",
        "Turning the camera left while filming [something]",
        "Putting [something] upright on the table",
        "Turning the camera right while filming [something]",
        "Wiping [something] to the left",
    ]
    assert mirror_labels(classes).tolist() == [2, 1, 0, 5, 4, 3, -1]


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("Swiping Left", "Swiping Right"),
        ("turn_left", "turn_right"),
        ("TurnLeft", "TurnRight"),
        ("LeftTurn", "RightTurn"),
        ("LEFT", "RIGHT"),
        ("left-hand/wave", "right-hand/wave"),
        ("left2", "right2"),
        ("Left to right", "Right to left"),
    ],
)
def test_mirror_knows_the_words_in_every_spelling_of_class_names(left: str, right: str) -> None:
    assert mirror_labels([left, right]).tolist() == [1, 0]
    assert mirror_labels([left, "other"]).tolist() == [-1, 1]


def test_words_that_only_contain_a_side_have_no_direction() -> None:
    classes = ["leftovers", "Upright", "bright", "copyright", "rightmost", "Leftist", "COPYRIGHT", "cleft"]
    assert mirror_labels(classes).tolist() == list(range(len(classes)))


@given(
    st.lists(st.text(alphabet="ab ", max_size=4), max_size=6), st.lists(st.sampled_from(CLASSES), unique=True)
)
def test_mirror_twice_is_the_class_itself(others: list[str], directed: list[str]) -> None:
    mirror = mirror_labels([*dict.fromkeys(others), *directed])
    for label, mirrored in enumerate(mirror):
        assert mirrored == -1 or mirror[mirrored] == label


def choices(flip: Any, classes: list[str], label: int | tuple[int, ...], times: int = 400) -> list[Any]:
    transform = TrainTransform(224, SCALES, flip, mirror_labels(classes))
    rng = np.random.default_rng(0)
    return [transform.choose(455, 256, label, rng) for _ in range(times)]


def test_a_flip_exchanges_a_directed_label() -> None:
    drawn = Counter((c.flip, c.label) for c in choices("label", CLASSES, 0))
    assert set(drawn) == {(False, 0), (True, 1)}
    assert 150 < drawn[True, 1] < 250


def test_a_flip_exchanges_left_and_right_in_each_of_several_labels() -> None:
    assert {(c.flip, c.label) for c in choices("label", CLASSES, (1, 2))} == {(False, (1, 2)), (True, (0, 2))}
    assert {(c.flip, c.label) for c in choices("label", CLASSES, (0, 1))} == {(False, (0, 1)), (True, (0, 1))}
    assert {(c.flip, c.label) for c in choices("reference", CLASSES, (1,))} == {(False, (1,)), (True, (1,))}


def test_a_clip_is_not_flipped_where_one_of_its_labels_has_no_mirror() -> None:
    alone = [CLASSES[0], CLASSES[2]]
    assert {(c.flip, c.label) for c in choices("label", alone, (0, 1))} == {(False, (0, 1))}
    assert {c.flip for c in choices("label", alone, (1,))} == {False, True}


def test_a_flip_keeps_the_label_of_a_class_without_direction() -> None:
    drawn = Counter((c.flip, c.label) for c in choices("label", CLASSES, 2))
    assert set(drawn) == {(False, 2), (True, 2)}


def test_a_class_without_its_mirror_is_never_flipped() -> None:
    assert {(c.flip, c.label) for c in choices("label", CLASSES[:1], 0)} == {(False, 0)}


def test_the_reference_flips_every_class_and_keeps_the_label() -> None:
    assert {(c.flip, c.label) for c in choices("reference", CLASSES, 0)} == {(False, 0), (True, 0)}


def test_flips_can_be_switched_off() -> None:
    assert {c.flip for c in choices("none", CLASSES, 0)} == {False}


def test_training_boxes_are_the_references_candidates_and_all_of_them() -> None:
    drawn = {c.box for c in choices("none", CLASSES, 0, times=5000)}
    assert drawn == set(multi_scale_crops(455, 256, 224, SCALES))


def test_the_choice_depends_on_the_seed_and_not_on_the_flip_setting() -> None:
    boxes = [[c.box for c in choices(flip, CLASSES, 0, times=50)] for flip in ("label", "reference", "none")]
    assert boxes[0] == boxes[1] == boxes[2]
