"""Operations on clips: every frame alike, in place, in the memory order of the pipeline, nothing mirrored."""

import pytest
import torch

from pipeline.augmentation.operations import NAMES, Operation
from pipeline.augmentation.pixels import change
from pipeline.data.stream import empty_clips

VALUES = {
    "posterize": 4,
    "solarize": 140,
    "brightness": 1.6,
    "contrast": 0.3,
    "saturation": 1.8,
    "sharpness": 1.9,
    "rotate": 27,
    "shear_x": 0.27,
    "shear_y": -0.27,
    "translate_x": 0.18,
    "translate_y": -0.18,
}
SIZE = 40


def picture(seed: int = 0) -> torch.Tensor:
    """uint8 (3, SIZE, SIZE): soft, off the middle, of levels 40 to 220."""
    generator = torch.Generator().manual_seed(seed)
    corners = 40 + 180 * torch.rand(1, 3, 5, 5, generator=generator)
    return torch.nn.functional.interpolate(corners, SIZE, mode="bilinear")[0].to(torch.uint8)


def clip_of(*frames: torch.Tensor) -> torch.Tensor:
    clip = empty_clips(1, (len(frames), 3, SIZE, SIZE))[0]
    clip.copy_(torch.stack(frames))
    return clip


@pytest.mark.parametrize("name", NAMES)
def test_equal_frames_stay_equal_and_the_memory_stays_the_same(name: str) -> None:
    clip = clip_of(*[picture()] * 4)
    memory, strides = clip.data_ptr(), clip.stride()
    change(clip, [Operation(name, VALUES.get(name, 0))])
    assert (clip.data_ptr(), clip.stride()) == (memory, strides)
    assert clip.dtype == torch.uint8
    assert all(torch.equal(frame, clip[0]) for frame in clip)
    assert torch.equal(clip[0], picture()) == (name == "identity")


@pytest.mark.parametrize("name", ["autocontrast", "equalize", "contrast", "brightness", "saturation"])
def test_levels_are_mapped_alike_in_bright_and_in_dark_frames(name: str) -> None:
    """By frame, a dark one would be stretched more than a bright one, and a clip would flicker."""
    dark = picture() // 3
    dark[:, :8] = 77
    bright = picture()
    bright[:, :8] = 77
    clip = clip_of(dark, bright)
    change(clip, [Operation(name, VALUES.get(name, 0))])
    assert torch.equal(clip[0, :, :8], clip[1, :, :8])


def test_what_is_not_changed_is_left_alone() -> None:
    clip = clip_of(picture())
    change(clip, [])
    change(clip, [Operation("identity")])
    for name, value in (
        ("brightness", 1.0),
        ("rotate", 0.0),
        ("shear_x", 0.0),
        ("posterize", 8),
        ("solarize", 256),
    ):
        change(clip, [Operation(name, value)])
    assert torch.equal(clip[0], picture())


def test_white_is_inverted_last_of_all() -> None:
    white = torch.full((3, SIZE, SIZE), 255, dtype=torch.uint8)
    for value, expected in ((256.0, 255), (255.0, 0)):
        clip = clip_of(white)
        change(clip, [Operation("solarize", value)])
        assert (clip == expected).all()


def test_they_are_carried_out_in_their_order() -> None:
    steps = [Operation("brightness", 1.9), Operation("posterize", 4)]
    one, other = clip_of(picture()), clip_of(picture())
    change(one, steps)
    for step in steps:
        change(other, [step])
    assert torch.equal(one, other)
    backwards = clip_of(picture())
    change(backwards, steps[::-1])
    assert not torch.equal(one, backwards)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("solarize",)])
@pytest.mark.parametrize("direction", [-1, 1])
def test_left_stays_left_and_up_stays_up(name: str, direction: int) -> None:
    """A bright spot at the left edge's middle, then one at the top's: never on the other side."""
    value = VALUES.get(name, 0.0)
    if name in ("rotate", "shear_x", "shear_y", "translate_x", "translate_y"):
        value *= direction
    for y, x in ((SIZE // 2, 9), (9, SIZE // 2)):
        frame = torch.full((3, SIZE, SIZE), 60, dtype=torch.uint8)
        frame[:, y - 3 : y + 4, x - 3 : x + 4] = 200
        clip = clip_of(frame)
        change(clip, [Operation(name, value)])
        spot = clip[0].float().mean(0)
        rows, columns = torch.nonzero(spot >= spot.max() - 1, as_tuple=True)
        if x < SIZE // 2:
            assert columns.float().mean() < SIZE // 2
        else:
            assert rows.float().mean() < SIZE // 2


def test_a_shift_moves_by_its_share_and_what_comes_in_is_zero_for_the_network() -> None:
    clip = clip_of(picture())
    change(clip, [Operation("translate_x", 0.2)])
    moved = round(0.2 * SIZE)
    assert torch.equal(clip[0, :, :, moved:], picture()[:, :, :-moved])
    assert clip[0, :, 0, 0].tolist() == [124, 116, 104]
