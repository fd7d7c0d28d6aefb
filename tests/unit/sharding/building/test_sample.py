from pathlib import Path

import pytest
from PIL import Image

from sharding.building import sample, spool
from sharding.building.settings import Settings
from sharding.format import mjpeg
from sharding.sources.decode import Unusable
from sharding.sources.videos import Video
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
