import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from sharding.format import mjpeg
from sharding.sources import decode
from sharding.sources.decode import Unusable, at_most_fps, read
from tests.unit.sharding.videos import picture, psnr, real_clips, shown, write_video


def test_a_variable_rate_is_kept_in_display_order(tmp_path: Path) -> None:
    times = [0, 40, 50, 400, 410, 900]
    path = write_video(tmp_path / "v.mkv", 6, (64, 48), "libx264", times=times, options={"bf": "2"})
    found = [(round(1000 * time), frame.pts) for time, frame in read(path).frames]
    assert [time for time, _ in found] == times
    for number, frame in enumerate(shown(path, short_side=48)):
        assert psnr(frame, picture(number, 64, 48)) > 25


def test_codec_and_rate_are_told(tmp_path: Path) -> None:
    source = read(write_video(tmp_path / "v.webm", codec="libvpx-vp9"))
    assert (source.codec, source.fps) == ("vp9", 12.0)
    assert len(list(source.frames)) == 8


def test_a_folder_of_pictures_is_a_video_in_the_order_of_names(tmp_path: Path) -> None:
    for number in range(12):
        jpeg = mjpeg.encode_rgb(picture(number, 60, 40), 95)
        (tmp_path / f"{number + 1:05d}.jpg").write_bytes(jpeg)
    (tmp_path / "notes.txt").write_text("no picture")
    assert (read(tmp_path).codec, read(tmp_path).fps) == ("mjpeg", 12.0)
    frames = shown(tmp_path, short_side=40)
    assert len(frames) == 12
    for number, frame in enumerate(frames):
        assert psnr(frame, picture(number, 60, 40)) > 30


def test_a_broken_picture_of_a_folder_is_named(tmp_path: Path) -> None:
    for number in range(4):
        (tmp_path / f"{number:05d}.jpg").write_bytes(mjpeg.encode_rgb(picture(number, 60, 40), 95))
    (tmp_path / "00002.jpg").write_bytes(b"")
    with pytest.raises(Unusable, match=r"picture 00002\.jpg is damaged"):
        list(read(tmp_path).frames)
    (tmp_path / "00002.jpg").write_bytes(b"no picture")
    with pytest.raises(Unusable, match="cannot be decoded"):
        list(read(tmp_path).frames)


def test_a_missing_and_an_empty_file_have_their_reasons(tmp_path: Path) -> None:
    with pytest.raises(Unusable, match="no such file"):
        read(tmp_path / "none.webm")
    (tmp_path / "empty.webm").write_bytes(b"")
    with pytest.raises(Unusable, match=r"empty file \(0 bytes\)"):
        read(tmp_path / "empty.webm")


def test_what_is_no_video_has_its_reason_without_its_path(tmp_path: Path) -> None:
    (tmp_path / "text.webm").write_text("no video " * 100)
    with pytest.raises(Unusable, match="cannot be decoded") as caught:
        read(tmp_path / "text.webm")
    assert str(tmp_path) not in str(caught.value)


def test_a_file_with_sound_alone_has_no_video_stream(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mka"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        samples.sample_rate = 8000
        container.mux(stream.encode(samples))
        container.mux(stream.encode())
    with pytest.raises(Unusable, match="no video stream"):
        read(tmp_path / "sound.mka")


@pytest.mark.parametrize("suffix", ["webm", "mkv", "mp4", "mov", "avi"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_truncated_file_is_never_taken_for_a_short_one(tmp_path: Path, suffix: str, part: float) -> None:
    codec = {"webm": "libvpx", "avi": "mpeg4"}.get(suffix, "libx264")
    options = {"movflags": "faststart"} if suffix in ("mp4", "mov") else {}
    path = write_video(tmp_path / f"v.{suffix}", 30, (64, 48), codec, options=options)
    assert len(list(read(path).frames)) == 30
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(Unusable, match=r"truncated|cannot be decoded"):
        list(read(path).frames)


def test_damage_in_the_middle_is_a_failure_or_leaves_all_frames(tmp_path: Path) -> None:
    data = bytearray(real_clips()["carphone_pristine"].read_bytes())
    middle = len(data) // 2
    data[middle : middle + 4000] = bytes(i * 37 % 256 for i in range(4000))
    (tmp_path / "damaged.mp4").write_bytes(data)
    try:
        frames = len(list(read(tmp_path / "damaged.mp4").frames))
    except Unusable as reason:
        assert "cannot be decoded" in str(reason)
    else:
        assert frames == 120


@pytest.mark.parametrize("suffix", ["webm", "mp4", "avi", "mkv"])
@pytest.mark.parametrize(("start", "end"), [(1.0, 2.0), (None, 0.5), (2.0, None), (0.0, 99.0), (1.24, 1.26)])
def test_a_cut_takes_the_frames_shown_first_in_it(
    tmp_path: Path, suffix: str, start: float | None, end: float | None
) -> None:
    codec = {"webm": "libvpx", "avi": "mpeg4"}.get(suffix, "libx264")
    path = write_video(tmp_path / f"v.{suffix}", 36, (64, 48), codec, options={"g": "10"})
    times = [round(12 * time) for time, _ in read(path, start, end).frames]
    expected = [i for i in range(36) if (start or 0) <= i / 12 < (end or 99)]
    assert times == expected


def test_a_cut_past_the_end_is_empty(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.webm")
    assert list(read(path, 50.0).frames) == []


def ticks(times: list[float], fps: float | None) -> list[float]:
    frames = ((round(1000 * t) / 1000, None) for t in times)
    return [t for t, _ in at_most_fps(frames, fps)]  # type: ignore[arg-type]


def test_a_faster_video_is_thinned_evenly_and_a_slower_one_left_alone() -> None:
    twelve = [i / 12 for i in range(24)]
    assert ticks(twelve, None) == ticks(twelve, 12) == ticks(twelve, 30)
    assert [round(12 * t) for t in ticks(twelve, 6)] == list(range(0, 24, 2))
    assert [round(12 * t) for t in ticks(twelve, 4)] == list(range(0, 24, 3))
    thirty = ticks([i / 29.97 for i in range(300)], 12)
    assert len(thirty) in (120, 121)
    gaps = np.diff(thirty)
    assert gaps.min() > 0.06 and gaps.max() < 0.11


def test_giving_up_closes_the_file(tmp_path: Path) -> None:
    path = write_video(tmp_path / "v.webm")
    frames = read(path).frames
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    links = [str(p.resolve()) for p in Path("/proc/self/fd").iterdir() if p.exists()]
    assert str(path) not in links


def test_a_fault_behind_the_reader_is_not_the_videos(tmp_path: Path) -> None:
    def reader() -> None:
        for _ in read(write_video(tmp_path / "v.webm")).frames:
            raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        reader()


def test_decoding_leaves_no_thread_behind() -> None:
    program = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from sharding.sources.decode import read\nfrom sharding.sources.resize import Resizer\n"
        "resize = Resizer()\n"
        "frames = read(Path(sys.argv[1])).frames\n"
        "counts = [len(os.listdir('/proc/self/task')) for _, f in frames if resize(f)]\n"
        "print(max(counts))\n"
    )
    clip = real_clips()["carphone_pristine"]
    env = {"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path(decode.__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", program, str(clip)], capture_output=True, text=True, env=env)
    assert done.stdout.strip() == "1", done.stderr
