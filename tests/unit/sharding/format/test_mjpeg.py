import io
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sharding.format import mjpeg, turbojpeg
from sharding.format.turbojpeg import Region
from tests.conftest import need
from tests.unit.sharding.videos import picture


def blob_of(count: int = 5, size: tuple[int, int] = (33, 24)) -> tuple[bytes, list[int]]:
    jpegs = [mjpeg.encode_rgb(picture(4 * i, *size), 90) for i in range(count)]
    return b"".join(jpegs), [sum(map(len, jpegs[:i])) for i in range(count)]


def test_frames_come_back_in_the_order_asked_for() -> None:
    blob, offsets = blob_of()
    frames = mjpeg.decode(blob, offsets, [4, 0, 0, 2])
    assert frames.shape == (4, 24, 33, 3) and frames.dtype == np.uint8
    for frame, number in zip(frames, [4, 0, 0, 2], strict=True):
        assert np.abs(frame.astype(int) - picture(4 * number, 33, 24)).mean() < 3
    assert np.array_equal(frames[1], frames[2])


def test_frames_equal_those_of_another_decoder() -> None:
    blob, offsets = blob_of(2)
    other = np.asarray(Image.open(io.BytesIO(blob[offsets[1] :])))
    assert np.abs(mjpeg.decode(blob, offsets, [1])[0].astype(int) - other).max() <= 2


def test_decoding_goes_straight_into_the_given_buffer() -> None:
    blob, offsets = blob_of()
    out = np.zeros((2, 24, 33, 3), np.uint8)
    assert mjpeg.decode(memoryview(blob), offsets, np.array([1, 3]), out=out) is out
    assert np.array_equal(out, mjpeg.decode(blob, offsets, [1, 3]))


def test_no_frames_is_an_empty_array() -> None:
    blob, offsets = blob_of()
    assert len(mjpeg.decode(blob, offsets, [])) == 0


@pytest.mark.parametrize("which", [[5], [-1]])
def test_a_frame_that_is_not_there_is_an_index_error(which: list[int]) -> None:
    with pytest.raises(IndexError):
        mjpeg.decode(*blob_of(), which)


def test_a_buffer_of_another_shape_is_refused() -> None:
    blob, offsets = blob_of()
    for shape in [(1, 24, 33, 3), (2, 25, 33, 3), (2, 24, 40, 3)]:
        with pytest.raises(ValueError, match=r"out of shape|expected"):
            mjpeg.decode(blob, offsets, [0, 1], out=np.zeros(shape, np.uint8))
    with pytest.raises(ValueError, match="contiguous"):
        mjpeg.decode(blob, offsets, [0, 1], out=np.zeros((2, 24, 66, 3), np.uint8)[:, :, ::2])


def test_damage_is_a_value_error() -> None:
    blob, offsets = blob_of(1)
    with pytest.raises(ValueError, match="JPEG"):
        mjpeg.decode(blob[: len(blob) // 2], offsets, [0])
    with pytest.raises(ValueError, match="JPEG"):
        mjpeg.check(blob[: len(blob) // 2])
    with pytest.raises(ValueError):
        mjpeg.decode(b"no picture", [0], [0])
    assert mjpeg.check(blob) == mjpeg.size(blob) == (33, 24)


NOISE = np.random.default_rng(0).integers(0, 256, (61, 75, 3), np.uint8)
"""Every pixel differs, so that nothing wrong goes unseen."""


@pytest.fixture(params=["simplejpeg", "libturbojpeg"], scope="module")
def regions(request: pytest.FixtureRequest) -> Iterator[None]:
    """Both ways to decode a part of a frame."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "simplejpeg":
            patch.setattr(turbojpeg, "available", lambda: False)
        else:
            need(turbojpeg.available(), "no libturbojpeg 3")
        yield


def part_of(jpeg: bytes, box: tuple[int, int, int, int], bgr: bool = False) -> tuple[mjpeg.Array, Region]:
    """`box` of the noise, and what was decoded for it."""
    x, y, w, h = box
    region = mjpeg.region_of(box, 75, 61)
    out = np.empty((1, region.height, region.width, 3), np.uint8)
    frames = mjpeg.decode(jpeg, [0], [0], out, bgr, region)
    return frames[0, y - region.y : y - region.y + h, x - region.x : x - region.x + w], region


@given(left=st.integers(0, 74), upper=st.integers(0, 60), bgr=st.booleans(), data=st.data())
def test_a_box_of_a_frame_has_the_pixels_of_the_whole_frame(
    regions: None, left: int, upper: int, bgr: bool, data: st.DataObject
) -> None:
    jpeg = mjpeg.encode_rgb(NOISE, 90)
    w, h = data.draw(st.integers(1, 75 - left)), data.draw(st.integers(1, 61 - upper))
    part, _ = part_of(jpeg, (left, upper, w, h), bgr)
    whole = mjpeg.decode(jpeg, [0], [0], bgr=bgr)[0]
    assert np.array_equal(part, whole[upper : upper + h, left : left + w])


def test_little_more_than_a_box_is_decoded(regions: None) -> None:
    jpeg = mjpeg.encode_rgb(NOISE, 90)
    _, region = part_of(jpeg, (40, 30, 20, 10))
    assert region == ((32, 28, 30, 14) if turbojpeg.available() else (0, 0, 75, 42))


def test_damage_in_a_part_of_a_frame_is_a_value_error(regions: None) -> None:
    jpeg = mjpeg.encode_rgb(NOISE, 90)
    if turbojpeg.available():  # simplejpeg takes what is cut off for what is left out
        with pytest.raises(ValueError, match="damaged JPEG"):
            part_of(jpeg[: len(jpeg) // 3], (0, 20, 20, 30))
    with pytest.raises(ValueError):
        part_of(b"no picture", (0, 0, 20, 20))
    other = mjpeg.encode_rgb(NOISE[:40], 90)
    with pytest.raises(ValueError, match="expected"):
        mjpeg.decode(jpeg + other, [0, len(jpeg)], [0, 1], np.empty((2, 61, 75, 3), np.uint8))


@pytest.mark.parametrize("size", [(75, 40), (50, 61)])
def test_a_frame_that_is_smaller_than_it_is_said_to_be_is_a_value_error(
    regions: None, size: tuple[int, int]
) -> None:
    width, height = size
    with pytest.raises(ValueError, match="not within a frame"):
        part_of(mjpeg.encode_rgb(NOISE[:height, :width], 90), (20, 20, 50, 35))


@pytest.mark.parametrize("size", [(33, 24), (32, 25), (17, 19), (32, 24)])
def test_bytes_do_not_depend_on_what_lies_behind_the_planes(size: tuple[int, int]) -> None:
    # The encoder reads luma up to even sides. Decoders leave there whatever was in memory.
    width, height = size
    luma = picture(0, width, height)[..., 0]
    chroma = picture(1, (width + 1) // 2, (height + 1) // 2)
    results = set()
    for fill in (0, 100, 255):
        y = np.full((height + 2, width + 13), fill, np.uint8)
        y[:height, :width] = luma
        results.add(
            mjpeg.encode_planes((y[:height, :width], chroma[..., 0].copy(), chroma[..., 1].copy()), 90)
        )
    assert len(results) == 1
    gray = np.asarray(Image.open(io.BytesIO(results.pop())).convert("L"))
    assert gray.shape == (height, width)
