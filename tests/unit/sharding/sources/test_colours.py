"""Colours against an independent path: the standards' own equations in floating point, RGB to RGB."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest

from benchmarks.colours import components
from sharding.building import sample
from sharding.building.settings import Settings
from sharding.format import mjpeg
from sharding.lists.videos import Video
from sharding.sources.decode import read
from sharding.sources.resize import Resizer, target_size
from tests.unit.sharding.videos import write_video

Floats = npt.NDArray[np.float64]
LIMITED, FULL = 1, 2
TAGS = {"BT.601": 6, "BT.709": 1, "BT.2020": 9, "FCC": 4, "240M": 7}
WIDTH, HEIGHT = 192, 128


def colours() -> Floats:
    """Slow waves of all colours, RGB from 20 to 235, (height, width, 3)."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    waves = [np.sin(x / 30), np.cos(y / 25), np.sin((x + y) / 40)]
    return 127.5 + 107.5 * np.stack(waves, axis=-1)


def written(path: Path, planes: list[npt.NDArray[np.uint16]], pixels: str, space: int, span: int) -> Path:
    """Three lossless frames of these planes, tagged."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=12)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        stream.codec_context.colorspace, stream.codec_context.color_range = space, span
        for number in range(3):
            frame = av.VideoFrame(WIDTH, HEIGHT, pixels)
            frame.colorspace, frame.color_range = space, span
            for target, content in zip(frame.planes, planes, strict=True):
                kind = np.dtype("<u2" if "10" in pixels else "u1")
                rows = np.zeros((target.height, target.line_size // kind.itemsize), kind)
                rows[:, : content.shape[1]] = content
                target.update(rows.tobytes())
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def errors(path: Path, expected: Floats, short_side: int | None = None) -> Floats:
    """The mean error of red, green and blue as a reader of the shards sees them, through the best JPEG."""
    source = read(path)
    resize = Resizer(short_side)
    jpeg = mjpeg.encode_planes(resize(next(source.frames)[1]), 100)
    found = mjpeg.decode(jpeg, [0], [0], resize.size)[0]
    return (found.astype(np.float64) - expected).mean(axis=(0, 1))


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("span", [LIMITED, FULL])
@pytest.mark.parametrize("standard", sorted(TAGS))
def test_every_standard_comes_out_within_a_level(tmp_path: Path, standard: str, span: int, bits: int) -> None:
    rgb = colours()
    pixels = "yuv420p" if bits == 8 else "yuv420p10le"
    planes = components(rgb, standard, span == FULL, bits, 2, 2)
    path = written(tmp_path / "v.mkv", planes, pixels, TAGS[standard], span)
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_range) == (TAGS[standard], span)
    off = errors(path, rgb)
    assert np.abs(off).max() < 1, off
    if standard != "BT.601":
        assert np.abs(off).max() < 0.3, off  # where swscale's half level of chroma is made good


@pytest.mark.parametrize("standard", ["BT.709", "BT.2020"])
def test_a_standard_comes_out_within_a_level_at_another_size(tmp_path: Path, standard: str) -> None:
    planes = components(colours(), standard, False, 8, 2, 2)
    path = written(tmp_path / "v.mkv", planes, "yuv420p", TAGS[standard], LIMITED)
    small = colours().reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).mean(axis=(1, 3))
    assert np.abs(errors(path, small, HEIGHT // 2)).max() < 1


@pytest.mark.parametrize("span", [LIMITED, FULL])
def test_gray_is_of_the_range_it_is_tagged_with(tmp_path: Path, span: int) -> None:
    gray = colours()[..., 0].round()
    stored = gray if span == FULL else 16 + gray * 219 / 255
    path = written(tmp_path / "v.mkv", [stored.round().astype(np.uint16)], "gray", 2, span)
    assert np.abs(errors(path, np.repeat(gray[..., None], 3, axis=-1))).max() < 0.5


def test_a_limited_bt601_frame_is_what_it_was(tmp_path: Path) -> None:
    # Bytes of existing sets of such films, which are most, do not change: swscale's own, and nothing after it.
    path = written(tmp_path / "v.mkv", components(colours(), "BT.601", False, 8, 2, 2), "yuv420p", 2, LIMITED)
    frame = next(read(path).frames)[1]
    plain = frame.reformat(
        format="yuvj420p",
        src_colorspace=5,
        dst_colorspace=5,
        dst_color_range=FULL,
        interpolation=0x2 | 0xC0000,
    )
    for ours, theirs in zip(Resizer(None)(frame), plain.planes, strict=True):
        assert np.array_equal(
            ours, np.frombuffer(theirs, np.uint8).reshape(theirs.height, -1)[:, : theirs.width]
        )


@pytest.mark.parametrize(
    ("source", "aspect", "short_side", "enlarge", "target"),
    [
        ((360, 240), Fraction(4, 3), 240, True, (480, 240)),
        ((720, 480), Fraction(8, 9), 240, True, (320, 240)),
        ((720, 576), Fraction(64, 45), None, True, (1024, 576)),
        ((720, 576), Fraction(16, 15), 256, True, (341, 256)),
        ((300, 400), Fraction(2, 1), 200, True, (300, 200)),  # its height is the shorter side as shown
        ((100, 90), Fraction(1, 2), 256, False, (50, 90)),
        ((7, 5), Fraction(1, 100), None, True, (1, 5)),
    ],
)
def test_pixels_become_square(
    source: tuple[int, int], aspect: Fraction, short_side: int | None, enlarge: bool, target: tuple[int, int]
) -> None:
    assert target_size(*source, short_side, enlarge, aspect) == target


def test_a_sample_has_square_pixels_and_says_what_they_were(tmp_path: Path) -> None:
    path = tmp_path / "7.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12)
        stream.width, stream.height, stream.pix_fmt = 72, 48, "yuv420p"
        stream.sample_aspect_ratio = Fraction(8, 9)
        for number in range(4):
            frame = av.VideoFrame(72, 48, "yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    meta, jpegs = sample.encode(Video("7", "7.mkv", 0), tmp_path, Settings(short_side=48))
    jpegs.close()
    assert (meta["width"], meta["height"]) == (64, 48)
    assert (meta["source"]["width"], meta["source"]["height"]) == (72, 48)
    assert meta["source"]["sample_aspect_ratio"] == "8:9"
    write_video(tmp_path / "8.mkv", 4, (72, 48), "libx264")
    meta, jpegs = sample.encode(Video("8", "8.mkv", 0), tmp_path, Settings(short_side=48))
    jpegs.close()
    assert (meta["width"], meta["height"]) == (72, 48)
    assert "sample_aspect_ratio" not in meta["source"]


def test_the_recipe_holds_the_version_of_the_pixels() -> None:
    assert Settings().to_dict()["pixels"] == 2


def test_white_of_few_bits_is_white() -> None:
    frame = av.VideoFrame(64, 48, "rgb565le")
    for plane in frame.planes:
        plane.update(b"\xff" * plane.buffer_size)
    y, _, _ = Resizer(24)(frame)
    assert y.min() == 255
