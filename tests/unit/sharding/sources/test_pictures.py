"""Folders of JPEGs as people have them: cut short, numbered without zeros, among other files, linked to elsewhere."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from sharding.building import sample
from sharding.building.settings import Settings
from sharding.format import mjpeg
from sharding.lists.videos import Video
from sharding.sources.decode import Unusable, read
from sharding.sources.turn import UPRIGHT, turn_of, turn_of_exif
from tests.unit.sharding.videos import picture, psnr, shown


def folder_of(
    path: Path, names: list[str], size: tuple[int, int] = (60, 40), sampling: str = "4:2:0"
) -> Path:
    path.mkdir(exist_ok=True)
    for number, name in enumerate(names):
        Image.fromarray(picture(number, *size)).save(path / name, "JPEG", quality=90, subsampling=sampling)
    return path


def padded(count: int) -> list[str]:
    return [f"{i + 1:05d}.jpg" for i in range(count)]


def reason(path: Path) -> str:
    with pytest.raises(Unusable) as caught:
        list(read(path).frames)
    return str(caught.value)


@pytest.mark.parametrize("part", [0.25, 0.5, 0.75, 0.99])
@pytest.mark.parametrize("filled", [False, True])
def test_a_picture_that_was_not_copied_to_its_end_is_named(tmp_path: Path, part: float, filled: bool) -> None:
    folder = folder_of(tmp_path / "7", padded(4), (160, 120))
    data = (folder / "00003.jpg").read_bytes()
    kept = int(part * len(data))
    (folder / "00003.jpg").write_bytes(data[:kept] + bytes(len(data) - kept) * filled)
    assert "picture 00003.jpg is damaged" in reason(folder)
    for settings in (Settings(), Settings(short_side=None)):
        with pytest.raises(Unusable, match=r"picture 00003\.jpg is damaged"):
            sample.encode(Video("7", "7", 0), tmp_path, settings)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\xff\xd8\xff\xd9", b"\x89PNG\r\n\x1a\n" * 9])
def test_what_is_no_picture_is_named(tmp_path: Path, content: bytes) -> None:
    folder = folder_of(tmp_path / "7", padded(4))
    (folder / "00003.jpg").write_bytes(content)
    assert "picture 00003.jpg is damaged" in reason(folder)


def test_bytes_behind_a_whole_picture_do_no_harm(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "7", padded(4))
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes() + bytes(300))
    assert len(list(read(folder).frames)) == 4


@pytest.mark.parametrize("name", ["{}.jpg", "img{}.jpeg", "f_{}_a.JPG", "%05d.jpg"])
def test_pictures_come_in_the_order_of_their_numbers(tmp_path: Path, name: str) -> None:
    names = [name.format(i + 1) if "{" in name else name % (i + 1) for i in range(12)]
    folder = folder_of(tmp_path / "7", names)
    for number, frame in enumerate(shown(folder, short_side=40)):
        assert psnr(frame, picture(number, 60, 40)) > 25


def test_hidden_and_other_files_are_no_pictures(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "7", padded(4))
    for name in ("._00001.jpg", ".hidden.jpg", "Thumbs.db", ".DS_Store", "notes.txt"):
        (folder / name).write_bytes(b"\0\5\x16\7")
    assert len(list(read(folder).frames)) == 4
    assert reason(folder_of(tmp_path / "8", [".x.jpg"])) == "a folder without pictures (.jpg, .jpeg)"


def test_a_link_out_of_the_videos_is_followed_only_when_asked(tmp_path: Path) -> None:
    secret = folder_of(tmp_path / "secret", ["s.jpg"])
    videos = tmp_path / "videos"
    videos.mkdir()
    folder = folder_of(videos / "7", padded(4))
    folder_of(videos / "other", ["o.jpg"])
    (folder / "00005.jpg").symlink_to(videos / "other" / "o.jpg")
    video = Video("7", "7", 0)
    for side in (256, None):
        meta, jpegs = sample.encode(video, videos, Settings(short_side=side))
        jpegs.close()
        assert meta["frames"] == 5
    (folder / "00003.jpg").unlink()
    (folder / "00003.jpg").symlink_to(secret / "s.jpg")
    for side in (256, None):
        with pytest.raises(Unusable, match=r"picture 00003\.jpg: a symbolic link out of the video folder"):
            sample.encode(video, videos, Settings(short_side=side))
        sample.encode(video, videos, Settings(short_side=side, follow_links=True))[1].close()


def test_a_picture_that_is_no_file_fails_at_once(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "7", padded(4))
    began = time.monotonic()
    (folder / "00005.jpg").symlink_to("/dev/zero")
    assert reason(folder) == "picture 00005.jpg: a device, not a file"
    (folder / "00005.jpg").unlink()
    os.mkfifo(folder / "00005.jpg")
    assert reason(folder) == "picture 00005.jpg: a pipe, not a file"
    (folder / "00005.jpg").unlink()
    (folder / "00005.jpg").mkdir()
    assert reason(folder) == "picture 00005.jpg: a folder, not a file"
    assert time.monotonic() - began < 60


@pytest.mark.parametrize("sampling", ["4:2:0", "4:2:2", "4:4:4"])
def test_at_their_own_size_pictures_are_copied(tmp_path: Path, sampling: str) -> None:
    folder = folder_of(tmp_path / "7", padded(6), (65, 47), sampling)
    originals = [file.read_bytes() for file in sorted(folder.iterdir())]
    meta, jpegs = sample.encode(Video("7", "7", 0), tmp_path, Settings(short_side=None))
    with jpegs:
        blob = b"".join(jpegs)
    assert blob == b"".join(originals)
    assert (meta["width"], meta["height"], meta["frames"], meta["fps"]) == (65, 47, 6, 12.0)
    assert meta["source"] == {"fps": 12.0, "width": 65, "height": 47, "codec": "mjpeg"}
    decoded = mjpeg.decode(blob, meta["offsets"], range(6), (65, 47))
    assert min(psnr(frame, picture(i, 65, 47)) for i, frame in enumerate(decoded)) > 20
    cut = Video("7", "7", 0, start=2 / 12)
    meta, jpegs = sample.encode(cut, tmp_path, Settings(short_side=None, fps=9))
    with jpegs:
        assert set(jpegs) <= set(originals[2:])


def encoded_again(tmp_path: Path) -> bool:
    originals = {file.read_bytes() for file in (tmp_path / "7").iterdir()}
    _, jpegs = sample.encode(Video("7", "7", 0), tmp_path, Settings(short_side=None))
    with jpegs:
        return not originals & set(jpegs)


def test_pictures_that_a_shard_would_not_hold_are_encoded(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "7", padded(4))
    assert not encoded_again(tmp_path)
    image = Image.fromarray(picture(3, 60, 40))
    image.save(folder / "00004.jpg", progressive=True)
    assert encoded_again(tmp_path)
    image.resize((62, 40)).save(folder / "00004.jpg")
    assert encoded_again(tmp_path)
    image.convert("L").save(folder / "00004.jpg")
    assert encoded_again(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 1
    image.save(folder / "00004.jpg", exif=exif)
    assert encoded_again(tmp_path)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_of_a_camera_are_read_and_turned(tmp_path: Path, orientation: int) -> None:
    folder = tmp_path / "7"
    folder.mkdir()
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010F] = "a camera"
    for number, name in enumerate(padded(4)):
        Image.fromarray(picture(number, 60, 40)).save(folder / name, quality=95, exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(folder / "00001.jpg"))) @ [0.299, 0.587, 0.114]
    meta, jpegs = sample.encode(Video("7", "7", 0), tmp_path, Settings(short_side=None))
    with jpegs:
        found = mjpeg.decode(b"".join(jpegs), meta["offsets"], [0], (meta["width"], meta["height"]))[0]
    assert np.abs(found @ [0.299, 0.587, 0.114] - upright).mean() < 4


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_frames_of_a_camera_are_turned_as_their_exif_data_say(tmp_path: Path, orientation: int) -> None:
    # As in films of JPEGs, whose binding does not know these data.
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture(0, 60, 40)).save(tmp_path / "1.jpg", quality=95, exif=exif)
    frame = next(read(tmp_path).frames)[1]
    assert turn_of(frame) == turn_of_exif((tmp_path / "1.jpg").read_bytes())


def test_odd_exif_data_mean_nothing(tmp_path: Path) -> None:
    for data in (b"", b"II*\0", b"MM\0*" + b"\xff" * 4, b"II*\0\x08\0\0\0\xff\xff" + b"\0" * 40):
        assert turn_of_exif(b"\xff\xd8\xff\xe1\0\x40Exif\0\0" + data) == UPRIGHT
