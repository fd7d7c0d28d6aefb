"""Films as people have them: times that run backwards, containers without an index, covers, fields, playlists."""

import io
import os
import shutil
import struct
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from sharding.sources.count import expected_frames
from sharding.sources.decode import Unusable, at_most_fps, read
from tests.unit.sharding.videos import picture, psnr, real_clips, shown, write_video

GOP = {"g": "10", "bf": "2"}


class Memory(io.BytesIO):
    """A film in memory, of the name that it has in its folder."""

    name: str


def in_memory(path: Path) -> Memory:
    video = Memory(path.read_bytes())
    video.name = path.name
    return video


def told(video: Path | Memory, start: float | None = None) -> object:
    """All that is read of a film, or why it is not."""
    try:
        source = read(video, start)
        frames = [(time, frame.to_ndarray().tobytes()) for time, frame in source.frames]
    except Unusable as reason:
        return str(reason)
    return source.codec, source.fps, source.aspect, source.notes, frames


def moments(path: Path, start: float | None = None, end: float | None = None) -> list[int]:
    """The times of all frames in twelfths of a second."""
    return [round(12 * time) for time, _ in read(path, start, end).frames]


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [("avi", "libx264"), ("avi", "mpeg4"), ("mkv", "mpeg4"), ("ts", "libx264"), ("flv", "libx264")],
)
def test_times_of_frames_stored_in_another_order_never_run_backwards(
    tmp_path: Path, suffix: str, codec: str
) -> None:
    path = write_video(tmp_path / f"v.{suffix}", 40, (64, 48), codec, options=GOP)
    assert moments(path) == list(range(40))
    thinned = [round(12 * time) for time, _ in at_most_fps(read(path).frames, 4)]
    assert thinned == list(range(0, 40, 3))
    for number, frame in enumerate(shown(path, limit=12, short_side=48)):
        assert psnr(frame, picture(number, 64, 48)) > 20


@pytest.mark.parametrize(("start", "end"), [(0.5, 1.5), (2.0, None), (None, 1.0), (2.75, 3.0)])
def test_a_cut_of_a_film_without_times_of_being_shown_has_its_frames(
    tmp_path: Path, start: float | None, end: float | None
) -> None:
    path = write_video(tmp_path / "v.avi", 40, (64, 48), "libx264", options=GOP)
    assert moments(path, start, end) == [i for i in range(40) if (start or 0) <= i / 12 < (end or 99)]


def test_frames_that_were_stamped_as_stored_are_shown_in_order(tmp_path: Path) -> None:
    # As some muxers write it: the time of being shown is the place in the file.
    source, path = (
        write_video(tmp_path / "v.mp4", 40, (64, 48), "libx264", options=GOP),
        tmp_path / "wrong.mkv",
    )
    with av.open(str(source)) as reader, av.open(str(path), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        for number, packet in enumerate(p for p in reader.demux(video=0) if p.dts is not None):
            packet.stream, packet.time_base = stream, Fraction(1, 12)
            packet.pts = packet.dts = number
            writer.mux(packet)
    with av.open(str(path)) as container:
        stamps = [f.pts for f in container.decode(video=0)]
    assert stamps != sorted(stamps)
    assert moments(path) == list(range(40))


def test_a_second_recording_in_the_same_stream_goes_on_where_the_first_ended(tmp_path: Path) -> None:
    one = write_video(tmp_path / "one.ts", 36, (64, 48), "mpeg2video", options={"g": "6", "bf": "0"})
    (tmp_path / "two.ts").write_bytes(2 * one.read_bytes())
    times = [time for time, _ in read(tmp_path / "two.ts").frames]
    assert len(times) == 72
    assert np.allclose(np.diff(times), 1 / 12, atol=1e-4)


@pytest.mark.parametrize("suffix", ["ts", "mpg"])
@pytest.mark.parametrize("depth", [0, 2])
@pytest.mark.parametrize(
    ("start", "end"), [(0.25, 1.0), (0.5, 2.5), (2.5, 3.5), (4.0, None), (5.25, 5.75), (11.0, 12.0)]
)
def test_a_cut_of_a_container_without_an_index_has_all_its_frames(
    tmp_path: Path, suffix: str, depth: int, start: float, end: float | None
) -> None:
    codec = "libx264" if suffix == "ts" else "mpeg2video"
    path = write_video(tmp_path / f"v.{suffix}", 160, (64, 48), codec, options={"g": "25", "bf": str(depth)})
    expected = [i for i in range(160) if start <= i / 12 < (end or 99)]
    assert moments(path, start, end) == expected
    whole = [frame.to_ndarray(format="gray") for _, frame in read(path).frames]
    cut = [frame.to_ndarray(format="gray") for _, frame in read(path, start, end).frames]
    assert all(np.array_equal(a, whole[i]) for a, i in zip(cut, expected, strict=True))


def with_cover(source: Path, target: Path) -> Path:
    """The film behind a picture of it, as downloaders with thumbnails write it."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        cover = writer.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        film = writer.add_stream_from_template(reader.streams.video[0])
        frame = av.VideoFrame.from_ndarray(picture(0, 64, 48), format="rgb24").reformat(format="yuvj420p")
        for packet in [*cover.encode(frame), *cover.encode()]:
            writer.mux(packet)
        for moved in reader.demux(video=0):
            if moved.dts is not None:
                moved.stream = film
                writer.mux(moved)
    return target


def test_a_cover_is_not_the_film(tmp_path: Path) -> None:
    path = with_cover(write_video(tmp_path / "v.mp4", 8, (64, 48), "libx264"), tmp_path / "cover.mp4")
    with av.open(str(path)) as container:
        covers = [bool(s.disposition & av.stream.Disposition.attached_pic) for s in container.streams.video]
    assert sorted(covers) == [False, True]
    assert read(path).codec == "h264"
    assert len(moments(path)) == 8


def interlaced_film(path: Path, frames: int = 12) -> Path:
    """A bar that moves sideways, each row taken half a frame later than the one above: combs at its edges."""
    with av.open(str(path), "w") as container:
        options = {"flags": "+ildct+ilme", "b": "4000000"}
        stream = container.add_stream("mpeg2video", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = 1, 1
        for number in range(frames):
            rows = np.full((144, 128), 128, np.uint8)
            rows[:96] = 30
            for row in range(96):
                place = 8 * number + 4 * (row % 2)
                rows[row, place : place + 24] = 220
            frame = av.VideoFrame.from_ndarray(rows, format="yuv420p")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def combs(rows: np.ndarray[tuple[int, int], np.dtype[np.uint8]]) -> float:
    """How much more a row differs from its neighbour than from the one after."""
    values = rows.astype(int)
    return float(np.abs(values[1:-1] - values[:-2]).mean() - np.abs(values[2:] - values[:-2]).mean())


def test_film_in_fields_is_made_whole_frames_and_recorded(tmp_path: Path) -> None:
    path = interlaced_film(tmp_path / "v.mpg")
    with av.open(str(path)) as container:
        raw = list(container.decode(video=0))
        assert all(frame.interlaced_frame for frame in raw)
        plain = [combs(frame.to_ndarray()[:96]) for frame in raw]
    source = read(path)
    found = list(source.frames)
    assert source.notes["interlaced"] is True
    assert [round(25 * time) for time, _ in found] == list(range(12))
    assert {(frame.colorspace, frame.color_range) for _, frame in found} == {(1, 1)}  # for what comes next
    mended = [combs(frame.to_ndarray()[:96]) for _, frame in found]
    assert min(plain) > 5 and max(mended) < 1
    assert [round(25 * time) for time, _ in read(path, 0.2, 0.4).frames] == [5, 6, 7, 8, 9]


def test_film_in_whole_frames_is_left_alone(tmp_path: Path) -> None:
    source = read(write_video(tmp_path / "v.mp4", 8, codec="libx264"))
    list(source.frames)
    assert source.notes == {}


@pytest.mark.parametrize("suffix", ["ts", "mpg", "ogv", "flv"])
def test_a_container_that_cannot_tell_whether_it_is_whole_is_recorded(tmp_path: Path, suffix: str) -> None:
    codec = {"ogv": "libtheora", "mpg": "mpeg2video"}.get(suffix, "libx264")
    if codec not in av.codecs_available:
        codec, suffix = "libvpx", "ogv"
    source = read(write_video(tmp_path / f"v.{suffix}", 8, codec=codec))
    list(source.frames)
    assert source.notes == {"end": "not stated"}


def ogm(frames: int, empty: set[int]) -> bytes:
    """A gray film of raw frames in Ogg at 12 fps, each brighter than the last; those of `empty` are without content."""
    what = b"\x01video\0\0\0I420" + struct.pack("<IqqIIHHII", 52, 10_000_000 // 12, 1, 1, 1, 12, 0, 16, 16)
    packets = [what, b"\x03vorbis" + bytes(8) + b"\x01"]
    packets += [
        b"\x08" + (b"" if number in empty else bytes([20 * number]) * 384) for number in range(frames)
    ]
    pages = b""
    for number, packet in enumerate(packets):
        kind = {0: 2, len(packets) - 1: 4}.get(number, 0)
        head = struct.pack("<4sBBqIII", b"OggS", 0, kind, max(0, number - 2), 1, number, 0)
        lengths = [255] * (len(packet) // 255) + [len(packet) % 255]
        page = bytearray(head + bytes([len(lengths), *lengths]) + packet)
        page[22:26] = ogg_checksum(page).to_bytes(4, "little")
        pages += page
    return pages


def ogg_checksum(page: bytearray) -> int:
    found = 0
    for byte in page:
        found ^= byte << 24
        for _ in range(8):
            found = (found << 1) ^ (0x104C11DB7 if found >> 31 else 0)
    return found


def test_a_packet_without_content_is_no_frame(tmp_path: Path) -> None:
    # In Theora and old AVI films in Ogg it says that the frame before it stays.
    path = tmp_path / "v.ogm"
    path.write_bytes(ogm(10, empty={3, 4, 7}))
    shades = [(round(12 * time), int(frame.to_ndarray()[0, 0])) for time, frame in read(path).frames]
    assert shades == [(number, 20 * number) for number in (0, 1, 2, 5, 6, 8, 9)]
    assert expected_frames(path, None, None, None) == len(shades)
    path.write_bytes(ogm(10, empty={8, 9}))
    assert moments(path) == [0, 1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
@pytest.mark.parametrize("padding", [b"\0", b"\xff"])
def test_padding_behind_a_transport_stream_is_no_damage(tmp_path: Path, codec: str, padding: bytes) -> None:
    path = write_video(tmp_path / "v.ts", 30, codec=codec)
    whole, data = told(path), path.read_bytes()
    path.write_bytes(data + 300_000 * padding)
    assert told(path) == told(in_memory(path)) == whole
    assert moments(path, 1.0) == list(range(12, 30))
    middle = len(data) // 2 // 188 * 188
    path.write_bytes(data[:middle] + 300_000 * padding + data[middle:])
    assert told(path) == "cannot be decoded: a stretch in the middle of it is no MPEG-TS"


def test_playlists_and_text_are_no_films(tmp_path: Path) -> None:
    folder, secret = tmp_path / "videos", tmp_path / "secret"
    folder.mkdir()
    secret.mkdir()
    film = write_video(secret / "s.ts", 24, codec="libx264")
    shutil.copy(film, folder / "s.ts")
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:2.0,\n{}\n#EXT-X-ENDLIST\n"
    (folder / "absolute.m3u8").write_text(hls.format(film))
    (folder / "above.m3u8").write_text(hls.format("../secret/s.ts"))
    (folder / "concat.mp4").write_text("ffconcat version 1.0\nfile s.ts\n")
    (folder / "page.txt").write_text("a page of text\n" * 200)
    (folder / "page.ans").write_text("\x1b[1mtext\n" * 200)
    (folder / "call.sdp").write_text(
        "v=0\no=- 0 0 IN IP4 127.0.0.1\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\n"
    )
    for name in ("absolute.m3u8", "above.m3u8", "concat.mp4", "page.txt", "page.ans", "call.sdp"):
        for video in (folder / name, in_memory(folder / name)):
            with pytest.raises(Unusable, match=r"not a file format of films|cannot be decoded"):
                list(read(video).frames)
            assert expected_frames(video, None, None, None) is None
    assert expected_frames(film, None, None, None) == 24
    for number in range(4):
        shutil.copy(film, folder / f"v{number}.ts")
    with pytest.raises(Unusable, match="no such file"):
        read(folder / "v%d.ts")


def test_what_is_no_regular_file_fails_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "zero.mp4").symlink_to("/dev/zero")
    (tmp_path / "folder.mp4").mkdir()
    began = time.monotonic()
    with pytest.raises(Unusable, match="a pipe, not a file"):
        read(tmp_path / "pipe.mp4")
    with pytest.raises(Unusable, match="a device, not a file"):
        read(tmp_path / "zero.mp4")
    with pytest.raises(Unusable, match="a folder without pictures"):
        read(tmp_path / "folder.mp4")
    for name in ("pipe.mp4", "zero.mp4", "folder.mp4", "none.mp4"):
        assert expected_frames(tmp_path / name, None, None, None) is None
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("webm", "libvpx"),
        ("mp4", "libx264"),
        ("mov", "libx264"),
        ("3gp", "mpeg4"),
        ("avi", "mpeg4"),
        ("flv", "flv1"),
        ("mpg", "mpeg1video"),
        ("vob", "mpeg2video"),
        ("ts", "libx264"),
        ("wmv", "wmv2"),
        ("mxf", "mpeg2video"),
        ("ivf", "libvpx"),
        ("h264", "libx264"),
        ("m4v", "mpeg4"),
        ("gif", "gif"),
        ("y4m", "wrapped_avframe"),
    ],
)
def test_formats_of_films_are_read(tmp_path: Path, suffix: str, codec: str) -> None:
    pixels = "rgb8" if codec == "gif" else "yuv420p"
    size = (176, 144)
    codec = {"flv1": "flv"}.get(codec, codec)
    path = tmp_path / f"v.{suffix}"
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24").reformat(format=pixels)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    assert len(list(read(path).frames)) == 10


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("webm", "libvpx"),
        ("mp4", "libx264"),
        ("avi", "libx264"),
        ("avi", "mpeg4"),
        ("ts", "libx264"),
        ("mpg", "mpeg2video"),
        ("flv", "libx264"),
        ("h264", "libx264"),
    ],
)
def test_a_film_in_memory_is_read_as_in_a_file(tmp_path: Path, suffix: str, codec: str) -> None:
    path = write_video(
        tmp_path / f"v.{suffix}", 40, (64, 48), codec, options={} if codec == "libvpx" else GOP
    )
    data = path.read_bytes()
    for start in (None, 0.5, 2.75):
        found = told(in_memory(path), start)
        assert not isinstance(found, str) and found == told(path, start)
    for changed in (b"", data[:10], data[: len(data) // 2], data[:-20], data + bytes(64)):
        path.write_bytes(changed)
        assert told(in_memory(path)) == told(path)


def test_films_in_memory_are_held_to_the_same_guards(tmp_path: Path) -> None:
    data = write_video(tmp_path / "v.avi", 8, (64, 48), "mpeg4").read_bytes()
    for name, content, says in (
        ("huge.y4m", b"YUV4MPEG2 W9000 H9000 F12:1 C420\nFRAME\n" + bytes(999), "pixels"),
        ("cut.avi", data[: len(data) // 2], "truncated: "),
        ("empty.avi", b"", "empty file"),
    ):
        (tmp_path / name).write_bytes(content)
        assert says in str(told(in_memory(tmp_path / name))), name
        assert told(in_memory(tmp_path / name)) == told(tmp_path / name)


def test_real_clips_are_read_as_before() -> None:
    for path in real_clips().values():
        with av.open(str(path)) as container:
            count = sum(1 for _ in container.decode(video=0))
        source = read(path)
        times = [time for time, _ in source.frames]
        assert len(times) == count and times == sorted(times)
        assert source.notes == ({} if source.aspect == 1 else {"sample_aspect_ratio": "128:117"})


def test_a_codec_that_is_not_known_is_a_failure(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.mp4", codec="libx264")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz1"))
    with pytest.raises(Unusable, match="its codec is not known here"):
        read(path)
