import errno
import os
import resource
from collections.abc import Iterable, Iterator
from pathlib import Path

import av
import pytest
from PIL import Image

from sharding.archives.films import Films
from sharding.archives.spans import Span
from sharding.building import sample, spool
from sharding.building.settings import Settings
from sharding.format import mjpeg
from sharding.format.shard import member_fault
from sharding.lists.videos import Video
from sharding.sources import blame, count, decode, times
from sharding.sources.decode import Unusable
from tests.unit.sharding.videos import picture, psnr, write_video


def test_a_sample_says_all_that_is_known(tmp_path: Path) -> None:
    write_video(tmp_path / "7.webm", 6, (64, 48))
    video = Video("7", "7.webm", 3, about={"template": "Pushing [something]", "text": "pushing a pen"})
    meta, jpegs = sample.encode(video, tmp_path, Settings(short_side=96))
    with jpegs:
        content = b"".join(jpegs)
    assert meta | {"offsets": None} == {
        "label": 3,
        "frames": 6,
        "offsets": None,
        "width": 128,
        "height": 96,
        "fps": 12.0,
        "source": {"fps": 12.0, "width": 64, "height": 48, "codec": "vp8"},
        "template": "Pushing [something]",
        "text": "pushing a pen",
    }
    assert meta["offsets"][0] == 0 and len(meta["offsets"]) == 6
    assert mjpeg.decode(content, meta["offsets"], range(6), (128, 96)).shape == (6, 96, 128, 3)


def test_frames_that_no_reader_would_take_are_not_written(tmp_path: Path) -> None:
    folder = tmp_path / "7"
    folder.mkdir()
    Image.new("L", (8200, 8200)).save(folder / "00001.jpg")
    with pytest.raises(Unusable, match="8200x8200 pixels, more than the 67108864 that a frame may have"):
        sample.encode(Video("7", "7", 0), tmp_path, Settings(short_side=None))


def test_a_long_video_goes_through_a_temporary_file_unchanged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "7.webm", 20, (64, 48))
    video, settings = Video("7", "7.webm", 0), Settings()
    contents = []
    for limit in (1 << 25, 1000):
        monkeypatch.setattr(spool, "IN_MEMORY_BYTES", limit)
        meta, jpegs = sample.encode(video, tmp_path, settings)
        with jpegs:
            contents.append((meta, b"".join(jpegs)))
    assert contents[0] == contents[1]


def test_at_most_so_many_frames_are_spread_over_the_video(tmp_path: Path) -> None:
    write_video(tmp_path / "7.mkv", 12, (64, 48), "ffv1", "yuv444p")
    meta, jpegs = sample.encode(Video("7", "7.mkv", 0), tmp_path, Settings(short_side=48, max_frames=4))
    with jpegs:
        frames = mjpeg.decode(b"".join(jpegs), meta["offsets"], range(4), (64, 48))
    assert (meta["frames"], meta["fps"]) == (4, 4.0)
    for frame, number in zip(frames, [1, 4, 7, 10], strict=True):
        assert psnr(frame, picture(number, 64, 48)) > 30


def encoded(
    monkeypatch: pytest.MonkeyPatch, video: Video, folder: Path | Films, settings: Settings
) -> tuple[object, bytes, int]:
    """What a video gives, and how many of its frames were encoded for it."""
    calls = []
    real = mjpeg.encode_planes
    with monkeypatch.context() as patch:
        patch.setattr(mjpeg, "encode_planes", lambda *words: calls.append(1) or real(*words))
        meta, jpegs = sample.encode(video, folder, settings)
    with jpegs:
        return meta, b"".join(jpegs), len(calls)


@pytest.mark.parametrize("name", ["7.webm", "7.mkv", "7.mp4", "7.avi"])
@pytest.mark.parametrize("fps", [None, 5])
@pytest.mark.parametrize(("start", "end"), [(None, None), (1.0, 3.0), (0.5, None)])
def test_only_the_frames_that_are_kept_are_encoded(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    fps: float | None,
    start: float | None,
    end: float | None,
) -> None:
    write_video(tmp_path / name, 48, codec={"webm": "libvpx", "mkv": "ffv1"}.get(name[2:], "mpeg4"))
    video, settings = Video("7", name, 0, start, end), Settings(short_side=48, max_frames=4, fps=fps)
    meta, blob, calls = encoded(monkeypatch, video, tmp_path, settings)
    assert calls == 4
    # However wrong the guess was, the frames are the same: too many, too few, fewer than are wanted, unknown.
    for guess in (100, 20, 5, 2, None):
        monkeypatch.setattr(count, "expected_frames", lambda *_, guess=guess: guess)
        assert encoded(monkeypatch, video, tmp_path, settings)[:2] == (meta, blob)
    whole = encoded(monkeypatch, video, tmp_path, Settings(short_side=48, max_frames=1000, fps=fps))
    monkeypatch.setattr(count, "expected_frames", lambda *_: 5000)
    again = encoded(monkeypatch, video, tmp_path, Settings(short_side=48, max_frames=1000, fps=fps))
    assert again[:2] == whole[:2]


def test_of_a_film_in_memory_too_only_those_are_encoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "7.mp4", 48, codec="mpeg4")
    size = (tmp_path / "7.mp4").stat().st_size
    films = Films({"7.mp4": Span(str(tmp_path / "7.mp4"), 0, size, size)})
    video, settings = Video("7", "7.mp4", 0, 1.0), Settings(short_side=48, max_frames=4)
    usual = encoded(monkeypatch, video, tmp_path, settings)
    assert encoded(monkeypatch, video, films, settings) == usual and usual[2] == 4
    monkeypatch.setattr(count, "expected_frames", lambda *_: 100)
    assert encoded(monkeypatch, video, films, settings)[:2] == usual[:2]


def test_of_pictures_at_their_own_size_the_kept_ones_are_the_files(tmp_path: Path) -> None:
    (tmp_path / "7").mkdir()
    files = [tmp_path / "7" / f"{number}.jpg" for number in range(12)]
    for number, file in enumerate(files):
        Image.new("RGB", (64, 48), (20 * number, 0, 0)).save(file)
    meta, jpegs = sample.encode(Video("7", "7", 0), tmp_path, Settings(short_side=None, max_frames=4))
    with jpegs:
        assert list(jpegs) == [files[number].read_bytes() for number in (1, 4, 7, 10)]
    assert (meta["frames"], meta["fps"], meta["width"], meta["height"]) == (4, 4.0, 64, 48)


def test_a_short_video_keeps_all_frames_under_a_limit(tmp_path: Path) -> None:
    write_video(tmp_path / "7.webm", 5)
    meta, jpegs = sample.encode(Video("7", "7.webm", 0), tmp_path, Settings(max_frames=5))
    jpegs.close()
    assert (meta["frames"], meta["fps"]) == (5, 12.0)


def test_thinning_and_cutting_work_together(tmp_path: Path) -> None:
    write_video(tmp_path / "7.webm", 36)
    meta, jpegs = sample.encode(Video("7", "7.webm", 0, start=1.0, end=2.0), tmp_path, Settings(fps=6))
    jpegs.close()
    assert (meta["frames"], meta["fps"], meta["source"]["fps"]) == (6, 6, 12.0)


@pytest.mark.parametrize("frames", [1, 2])
def test_a_video_of_fewer_than_three_frames_is_left_out(tmp_path: Path, frames: int) -> None:
    write_video(tmp_path / "7.mkv", frames, codec="ffv1")
    with pytest.raises(Unusable, match=f"{frames} frames, fewer than 3"):
        sample.encode(Video("7", "7.mkv", 0), tmp_path, Settings())


def test_a_link_out_of_the_folder_is_followed_only_when_asked(tmp_path: Path) -> None:
    inside, outside = tmp_path / "videos", tmp_path / "elsewhere"
    inside.mkdir()
    outside.mkdir()
    write_video(outside / "7.webm")
    write_video(inside / "8.webm")
    (inside / "7.webm").symlink_to(outside / "7.webm")
    (inside / "9.webm").symlink_to("8.webm")
    (inside / "loop.webm").symlink_to("loop.webm")
    with pytest.raises(Unusable, match="link out of the video folder"):
        sample.encode(Video("7", "7.webm", 0), inside, Settings())
    sample.encode(Video("7", "7.webm", 0), inside, Settings(follow_links=True))[1].close()
    sample.encode(Video("9", "9.webm", 0), inside, Settings())[1].close()
    with pytest.raises(Unusable, match="cannot be read"):
        sample.encode(Video("l", "loop.webm", 0), inside, Settings())


def test_damage_in_the_middle_of_a_cut_is_not_read_twice(tmp_path: Path) -> None:
    # A decoder's error after the cut has begun must not begin the video again.
    path = write_video(tmp_path / "7.webm", 48, options={"g": "12"})
    data = bytearray(path.read_bytes())
    for place in range(int(0.8 * len(data)), len(data) - 200):
        data[place] = place * 31 % 251
    path.write_bytes(data)
    try:
        meta, jpegs = sample.encode(Video("7", "7.webm", 0, start=1.5), tmp_path, Settings())
    except Unusable as reason:
        assert "cannot be decoded" in str(reason)
    else:
        jpegs.close()
        assert meta["frames"] <= 30


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("31 is not a valid Type"), "cannot be used: ValueError: 31 is not a valid Type"),
        (OverflowError("too\nlarge"), "cannot be used: OverflowError: too large"),
        (AttributeError("<Stream at 0x7f3a5c0de0>"), "cannot be used: AttributeError: <Stream at 0x...>"),
        (ValueError("\ud800"), "cannot be used: ValueError: \\ud800"),
        (MemoryError(), "cannot be used: MemoryError"),
        (av.error.MemoryError(errno.ENOMEM, "Cannot allocate memory"), "cannot be used: MemoryError"),
    ],
)
def test_whatever_fails_with_a_video_is_its_own_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    def read(*_: object) -> None:
        raise error

    monkeypatch.setattr(decode, "read", read)
    with pytest.raises(Unusable) as caught:
        sample.encode(Video("7", "7.webm", 0), tmp_path, Settings())
    assert str(caught.value).startswith(reason)


def test_a_reason_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    told = blame.reason(ValueError(f"{tmp_path}/a/7.webm is odd, " + "very " * 100), str(tmp_path))
    assert told.startswith("cannot be used: ValueError: a/7.webm is odd") and len(told) < 210


@pytest.mark.parametrize("start", [1e15, 1e300])
def test_a_time_out_of_range_is_a_failure(tmp_path: Path, start: float) -> None:
    write_video(tmp_path / "7.webm")
    with pytest.raises(Unusable):
        sample.encode(Video("7", "7.webm", 0, start=start), tmp_path, Settings())


def test_an_unknown_codec_is_a_failure(tmp_path: Path) -> None:
    data = write_video(tmp_path / "7.mkv", codec="ffv1").read_bytes()
    assert b"V_FFV1" in data
    (tmp_path / "7.mkv").write_bytes(data.replace(b"V_FFV1", b"V_ZZZ1"))
    with pytest.raises(Unusable, match="codec is not known"):
        sample.encode(Video("7", "7.mkv", 0), tmp_path, Settings())


def one_black_frame(path: Path, codec: str, pixels: str, size: tuple[int, int]) -> None:
    frame = av.VideoFrame(*size, pixels)
    for plane in frame.planes:
        plane.update(bytes(plane.buffer_size))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=12)
        stream.width, stream.height, stream.pix_fmt = *size, pixels
        container.mux(stream.encode(frame))
        container.mux(stream.encode())


@pytest.mark.parametrize(
    ("name", "codec", "pixels"), [("7.mkv", "ffv1", "yuv420p"), ("7.mov", "png", "gray")]
)
def test_too_many_pixels_are_refused_before_they_are_decoded(
    tmp_path: Path, name: str, codec: str, pixels: str
) -> None:
    one_black_frame(tmp_path / name, codec, pixels, (8200, 8200))
    with pytest.raises(Unusable, match=r"more than (the )?67108864"):
        sample.encode(Video("7", name, 0), tmp_path, Settings())


@pytest.mark.parametrize(
    ("size", "refused"),
    [
        ((66000, 300), "66000x300"),  # as its header says, though what it is resized to would do
        ((4000, 2), "512000x256"),  # as it is resized to
    ],
)
def test_a_side_that_no_frame_may_have_is_refused(
    tmp_path: Path, size: tuple[int, int], refused: str
) -> None:
    one_black_frame(tmp_path / "7.mkv", "ffv1", "gray", size)
    with pytest.raises(Unusable, match=f"^{refused} pixels; a side has 1 to 65500$"):
        sample.encode(Video("7", "7.mkv", 0), tmp_path, Settings())


def test_a_sample_that_no_tar_can_hold_is_a_failure() -> None:
    assert member_fault((8 << 30) - 1) is None
    assert member_fault(8 << 30) == "more than 8589934591 bytes of frames"


@pytest.mark.parametrize("name", ["7.webm", "7"])
def test_a_lack_of_descriptors_is_the_machines_fault(tmp_path: Path, name: str) -> None:
    write_video(tmp_path / "7.webm")
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "1.jpg").write_bytes(mjpeg.encode_rgb(picture(0, 64, 48), 90))
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            sample.encode(Video("7", name, 0), tmp_path, Settings())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("short_side", [256, None])
def test_a_picture_that_the_machine_cannot_read_is_its_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short_side: int | None
) -> None:
    (tmp_path / "7").mkdir()
    for number in range(4):
        (tmp_path / "7" / f"{number}.jpg").write_bytes(mjpeg.encode_rgb(picture(number, 64, 48), 90))
    plain = Path.read_bytes

    def read_bytes(file: Path) -> bytes:
        if file.name == "2.jpg":
            raise OSError(code, os.strerror(code))
        return plain(file)

    monkeypatch.setattr(Path, "read_bytes", read_bytes)
    code = errno.EIO
    with pytest.raises(OSError, match="Input/output error"):
        sample.encode(Video("7", "7", 0), tmp_path, Settings(short_side=short_side))
    code = errno.EACCES
    with pytest.raises(Unusable, match=r"^picture 2\.jpg: cannot be read: Permission denied$"):
        sample.encode(Video("7", "7", 0), tmp_path, Settings(short_side=short_side))


def test_the_originals_of_a_sample_are_no_larger_than_a_tar_can_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "7").mkdir()
    for number in range(4):
        (tmp_path / "7" / f"{number}.jpg").write_bytes(mjpeg.encode_rgb(picture(number, 64, 48), 90))
    monkeypatch.setattr(sample, "member_fault", lambda size: "too many" if size > 4000 else None)
    with pytest.raises(Unusable, match="too many"):
        sample.encode(Video("7", "7", 0), tmp_path, Settings(short_side=None))


def test_a_seek_that_the_machine_fails_is_not_one_that_the_container_cannot_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(tmp_path / "7.mkv", 24, codec="libx264")
    plain, faults = times.stamped, [av.error.OSError(errno.EMFILE, "Too many open files")]

    def stamped(
        frames: Iterable[av.VideoFrame], base: float, step: float, origin: float | None
    ) -> Iterator[times.Timed]:
        if faults:
            raise faults.pop()
        return plain(frames, base, step, origin)

    monkeypatch.setattr(times, "stamped", stamped)
    with pytest.raises(OSError, match="Too many open files"):
        sample.encode(Video("7", "7.mkv", 0, start=1.0), tmp_path, Settings())


def test_a_lack_of_memory_is_the_machines_fault_unless_a_video_asked_for_too_much() -> None:
    assert not blame.is_machines(MemoryError())
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (1 << 30), limits[1]))
    try:
        assert blame.is_machines(MemoryError())
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)


def test_a_disk_that_fails_is_the_machines_fault_and_a_demuxer_that_says_so_is_not() -> None:
    assert blame.is_machines(OSError(errno.EIO, "Input/output error"))
    assert not blame.is_machines(av.error.OSError(errno.EIO, "Input/output error"))
    assert not blame.is_machines(FileNotFoundError(errno.ENOENT, "No such file"))
