"""Every kind of difference between two sets is found, and other settings alone are none."""

import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from sharding.building import build
from sharding.building.build import Request
from sharding.building.settings import Settings
from sharding.cli import main
from sharding.errors import UserError
from sharding.fingerprints import table
from sharding.fingerprints.compare import KINDS, Comparison, compare
from sharding.fingerprints.table import Fingerprint
from sharding.fingerprints.take import take
from sharding.format import manifest, mjpeg
from tests.unit.sharding.videos import real_clips

COUNT = 8
BIG = Settings(short_side=128)


def films(folder: Path) -> Path:
    """Eight films of 24 frames at 12 a second, the last two from cameras; and their list."""
    folder.mkdir()
    for number in range(COUNT):
        film(folder / f"{number}.mp4", number)
    return listed(folder)


def scene(number: int, seconds: float) -> np.ndarray:
    """What film `number` shows at a time: broad waves that move slowly, uint8 RGB (144, 256, 3)."""
    y, x = np.mgrid[0:144, 0:256]
    turn = 2.4 * number + 0.4 * seconds
    waves = [np.sin(x / 60 + turn), np.cos(y / 40 - turn), np.sin((x + y) / 90 + 2 * turn)]
    return (127.5 + 110 * np.stack(waves, axis=-1)).round().astype(np.uint8)


def film(
    path: Path,
    number: int,
    frames: int = 24,
    rate: int = 12,
    change: Callable[[np.ndarray], np.ndarray] = lambda frame: frame,
) -> None:
    """Film `number`, which shows the same at the same time at any rate; `change` is done to each frame."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "12"})
        for i in range(frames):
            shown = np.ascontiguousarray(change(scene(number, i / rate)))
            if i == 0:
                stream.width, stream.height, stream.pix_fmt = shown.shape[1], shown.shape[0], "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
        container.mux(stream.encode())


def listed(folder: Path, change: dict[int, str] | None = None) -> Path:
    labels = {n: "ab"[n % 2] for n in range(COUNT)} | (change or {})
    rows = [f"{n}.mp4,{label},{'validation' if n == 6 else 'train'}" for n, label in labels.items()]
    (folder / "films.csv").write_text("\n".join(["path,label,split", *rows]) + "\n")
    return folder / "films.csv"


def fingerprint(folder: Path, out: Path, settings: Settings = BIG) -> Fingerprint:
    made = build.build(Request("csv", folder / "films.csv", folder, str(out), settings)).manifests
    return take(made, 2, lambda: None)


@pytest.fixture(scope="module")
def usual(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("usual")
    films(folder / "films")
    return folder


@pytest.fixture(scope="module")
def first(usual: Path) -> Fingerprint:
    return fingerprint(usual / "films", usual / "out")


def different(result: Comparison) -> dict[str, list[str]]:
    return {kind: sorted(name for name, _ in rows) for kind, rows in result.found.items() if rows}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (Settings(short_side=128, quality=60), "quality 90 / 60"),
        (Settings(short_side=120), "short_side 128 / 120"),
        (Settings(short_side=None, quality=75), "short_side 128 / None, quality 90 / 75"),
        (Settings(short_side=128, fps=6), "fps None / 6"),
        (Settings(short_side=128, max_frames=7), "max_frames None / 7"),
        (Settings(short_side=128, seed=3, samples_per_shard=2), "samples_per_shard 128 / 2, seed 0 / 3"),
    ],
)
def test_other_settings_are_said_once_and_are_no_difference(
    settings: Settings, said: str, usual: Path, first: Fingerprint, tmp_path: Path
) -> None:
    result = compare(first, fingerprint(usual / "films", tmp_path / "out", settings))
    assert different(result) == {} and not result.differs and result.common == COUNT
    assert result.settings == {said: ["train", "validation"]}
    assert result.lines(10)[1:] == [
        f"settings of train, validation differ (A / B): {said}",
        "the same videos, labels and content",
    ]


@pytest.mark.parametrize(
    ("side", "qualities"), [((256, 240), (90, 60)), ((128, None), (60, 90)), ((64, 32), (90, 30))]
)
def test_real_films_look_the_same_at_other_sizes_and_qualities(
    side: tuple[int, int | None], qualities: tuple[int, int], tmp_path: Path
) -> None:
    for name, path in real_clips().items():
        (tmp_path / f"{name}.mp4").symlink_to(path)
    (tmp_path / "films.csv").write_text("path,label\n" + "".join(f"{name}.mp4,a\n" for name in real_clips()))
    made = [
        fingerprint(
            tmp_path,
            tmp_path / f"{i}",
            Settings(short_side=side[i], quality=qualities[i], max_frames=12, follow_links=True),
        )
        for i in (0, 1)
    ]
    assert different(compare(*made)) == {}
    apart = np.abs(made[0].rows["look"].astype(int) - made[1].rows["look"].astype(int))
    assert apart.max() <= 4  # of 16 that are allowed


def test_a_darker_conversion_of_colours_is_no_other_film(
    usual: Path, first: Fingerprint, tmp_path: Path
) -> None:
    folder = tmp_path / "films"
    shutil.copytree(usual / "films", folder)
    for number in range(COUNT):
        film(folder / f"{number}.mp4", number, change=lambda frame: np.clip(frame, 3, 255) - 3)
    assert different(compare(first, fingerprint(folder, tmp_path / "out"))) == {}


def test_every_difference_is_found(usual: Path, first: Fingerprint, tmp_path: Path) -> None:
    folder = tmp_path / "films"
    shutil.copytree(usual / "films", folder)
    film(folder / "0.mp4", 0, frames=20)
    film(folder / "1.mp4", 1, frames=48, rate=24)
    film(folder / "2.mp4", 2, change=lambda frame: frame[:, 56:200])
    film(folder / "3.mp4", 3, change=lambda frame: frame[:, ::-1])
    (folder / "5.mp4").write_bytes((folder / "5.mp4").read_bytes()[:500])
    film(folder / "8.mp4", 8)
    listed(folder, {4: "b", 8: "a"})
    lines = (folder / "films.csv").read_text().replace("7.mp4,b,train", "7.mp4,b,validation")
    (folder / "films.csv").write_text(lines)
    result = compare(first, fingerprint(folder, tmp_path / "out"))
    assert different(result) == {
        "missing in A": ["train/8"],
        "missing in B": ["train/5"],
        "split": ["train/7"],
        "label": ["train/4"],
        "cut": ["train/0"],
        "extraction": ["train/1", "train/2"],
        "content": ["train/3"],
    }
    assert set(different(result)) == set(KINDS)
    text = "\n".join(result.lines(1))
    for said in (
        "train/8: not there",
        "train/5: unusable there: ",
        "train/7: train / validation",
        "train/4: 'a' / 'b'",
        "train/0: 24 frames at 12 a second / 20 frames at 12 a second",
        "  and 1 more",
        "8 videos differ",
    ):
        assert said in text
    back = compare(fingerprint(folder, tmp_path / "again"), first)
    assert back.found["missing in B"] == [("train/8", "not there")]


@pytest.mark.parametrize("frame", [0, 11, 23])
def test_one_exchanged_frame_of_the_three_is_a_change(frame: int, usual: Path, tmp_path: Path) -> None:
    """The film is the same but for its first, middle or last frame."""
    for name in ("a", "b"):
        pictures = tmp_path / name / "0.mp4"
        pictures.mkdir(parents=True)
        for i in range(24):
            shown = scene(int(name == "b" and i == frame), i / 12)
            (pictures / f"{i:02}.jpg").write_bytes(mjpeg.encode_rgb(shown, 90))
        (tmp_path / name / "films.csv").write_text("path,label\n0.mp4,a\n")
    made = [fingerprint(tmp_path / name, tmp_path / f"out-{name}") for name in ("a", "b")]
    assert different(compare(*made)) == {"content": ["train/0"]}


def test_classes_in_another_order_are_the_same_labels(first: Fingerprint) -> None:
    turned = [table.Split(s.name, s.classes[::-1], s.settings, s.failures, s.manifest) for s in first.splits]
    rows = first.rows.copy()
    rows["label"] = 1 - rows["label"]
    result = compare(first, Fingerprint(turned, first.keys, rows))
    assert not result.differs and result.settings == {
        "classes 2 / 2 in another order": ["train", "validation"]
    }
    assert len(compare(first, Fingerprint(turned, first.keys, first.rows)).found["label"]) == COUNT


def test_the_commands(
    usual: Path, first: Fingerprint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, file = str(usual / "out"), str(tmp_path / "set.npz")
    assert main(["fingerprint", out, "--out", file, "--workers", "2"]) == 0
    assert capsys.readouterr().out.startswith(f"{file}: 8 videos of train, validation, ")
    found = table.load(file)
    assert found.splits == first.splits and found.keys == first.keys and (found.rows == first.rows).all()
    other = tmp_path / "again.npz"
    assert main(["fingerprint", out, "--out", str(other)]) == 0
    assert other.read_bytes() == Path(file).read_bytes()
    capsys.readouterr()

    assert main(["compare", out, file]) == 0
    assert capsys.readouterr().out.endswith("the same videos, labels and content\n")
    assert main(["compare", file, f"{out}/validation"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "A has 8 videos, B 1; 1 are in both" and "7 missing in B:" in lines


def test_a_damaged_fingerprint_or_sample_is_said(usual: Path, first: Fingerprint, tmp_path: Path) -> None:
    file = tmp_path / "set.npz"
    table.save(str(file), first)
    whole = file.read_bytes()
    for share in (0.0, 0.1, 0.5, 0.99):
        file.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(UserError, match=r"set\.npz: not a fingerprint"):
            table.load(str(file))
    for at in range(0, len(whole), 97):
        data = bytearray(whole)
        data[at] ^= 0xFF
        file.write_bytes(data)
        try:
            assert (table.load(str(file)).rows == first.rows).all()  # a byte that nothing depends on
        except UserError:
            continue

    shutil.copytree(usual / "out", tmp_path / "out")
    tar = tmp_path / "out" / "train" / "shard-000000.tar"
    data = bytearray(tar.read_bytes())
    data[3000] ^= 1
    tar.write_bytes(data)
    with pytest.raises(UserError, match=r"shard-000000\.tar: sample \d: its CRC-32 differs"):
        take([manifest.load(str(tmp_path / "out" / "train"))], 1, lambda: None)
