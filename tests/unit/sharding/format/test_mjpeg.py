import functools
import io
from collections.abc import Iterator
from typing import get_args

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sharding.format import header, mjpeg, turbojpeg
from sharding.format.mjpeg import Colours
from sharding.format.turbojpeg import Region
from tests.conftest import need
from tests.unit.sharding.videos import picture

SIZE = (33, 24)


def blob_of(count: int = 5, size: tuple[int, int] = SIZE) -> tuple[bytes, list[int]]:
    jpegs = [mjpeg.encode_rgb(picture(4 * i, *size), 90) for i in range(count)]
    return b"".join(jpegs), [sum(map(len, jpegs[:i])) for i in range(count)]


def test_frames_come_back_in_the_order_asked_for() -> None:
    blob, offsets = blob_of()
    frames = mjpeg.decode(blob, offsets, [4, 0, 0, 2], SIZE)
    assert frames.shape == (4, 24, 33, 3) and frames.dtype == np.uint8
    for frame, number in zip(frames, [4, 0, 0, 2], strict=True):
        assert np.abs(frame.astype(int) - picture(4 * number, 33, 24)).mean() < 3
    assert np.array_equal(frames[1], frames[2])


def test_frames_equal_those_of_another_decoder() -> None:
    blob, offsets = blob_of(2)
    other = np.asarray(Image.open(io.BytesIO(blob[offsets[1] :])))
    assert np.abs(mjpeg.decode(blob, offsets, [1], SIZE)[0].astype(int) - other).max() <= 2


def test_decoding_goes_straight_into_the_given_buffer() -> None:
    blob, offsets = blob_of()
    out = np.zeros((2, 24, 33, 3), np.uint8)
    asked = []

    def room(shape: tuple[int, ...]) -> mjpeg.Array:
        asked.append(shape)
        return out

    assert mjpeg.decode(memoryview(blob), offsets, np.array([1, 3]), SIZE, room=room) is out
    assert asked == [(2, 24, 33, 3)]
    assert np.array_equal(out, mjpeg.decode(blob, offsets, [1, 3], SIZE))


def test_no_frames_is_an_empty_array() -> None:
    blob, offsets = blob_of()
    assert mjpeg.decode(blob, offsets, [], SIZE).shape == (0, 24, 33, 3)


@pytest.mark.parametrize("which", [[5], [-1]])
def test_a_frame_that_is_not_there_is_an_index_error(which: list[int]) -> None:
    with pytest.raises(IndexError):
        mjpeg.decode(*blob_of(), which, SIZE)


def test_no_memory_is_asked_for_frames_of_another_size() -> None:
    blob, offsets = blob_of()
    other = mjpeg.encode_rgb(picture(0, 40, 24), 90)
    with pytest.raises(ValueError, match="frame 5 is 40x24, should be 33x24"):
        mjpeg.decode(blob + other, [*offsets, len(blob)], [1, 5], SIZE, room=refuse)
    with pytest.raises(ValueError, match="frame 0 is 33x24, should be 65500x1000"):
        mjpeg.decode(blob, offsets, [0], (65500, 1000), room=refuse)


def refuse(shape: tuple[int, ...]) -> mjpeg.Array:
    raise AssertionError(f"asked for {shape}")


def test_damage_is_a_value_error() -> None:
    blob, offsets = blob_of(1)
    with pytest.raises(ValueError, match="JPEG"):
        mjpeg.decode(blob[: len(blob) // 2], offsets, [0], SIZE)
    with pytest.raises(ValueError, match=r"frame 7: .*JPEG"):
        mjpeg.check(7, blob[: len(blob) // 2], SIZE)
    with pytest.raises(ValueError, match="frame 0: not a JPEG"):
        mjpeg.decode(b"no picture", [0], [0], SIZE)
    mjpeg.check(0, blob, SIZE)
    with pytest.raises(ValueError, match="frame 0 is 33x24, should be 24x33"):
        mjpeg.check(0, blob, (24, 33))


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


def part_of(
    jpeg: bytes, box: tuple[int, int, int, int], colours: Colours = "RGB"
) -> tuple[mjpeg.Array, Region]:
    """`box` of the noise, and what was decoded for it."""
    x, y, w, h = box
    region = mjpeg.region_of(box, 75, 61)
    frames = mjpeg.decode(jpeg, [0], [0], (75, 61), colours, region)
    return frames[0, y - region.y : y - region.y + h, x - region.x : x - region.x + w], region


@given(
    left=st.integers(0, 74),
    upper=st.integers(0, 60),
    colours=st.sampled_from(get_args(Colours)),
    gray=st.booleans(),
    data=st.data(),
)
def test_a_box_of_a_frame_has_the_pixels_of_the_whole_frame(
    regions: None, left: int, upper: int, colours: Colours, gray: bool, data: st.DataObject
) -> None:
    jpeg = mjpeg.encode_gray(NOISE[..., 0], 90) if gray else mjpeg.encode_rgb(NOISE, 90)
    w, h = data.draw(st.integers(1, 75 - left)), data.draw(st.integers(1, 61 - upper))
    part, _ = part_of(jpeg, (left, upper, w, h), colours)
    whole = mjpeg.decode(jpeg, [0], [0], (75, 61), colours)[0]
    assert part.shape[-1] == (1 if colours == "GRAY" else 3)
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
    with pytest.raises(ValueError, match="frame 1 is 75x40, should be 75x61"):
        mjpeg.decode(jpeg + other, [0, len(jpeg)], [0, 1], (75, 61))


@pytest.mark.parametrize("size", [(75, 40), (50, 61)])
def test_a_frame_that_is_smaller_than_it_is_said_to_be_is_a_value_error(
    regions: None, size: tuple[int, int]
) -> None:
    width, height = size
    with pytest.raises(ValueError, match=f"frame 0 is {width}x{height}, should be 75x61"):
        part_of(mjpeg.encode_rgb(NOISE[:height, :width], 90), (20, 20, 50, 35))


CHROMA = {"4:4:4": "444", "4:2:2": "422", "4:2:0": "420", "4:4:0": "440", "4:1:1": "411", "gray": "Gray"}


@functools.cache
def coded(chroma: str, progressive: bool) -> bytes:
    """The noise as a JPEG of some kind."""
    gray = chroma == "gray"
    source = np.ascontiguousarray(NOISE[..., :1]) if gray else NOISE
    colours = "GRAY" if gray else "RGB"
    jpeg: bytes = simplejpeg.encode_jpeg(source, 90, colours, CHROMA[chroma])
    return transformed(jpeg) if progressive else jpeg


def transformed(jpeg: bytes) -> bytes:
    """The same coefficients in progressive scans."""
    with Image.open(io.BytesIO(jpeg)) as image:
        out = io.BytesIO()
        image.save(out, "JPEG", progressive=True, subsampling="keep", quality="keep")
    return out.getvalue()


@pytest.mark.parametrize("progressive", [False, True], ids=["baseline", "progressive"])
@pytest.mark.parametrize("chroma", CHROMA)
@given(data=st.data())
def test_other_kinds_of_jpeg_have_their_pixels_too(
    regions: None, chroma: str, progressive: bool, data: st.DataObject
) -> None:
    jpeg = coded(chroma, progressive)
    with Image.open(io.BytesIO(jpeg)) as image:
        assert bool(image.info.get("progressive")) == progressive
        expected = np.asarray(image.convert("RGB"))
    x, y = data.draw(st.integers(0, 74)), data.draw(st.integers(0, 60))
    w, h = data.draw(st.integers(1, 75 - x)), data.draw(st.integers(1, 61 - y))
    part, _ = part_of(jpeg, (x, y, w, h))
    assert np.array_equal(part, expected[y : y + h, x : x + w])
    mjpeg.check(0, jpeg, (75, 61))


def test_the_header_tells_the_kind() -> None:
    across = {chroma: header.read(coded(chroma, False)).across for chroma in CHROMA}
    assert across == {"4:4:4": 8, "4:2:2": 16, "4:2:0": 16, "4:4:0": 8, "4:1:1": 32, "gray": 8}
    assert header.read(coded("4:2:0", True)).progressive
    filled = coded("4:2:0", False).replace(
        b"\xff\xdb", b"\xff\xff\xff\xdb", 1
    )  # any marker may be preceded so
    assert header.read(filled)[:2] == (75, 61)


def claiming(width: int, height: int, marker: int = 0xC0, channels: int = 3, bits: int = 8) -> bytes:
    """A small JPEG that claims to be another one."""
    jpeg = bytearray(mjpeg.encode_rgb(NOISE[:8, :8], 90))
    at = jpeg.index(b"\xff\xc0")
    jpeg[at + 1], jpeg[at + 4], jpeg[at + 9] = marker, bits, channels
    jpeg[at + 5 : at + 9] = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return bytes(jpeg)


@pytest.mark.parametrize(
    ("jpeg", "says"),
    [
        (b"", "not a JPEG"),
        (b"\xff\xd8", "no frame header"),
        (b"\xff\xd8\xff\xd9", "no frame header"),
        (b"\xff\xd8" + b"\xff" * 99, "no frame header"),
        (b"\xff\xd8\xff\xe0\x00\x00" * 99, "no frame header"),
        (b"\xff\xd8\xff\xe0\xff\xff" + bytes(9), "no frame header"),
        (claiming(8, 8)[: claiming(8, 8).index(b"\xff\xc0") + 9], "its frame header is cut short"),
        (claiming(60000, 60000), "60000x60000 pixels, more than the 67108864 that a frame may have"),
        (claiming(60000, 60000, marker=0xC2), "60000x60000 pixels, more than"),
        (claiming(8192, 8192), r"8192x8192 pixels, which \d+ bytes cannot hold"),
        (claiming(8192, 8192, marker=0xC2), r"8192x8192 pixels, which \d+ bytes cannot hold"),
        (claiming(65535, 8), "65535x8 pixels; a side has 1 to 65500"),
        (claiming(8, 0), "8x0 pixels; a side"),
        (claiming(8, 8, marker=0xC3), "a lossless, arithmetic or 12-bit JPEG"),
        (claiming(8, 8, marker=0xC9), "a lossless, arithmetic or 12-bit JPEG"),
        (claiming(8, 8, bits=12), "a lossless, arithmetic or 12-bit JPEG"),
        (claiming(8, 8, channels=4), "a JPEG of 4 channels"),
        (claiming(8, 8, channels=0), "a JPEG of 0 channels"),
        (claiming(8, 8).replace(b"\x01\x22\x00", b"\x01\x02\x00"), r"sampled \[0, 1, 1\] times across"),
    ],
)  # fmt: skip
def test_what_no_decoder_should_see_is_refused_by_name(jpeg: bytes, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        header.read(jpeg)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_the_emptiest_picture_is_not_refused(mode: str, progressive: bool) -> None:
    out = io.BytesIO()
    Image.new(mode, (4096, 4096)).save(out, "JPEG", optimize=True, progressive=progressive)
    mjpeg.check(0, out.getvalue(), (4096, 4096))


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
