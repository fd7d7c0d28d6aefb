import base64
import csv
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sharding import storage
from sharding.building import build
from sharding.building.build import Request
from sharding.building.settings import Settings
from sharding.cli import main
from sharding.errors import UserError
from sharding.format import header, manifest
from sharding.pages import page
from sharding.pages.inspect import look, spread
from tests import shards
from tests.pages import Parsed, chromium, pixels, screenshot
from tests.unit.sharding.videos import write_set, write_video

HOSTILE = '<script>document.title = "owned"</script>'


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Something-Something set with all three splits, a broken video and a class without training videos."""
    folder = tmp_path_factory.mktemp("set")
    annotations, videos = write_set(folder, train=8, validation=3, test=2)
    text = (annotations / "train.json").read_text()
    (annotations / "train.json").write_text(
        text.replace("Holding [something]", "Pushing [something] from left to right")
    )
    (videos / "5.webm").write_bytes(b"")
    settings = Settings(short_side=32, samples_per_shard=3)
    build.build(Request("sthv2", annotations, videos, str(folder / "out"), settings))
    return folder / "out"


@pytest.fixture(scope="module")
def whole(built: Path) -> Parsed:
    splits = look([str(built / name) for name in ("train", "validation", "test")], 12)
    return Parsed(page.render("the set", splits))


def test_the_page_counts_what_the_manifests_count(built: Path, whole: Parsed) -> None:
    for name in ("train", "validation", "test"):
        made = manifest.load(str(built / name))
        row = rf"{name}\s*{made.samples}\s*{made.frames}\s*[\d.]+ kB\s*{len(made.shards)}\s*{len(made.failures)}\s"
        assert re.search(row, whole.text.replace("samples", "")), name
    assert "quality\xa090" in whole.text and "short_side\xa032" in whole.text and "fps\xa0none" in whole.text


def test_pictures_are_the_frames_of_the_samples(built: Path) -> None:
    (split,) = look([str(built / "validation")], 2, every=3)
    parsed = Parsed(page.render("x", [split]))
    pictures = parsed.named("img")
    assert len(split.sheets) == 2
    expected = [(f"frame {n}", sheet) for sheet in split.sheets for n in range(0, sheet.row.frames, 3)]
    assert [p["alt"] for p in pictures] == [alt for alt, _ in expected]
    for picture, (_, sheet) in zip(pictures, expected, strict=True):
        head, _, data = str(picture["src"]).partition(",")
        assert head == "data:image/jpeg;base64"
        found = header.read(base64.b64decode(data))
        assert sheet.about is not None
        assert (
            found[:2] == (sheet.about.width, 32) == (int(str(picture["width"])), int(str(picture["height"])))
        )
    for sheet in split.sheets:
        assert sheet.row.label is not None
        assert f"{split.made.classes[sheet.row.label]} · class {sheet.row.label}" in parsed.text
        facts = f"video {sheet.row.key} · {sheet.row.frames} frames"
        assert facts in parsed.text and "“pushing a pen”" in parsed.text


def test_nothing_on_the_page_comes_from_elsewhere_or_runs(whole: Parsed) -> None:
    assert {name for name, _ in whole.elements}.isdisjoint(
        {"script", "link", "iframe", "object", "base", "form"}
    )
    for _, attributes in whole.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href"):
                assert str(value).startswith(("data:image/jpeg;base64,", "#"))
    targets = {str(link["href"])[1:] for link in whole.named("a")}
    assert targets == {"train", "validation", "test", "train-failures"}
    assert targets <= {str(attributes.get("id")) for _, attributes in whole.elements}


def test_failures_and_classes_without_samples_are_shown(built: Path, whole: Parsed) -> None:
    assert "1 of 8 videos" in whole.text and "empty file (0 bytes)" in whole.text
    (train,) = look([str(built / "train")], 1)
    assert [count for _, count in train.classes] == [4, 3, 0]
    assert train.classes[2] == (2, 0)
    assert train.class_line() == "3 classes, samples in each: 0 to 4, median 3; 1 empty"
    assert ("span", {"class": "n bad"}) in whole.elements


def test_a_split_without_labels_says_so(built: Path) -> None:
    (test,) = look([str(built / "test")], 5)
    assert (test.classes, test.unlabelled, len(test.sheets)) == ([], 2, 2)
    parsed = Parsed(page.render("x", [test]))
    assert parsed.text.count("no label ·") == 2 and "no labels" in parsed.text
    assert not [a for a in parsed.named("ol") if a.get("class") == "classes"]


def test_the_same_seed_shows_the_same_samples(tmp_path: Path) -> None:
    made = shards.make(tmp_path, [20, 20], frames=3)

    def keys(seed: int) -> list[str]:
        return [sheet.row.key for sheet in look([made.root], 5, seed=seed)[0].sheets]

    assert keys(1) == keys(1) and len({*map(tuple, map(keys, range(5)))}) == 5
    assert keys(1) == sorted(keys(1), key=lambda key: int(key.removeprefix("clip-")))


def test_a_spread_in_words() -> None:
    assert spread([5, 5]) == "5"
    assert spread([9, 1, 2000]) == "1 to 2,000, median 9"


def test_a_split_without_any_usable_video_has_its_failures(tmp_path: Path) -> None:
    annotations, videos = write_set(tmp_path, train=1, validation=1, test=0)
    (videos / "1.webm").write_bytes(b"")
    (made, _) = build.build(Request("sthv2", annotations, videos, str(tmp_path / "out"))).manifests
    (split,) = look([made.root], 3)
    assert split.lines() == [f"{made.root}: 0 videos, 0.0 MB, 1 shards, 1 failures"]
    assert "1 of 1 videos" in Parsed(page.render("x", [split])).text


def test_the_command_writes_the_page_and_a_summary(
    built: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["inspect", str(built), "--samples", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"{built}/train: 7 videos") and lines[0].endswith("3 shards, 1 failures")
    assert lines[1:4] == ["  frames   6 to 8, median 7", lines[2], lines[3]]
    assert lines[3] == "  labels   3 classes, samples in each: 0 to 4, median 3; 1 empty"
    assert lines[11] == "  labels   no labels"
    assert lines[12].startswith("inspect.html: ") and len(lines) == 13
    text = (tmp_path / "inspect.html").read_text()
    assert text.count('class="sample"') == 6 and len(Parsed(text).named("section")) == 3

    other = tmp_path / "other.html"
    for url in (f"{built}/validation", f"{built}/validation/manifest.json"):
        assert main(["inspect", url, "--out", str(other), "--every", "1", "--seed", "3"]) == 0
        assert len(Parsed(other.read_text()).named("img")) == manifest.load(url).frames
    assert main(["inspect", str(built), "--out", str(other), "--split", "test"]) == 0
    assert len(Parsed(other.read_text()).named("section")) == 1


def test_a_damaged_sample_is_shown_and_changes_the_exit_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = shards.make(tmp_path, [2], frames=3)
    tar = Path(made.shard_url(0))
    data = bytearray(tar.read_bytes())
    data[2000] ^= 1
    tar.write_bytes(data)
    assert main(["inspect", made.root, "--out", str(tmp_path / "page.html")]) == 1
    told = capsys.readouterr().out
    assert "  sample clip-0 is damaged: its CRC-32 differs" in told and "blvnet-shard verify" in told
    parsed = Parsed((tmp_path / "page.html").read_text())
    assert "damaged: its CRC-32 differs" in parsed.text and len(parsed.named("img")) == 3


def test_a_mistake_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(tmp_path)]) == 2
    assert "no splits of a shard set in it" in capsys.readouterr().err
    assert main(["inspect", str(tmp_path / "manifest.json")]) == 2
    assert "no such manifest" in capsys.readouterr().err
    with pytest.raises(UserError, match="no such manifest"):
        look([str(tmp_path)], 1)


@pytest.mark.store
def test_a_set_in_a_bucket_and_a_page_into_it(s3: str, capsys: pytest.CaptureFixture[str]) -> None:
    shards.make(s3, [3, 2], frames=4)
    target = storage.join(s3, "look", "page.html")
    assert main(["inspect", s3, "--samples", "4", "--out", target]) == 0
    assert f"{s3}/train: 5 videos" in capsys.readouterr().out
    assert len(Parsed(storage.read_bytes(target).decode()).named("img")) == 16


def hostile_set(folder: Path) -> Path:
    """A set whose class, id, annotation file, failure and place try to be HTML."""
    videos = folder / "videos"
    videos.mkdir()
    write_video(videos / "a.webm", frames=4)
    (videos / "b.webm").write_bytes(b"")
    listed = folder / "list.csv"
    with listed.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "label", "id"))
        rows.writerow(("a.webm", HOSTILE, "<img src=x onerror=stop()>"))
        rows.writerow(("b.webm", HOSTILE, '"><svg onload=stop()>'))
    out = folder / "<b>out & about"
    build.build(Request("csv", listed, videos, str(out), Settings(short_side=32)))
    return out


def test_names_that_are_html_stay_text(tmp_path: Path) -> None:
    out = hostile_set(tmp_path)
    text = page.render(str(out), look([str(out / "train")], 12))
    parsed = Parsed(text)
    assert "<script" not in text and "<b>out" not in text
    assert parsed.text.count(HOSTILE) == 2
    for said in ("<img src=x onerror=stop()>", '"><svg onload=stop()>', "<b>out & about"):
        assert said in parsed.text
    assert [image["alt"] for image in parsed.named("img")] == [f"frame {n}" for n in range(4)]
    assert len(parsed.named("svg")) == 2


def test_many_failures_are_left_to_their_file(built: Path) -> None:
    (split,) = look([str(built / "train")], 1)
    split.made.failures.extend(split.made.failures * 250)
    text = Parsed(page.render("x", [split])).text
    assert text.count("empty file (0 bytes)") == 200 and "and 51 more: failures.csv" in text


COLOURS = [(230, 30, 30), (30, 170, 40), (40, 60, 220), (240, 200, 30), (150, 40, 180), (30, 190, 200)]


def solid(sample: int, number: int, width: int, height: int) -> NDArray[np.uint8]:
    """Frames 0 and 2 of the two samples in colours of their own; frame 1, which is not shown, in pink."""
    colour = (255, 110, 190) if number == 1 else COLOURS[3 * sample + number]
    return np.full((height, width, 3), colour, np.uint8)


@pytest.mark.browser
def test_a_browser_draws_the_pictures(tmp_path: Path) -> None:
    made = shards.make(tmp_path, [2], frames=3, width=80, height=60, picture=solid)
    assert main(["inspect", made.root, "--out", str(tmp_path / "page.html"), "--every", "2"]) == 0
    drawn = screenshot(tmp_path / "page.html", 1200, 1600)

    shown = [COLOURS[i] for i in (0, 2, 3, 5)]
    assert [pixels(drawn, colour) for colour in shown] == pytest.approx([80 * 60] * 4, rel=0.1)
    assert pixels(drawn, (255, 110, 190)) == 0
    # The histograms' bars.
    assert pixels(drawn, (0x3B, 0x6E, 0xA5)) > 100


@pytest.mark.browser
def test_a_browser_runs_nothing_of_hostile_names(tmp_path: Path) -> None:
    out = hostile_set(tmp_path)
    # Without the page's own ban on scripts, so that the escaping alone is tried.
    text = page.render(str(out), look([str(out / "train")], 12))
    bare, bans = re.subn(r"<meta http-equiv=[^>]*>", "", text)
    assert bans == 1
    (tmp_path / "page.html").write_text(bare)
    parsed = Parsed(chromium(tmp_path, "--dump-dom", f"file://{tmp_path}/page.html"))
    assert "owned" not in "".join(str(a) for a in parsed.named("title"))
    assert not parsed.named("script")
    assert len(parsed.named("img")) == 4 and len(parsed.named("svg")) == 2
    assert HOSTILE in parsed.text
