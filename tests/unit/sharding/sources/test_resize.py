import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import pytest
from av.video.reformatter import Interpolation

from sharding.format.mjpeg import Planes
from sharding.sources.decode import Unusable, read
from sharding.sources.resize import Resizer, target_size
from tests.unit.sharding.videos import picture, psnr, real_clips, shown, write_video

BT709 = 1
FULL_RANGE = 2


@pytest.mark.parametrize(
    ("source", "short_side", "enlarge", "target"),
    [
        ((427, 240), 256, True, (455, 256)),  # 455.47
        ((240, 427), 256, True, (256, 455)),
        ((320, 240), 256, True, (341, 256)),  # 341.33
        ((3, 2), 101, True, (152, 101)),  # 151.5 is rounded up
        ((176, 100), 256, True, (451, 256)),  # 450.56
        ((256, 256), 256, True, (256, 256)),
        ((176, 100), 256, False, (176, 100)),
        ((640, 480), 256, False, (341, 256)),
        ((641, 479), None, True, (641, 479)),
    ],
)
def test_the_shorter_side_is_given_and_the_longer_one_rounded_half_up(
    source: tuple[int, int], short_side: int | None, enlarge: bool, target: tuple[int, int]
) -> None:
    assert target_size(*source, short_side, enlarge) == target


@pytest.mark.parametrize(
    ("size", "aspect"), [((2000, 2), 1), ((64, 48), 2000), ((64, 48), Fraction(1, 2000))]
)
def test_a_size_that_no_frame_may_have_is_refused_before_memory_is_reserved(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], aspect: int | Fraction
) -> None:
    resize = Resizer(256, aspect=Fraction(aspect))
    monkeypatch.setattr(resize, "_swscale", None)
    with pytest.raises(Unusable, match="a side has 1 to 65500"):
        resize(av.VideoFrame(*size, "yuv420p"))


def reference(path: Path, width: int, height: int, limit: int) -> npt.NDArray[np.uint8]:
    """PyAV's own RGB, resized in the same way."""
    with av.open(str(path)) as container:
        frames = itertools.islice(container.decode(video=0), limit)
        return np.stack(
            [
                f.reformat(width, height, "rgb24", interpolation=Interpolation.BILINEAR).to_ndarray()
                for f in frames
            ]
        )


def as_bt709(source: Path, target: Path) -> Path:
    """The clip converted to BT.709 and tagged so, still limited range."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = writer.add_stream("libx264", rate=25, options={"crf": "10", "preset": "ultrafast"})
        first = reader.streams.video[0]
        stream.width, stream.height, stream.pix_fmt = first.width, first.height, "yuv420p"
        stream.codec_context.colorspace = BT709
        stream.codec_context.color_range = 1
        for frame in itertools.islice(reader.decode(video=0), 6):
            converted = frame.reformat(
                src_colorspace="ITU601", dst_colorspace="ITU709", format="rgb24"
            ).reformat(format="yuv420p", src_colorspace="ITU709", dst_colorspace="ITU709")
            converted.pts, converted.time_base = frame.pts, frame.time_base
            writer.mux(stream.encode(converted))
        writer.mux(stream.encode())
    return target


@pytest.mark.parametrize("name", ["bikes", "bigbuckbunny", "carphone_pristine"])
def test_colours_of_a_limited_range_bt601_clip_are_kept(name: str) -> None:
    ours = shown(real_clips()[name], limit=6)
    assert min(ours.shape[1:3]) == 256
    height, width = ours.shape[1:3]
    assert psnr(ours, reference(real_clips()[name], width, height, 6)) >= 35


def test_colours_of_a_bt709_clip_are_converted(tmp_path: Path) -> None:
    path = as_bt709(real_clips()["bikes"], tmp_path / "bt709.mp4")
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).colorspace == BT709
    ours = shown(path, limit=6)
    height, width = ours.shape[1:3]
    assert psnr(ours, reference(path, width, height, 6)) >= 35


@pytest.mark.parametrize(
    "pixels", ["yuv420p", "yuvj420p", "yuv422p", "yuv440p", "yuv444p", "yuv411p", "yuv410p", "yuv420p10le"]
)
def test_colours_are_right_from_every_pixel_format(tmp_path: Path, pixels: str) -> None:
    path = write_video(tmp_path / "v.mkv", 3, (96, 64), "ffv1" if "j" not in pixels else "mjpeg", pixels)
    ours = shown(path, short_side=64)
    for number, frame in enumerate(ours):
        assert psnr(frame, picture(number, 96, 64)) > 30


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv411p", "yuv410p"])
@pytest.mark.parametrize("size", [(97, 67), (98, 66), (99, 65)])
@pytest.mark.parametrize("short_side", [64, 256])
def test_colours_of_sides_that_chroma_goes_over_are_right(
    tmp_path: Path, pixels: str, size: tuple[int, int], short_side: int
) -> None:
    path = write_video(tmp_path / "v.mkv", 3, size, "ffv1", pixels)
    (first, *_) = shown(path, short_side=short_side)
    height, width = first.shape[:2]
    y, x = (
        (np.arange(height) + 0.5) * size[1] / height - 0.5,
        (np.arange(width) + 0.5) * size[0] / width - 0.5,
    )
    wanted = _smooth(x, y)
    assert np.abs(first.astype(float) - wanted).mean() < 8  # levels; chroma of four pixels is blurred


def _smooth(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """`picture` number 0 at these places."""
    x, y = np.meshgrid(x, y)
    return 127.5 + 120 * np.stack([np.sin(x / 11), np.cos(y / 9), np.sin((x + y) / 17)], axis=-1)


def test_a_full_range_clip_is_not_stretched_again(tmp_path: Path) -> None:
    path = tmp_path / "full.mkv"
    with av.open(str(path), "w") as writer:
        stream = writer.add_stream("ffv1", rate=12)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.codec_context.color_range = FULL_RANGE
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(picture(number, 96, 64), format="rgb24").reformat(
                format="yuv420p", dst_color_range="JPEG", dst_colorspace="ITU601"
            )
            frame.pts = number
            writer.mux(stream.encode(frame))
        writer.mux(stream.encode())
    for number, shot in enumerate(shown(path, short_side=64)):
        assert psnr(shot, picture(number, 96, 64)) > 30


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_a_rotation_flag_is_carried_out_as_ffmpeg_does(tmp_path: Path, degrees: int) -> None:
    path, turned = write_video(tmp_path / "v.mp4", 3, (64, 48), "libx264"), tmp_path / "turned.mp4"
    with av.open(str(path)) as reader, av.open(str(turned), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        for packet in reader.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                writer.mux(packet)
    set_rotation(turned, degrees)
    ours = shown(turned, short_side=48)
    plain = shown(path, short_side=48)
    assert np.abs(ours.astype(int) - np.rot90(plain, degrees // 90, axes=(1, 2))).mean() < 2
    assert ours.shape[1:3] == ((64, 48) if degrees != 180 else (48, 64))


def set_rotation(path: Path, degrees: int) -> None:
    """Put a rotation (counter-clockwise) in the track header of an MP4: the matrix lies at a fixed place of `tkhd`."""
    data = bytearray(path.read_bytes())
    place = data.index(b"tkhd") + 4 + 40
    a, b = {90: (0, -1), 180: (-1, 0), 270: (0, 1)}[degrees]
    matrix = [a, b, 0, -b, a, 0]
    for i, value in enumerate(matrix):
        data[place + 4 * i : place + 4 * i + 4] = (value * 65536).to_bytes(4, "big", signed=True)
    path.write_bytes(data)


@pytest.mark.parametrize("size", [(65, 49), (33, 48), (48, 33)])
def test_odd_sizes_are_kept(tmp_path: Path, size: tuple[int, int]) -> None:
    path = write_video(tmp_path / "v.mkv", 3, size, "ffv1", "yuv444p")
    for number, frame in enumerate(shown(path, short_side=None)):
        assert frame.shape[:2] == size[::-1]
        assert psnr(frame, picture(number, *size)) > 30


def planes_of(path: Path) -> list[Planes]:
    resize = Resizer(64)
    return [resize(frame) for _, frame in read(path).frames]


def test_resizing_is_the_same_in_every_run(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.webm", 4, (65, 47))
    first, second = planes_of(path), planes_of(path)
    assert all(
        np.array_equal(a, b) for p, q in zip(first, second, strict=True) for a, b in zip(p, q, strict=True)
    )


@pytest.mark.parametrize(
    ("size", "short_side", "target", "pixels", "covers"),
    [
        ((640, 360), 256, 455, "yuv420p", 2),
        ((455, 256), 360, 640, "yuv420p", 2),
        ((427, 240), 256, 455, "yuv420p", 2),
        ((640, 360), 288, 512, "yuv420p", 2),
        ((1279, 719), 1438, 2558, "yuv420p", 2),  # chroma is to be moved by more than a sample
        ((720, 480), 240, 360, "yuv411p", 4),  # as DV has it
        ((719, 480), 320, 479, "yuv411p", 4),
        ((638, 480), 320, 425, "yuv410p", 4),
    ],
)
def test_chroma_stays_over_its_luma_between_odd_and_even_sides(
    size: tuple[int, int], short_side: int, target: int, pixels: str, covers: int
) -> None:
    # Twenty waves of colour: half a sample of chroma at the far end is a twentieth of a wave, 30 levels.
    def wave(width: int, covers: int, amplitude: float) -> npt.NDArray[np.float64]:
        place = (2 * np.arange(-(-width // covers)) + 1) * covers / (2 * width)
        return 128 + amplitude * np.sin(place * 2 * np.pi * 20)

    frame = av.VideoFrame(*size, pixels)
    rows = [np.full(size[0], 120.0), wave(size[0], covers, 95), wave(size[0], covers, 95)]
    for plane, row in zip(frame.planes, rows, strict=True):
        content = np.zeros((plane.height, plane.line_size), np.uint8)
        content[:, : plane.width] = row.round()
        plane.update(content.tobytes())
    _, u, v = Resizer(short_side)(frame)
    expected = wave(target, 2, 95 * 255 / 224)
    assert u.shape[1] == len(expected)
    for colour in (u, v):
        error = np.abs(colour[len(colour) // 2] - expected)
        assert error[:-1].max() < 12  # the very last sample has no neighbour to be read from
