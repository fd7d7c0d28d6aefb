"""Optical flow from folders of pictures: which are found, which are refused, and that nothing takes them for colour."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sharding.building import sample
from sharding.building.settings import Settings
from sharding.format import header, mjpeg
from sharding.lists.videos import Video
from sharding.sources.decode import Unusable, read_flow
from sharding.sources.flow import folder_of
from tests.unit.sharding.flows import NAMES, field, level, write_flow

FLOW = Settings(short_side=40, input="flow")


def levels_of(folder: Path) -> list[int]:
    """The level of each picture that is read, in order, taken where no edge is near."""
    frames = read_flow(folder, None, None, None).frames
    return [int(frame.to_ndarray()[20, 50]) for _, frame in frames]


def wanted(steps: int) -> list[int]:
    return [level(3, step, axis) for step in range(steps) for axis in "xy"]


@pytest.mark.parametrize("names", NAMES)
def test_x_and_y_come_by_turns_in_the_order_of_their_numbers(tmp_path: Path, names: str) -> None:
    folder = write_flow(tmp_path / "7", 3, 12, names=names)
    for other in ("img_00001.jpg", "00001.jpg", ".x_00001.jpg", "notes.txt"):
        (folder / other).write_bytes(b"no flow")
    assert np.abs(np.array(levels_of(folder)) - wanted(12)).max() <= 1


def test_both_pictures_of_a_step_have_its_time(tmp_path: Path) -> None:
    folder = write_flow(tmp_path / "7", 3, 24)
    times = [time for time, _ in read_flow(folder, None, None, None).frames]
    assert times == [step / 12 for step in range(24) for _ in "xy"]
    half = [int(f.to_ndarray()[20, 50]) for _, f in read_flow(folder, 0.5, 1.0, None).frames]
    assert np.abs(np.array(half) - wanted(24)[12:24]).max() <= 1


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def write(name: str, picture: np.ndarray) -> Callable[[Path], None]:  # type: ignore[type-arg]
    return lambda folder: Image.fromarray(picture).save(folder / name, "JPEG")


def other_kind(folder: Path) -> None:
    for axis in "xy":
        shutil.copy(folder / f"flow_{axis}_00001.jpg", folder / f"{axis}_00001.jpg")


def cut(folder: Path) -> None:
    file = folder / "flow_x_00002.jpg"
    file.write_bytes(file.read_bytes()[:-40])


COLOURED = np.dstack([np.full((40, 60), value, np.uint8) for value in (200, 120, 60)])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (remove("flow_y_00003.jpg"), "picture flow_x_00003.jpg has no partner flow_y_00003.jpg"),
        (remove("flow_x_00009.jpg"), "picture flow_y_00009.jpg has no partner flow_x_00009.jpg"),
        (write("flow_u_00001.jpg", field(0, 0, "x", (60, 40))), "of the same step, and both of x"),
        (
            write("flow_y_00004.jpg", field(0, 0, "x", (61, 40))),
            "picture flow_y_00004.jpg is 61x40, the first is",
        ),
        (write("flow_y_00004.jpg", COLOURED), "picture flow_y_00004.jpg is in colour"),
        (other_kind, "names of two kinds"),
        (cut, "picture flow_x_00002.jpg is damaged"),
        (lambda folder: shutil.rmtree(folder), "no such folder of flow"),
        (lambda folder: [f.unlink() for f in folder.iterdir()], "without pictures of flow"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("short_side", [40, None])
def test_what_is_wrong_with_a_folder_is_its_reason(
    tmp_path: Path, change: Callable[[Path], None], reason: str, short_side: int | None
) -> None:
    change(write_flow(tmp_path / "7", 3, 9))
    with pytest.raises(Unusable, match=reason):
        sample.encode(Video("7", "7", 0), tmp_path, Settings(short_side=short_side, input="flow"))


def test_a_folder_without_its_y_folder_is_unusable(tmp_path: Path) -> None:
    shutil.rmtree(write_flow(tmp_path / "7", 3, 9, names="folders") / "v")
    with pytest.raises(Unusable, match=r"picture u/frame1\.jpg has no partner v/frame1\.jpg"):
        sample.encode(Video("7", "7", 0), tmp_path, FLOW)


def test_links_may_not_lead_out_of_the_video_folder(tmp_path: Path) -> None:
    folder = write_flow(tmp_path / "videos" / "7", 3, 9, names="folders")
    shutil.move(folder / "v", tmp_path / "elsewhere")
    (folder / "v").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unusable, match="a symbolic link out of the video folder"):
        sample.encode(Video("7", "7", 0), tmp_path / "videos", FLOW)


def test_two_steps_are_the_least(tmp_path: Path) -> None:
    for steps in (1, 2):
        write_flow(tmp_path / str(steps), 3, steps)
    with pytest.raises(Unusable, match="1 steps of flow, fewer than 2"):
        sample.encode(Video("1", "1", 0), tmp_path, FLOW)
    meta, jpegs = sample.encode(Video("2", "2", 0), tmp_path, FLOW)
    jpegs.close()
    assert meta["frames"] == 4


@pytest.mark.parametrize("short_side", [40, 30, 80, None])
@pytest.mark.parametrize("gray", [True, False])
def test_pictures_are_gray_jpegs_with_the_levels_of_the_source(
    tmp_path: Path, short_side: int | None, gray: bool
) -> None:
    """All levels: none is stretched, cut or taken through colours. At its own size gray pictures are copied."""
    folder = tmp_path / "7"
    folder.mkdir()
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None], 40, axis=0)
    for step in range(3):
        for axis, picture in (("x", ramp), ("y", ramp[:, ::-1])):
            image = Image.fromarray(picture)
            (image if gray else image.convert("RGB")).save(folder / f"{axis}_{step}.jpg", quality=98)
    meta, jpegs = sample.encode(Video("7", "7", 0), tmp_path, Settings(short_side, input="flow"))
    with jpegs:
        found = list(jpegs)
    assert len(found) == meta["frames"] == 6 and meta["fps"] == 24
    size = meta["width"], meta["height"]
    for number, jpeg in enumerate(found):
        assert header.read(jpeg).is_gray and not header.read(jpeg).progressive
        decoded = mjpeg.decode(jpeg, [0], [0], size, "GRAY")[0, ..., 0]
        wide = np.interp((np.arange(size[0]) + 0.5) * 256 / size[0] - 0.5, np.arange(256), ramp[0])
        expected = wide if number % 2 == 0 else wide[::-1]
        assert np.abs(decoded - expected).max() <= 2
    if gray and short_side is None:
        assert found[0] == (folder / "x_0.jpg").read_bytes()


def test_an_odd_gray_picture_has_the_same_bytes_every_time() -> None:
    picture = field(1, 2, "x", (61, 47))
    assert len({mjpeg.encode_gray(picture.copy(), 90) for _ in range(20)}) == 1


def test_the_flow_of_a_film_is_in_the_folder_of_its_name() -> None:
    assert [folder_of(path) for path in ("a/7.webm", "v1.2_x", "b.MP4", "7")] == ["a/7", "v1.2_x", "b", "7"]
