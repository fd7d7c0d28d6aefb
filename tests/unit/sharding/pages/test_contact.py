from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sharding.format import manifest, mjpeg
from sharding.format.manifest import Manifest
from sharding.format.rows import SampleRow
from sharding.format.sidecar import load_sidecar
from sharding.pages import contact
from tests import shards


def halves(sample: int, number: int, width: int, height: int) -> NDArray[np.uint8]:
    """A dark upper and a light lower half; a little lighter with every frame."""
    picture = np.full((height, width, 3), 20 + 5 * number, np.uint8)
    picture[height // 2 :] += 100
    return picture


def rows(made: Manifest, shard: int) -> list[SampleRow]:
    return load_sidecar(made.sidecar_url(shard)).samples


def test_every_kth_frame_or_some_ten() -> None:
    assert list(contact.frames(12, 5)) == [0, 5, 10]
    assert list(contact.frames(3, None)) == [0, 1, 2]
    assert list(contact.frames(41, None)) == [0, 5, 10, 15, 20, 25, 30, 35, 40]
    assert list(contact.frames(7000, None)) == list(range(0, 7000, 700))


def test_many_pictures_are_smaller_ones() -> None:
    assert contact.picture_height(0) == contact.picture_height(360) == 128
    assert contact.picture_height(10**7) == 32
    for pictures in (500, 1000, 3000):
        height = contact.picture_height(pictures)
        assert 32 < height < 128 and pictures * 0.33 * 1.6 * height**2 <= 3.5e6


def test_a_sheet_shows_the_frames_of_its_sample_smaller(tmp_path: Path) -> None:
    made = shards.make(tmp_path, [2, 2], frames=9, width=70, height=60, picture=halves)
    row = rows(made, 1)[1]
    sheet = contact.read(made.shard_url(1), row, 4, 25)
    assert sheet.problem is None and sheet.row.key == "clip-3" and sheet.about and sheet.about.frames == 9
    assert [(p.frame, p.width, p.height) for p in sheet.pictures] == [(0, 23, 20), (4, 23, 20), (8, 23, 20)]
    for picture in sheet.pictures:
        (decoded,) = mjpeg.decode(picture.jpeg, [0], [0], (23, 20))
        expected = halves(3, picture.frame, 23, 20)
        np.testing.assert_allclose(decoded.astype(int), expected.astype(int), atol=8)


def test_a_picture_that_is_small_enough_keeps_its_size(tmp_path: Path) -> None:
    made = shards.make(tmp_path, [1], frames=3, width=70, height=60)
    assert contact.read(made.shard_url(0), rows(made, 0)[0], None, 60).pictures[0].height == 60


def test_only_the_sample_itself_is_read(tmp_path: Path) -> None:
    made = shards.make(tmp_path, [3], frames=3)
    tar = Path(made.shard_url(0))
    row = rows(made, 0)[1]
    data = bytearray(tar.read_bytes())
    data[: row.offset] = bytes(row.offset)
    tar.write_bytes(data[: row.offset + row.bytes])
    assert contact.read(str(tar), row, None, 60).problem is None


@pytest.mark.parametrize(
    ("harm", "says"), [("flip", "CRC-32"), ("cut", "CRC-32"), ("remove", "no such file")]
)
def test_a_damaged_sample_is_told(tmp_path: Path, harm: str, says: str) -> None:
    made = manifest.load(shards.make(tmp_path, [1], frames=3).root)
    tar = Path(made.shard_url(0))
    data = bytearray(tar.read_bytes())
    if harm == "flip":
        data[1500] ^= 1
        tar.write_bytes(data)
    elif harm == "cut":
        tar.write_bytes(data[:2000])
    else:
        tar.unlink()
    sheet = contact.read(str(tar), rows(made, 0)[0], None, 60)
    assert sheet.problem is not None and says in sheet.problem and not sheet.pictures
