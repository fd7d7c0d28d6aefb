"""The loader on shards of people who mean harm: one line that names the place, or another sample stands in."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline import config
from pipeline.data.clips import eval_cutter, train_cutter
from pipeline.data.loader import batches
from pipeline.data.stream import ClipStream, Passes
from pipeline.order import plan
from sharding.errors import UserError
from sharding.format import manifest, turbojpeg
from sharding.format.manifest import Manifest
from tests import hostile, shards
from tests.conftest import need
from tests.hostile import KEY, MANIFEST, SAMPLE, SAMPLES, SIDECAR, Harm
from tests.processes import ROOT

BATCH = 2


@pytest.fixture(params=["simplejpeg", "libturbojpeg"])
def decoders(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both ways to decode a part of a frame."""
    if request.param == "simplejpeg":
        monkeypatch.setattr(turbojpeg, "available", lambda: False)
    else:
        need(turbojpeg.available(), "no libturbojpeg 3")
    return


def read(split: Manifest, allowed: int | None) -> tuple[list[str], list[str]]:
    """The keys of an epoch, and those that others stood in for."""
    tree = {"data": {"root": "unused", "size": 32, "short_side": 32}, "run": {"folder": "unused"}}
    # So many frames of each sample that all of its four are among them.
    cutter = train_cutter(config.override(tree, ["model.num_frames=32"], "test"), split.classes)
    stream = ClipStream(split, cutter, plan.Order(0, 1, 4), Passes(BATCH), 0, 1, allowed=allowed)
    parts = list(batches(stream, 0))
    return [key for part in parts for key in part.keys], [key for part in parts for key in part.replaced]


def told(split: Manifest, allowed: int | None = None) -> str:
    """The one line that the stream ends with."""
    with pytest.raises(UserError) as caught:
        read(split, allowed)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 800
    return text


@pytest.mark.parametrize("name", SAMPLE)
def test_a_bad_sample_is_named_or_replaced(decoders: None, tmp_path: Path, name: str) -> None:
    hostile.make(tmp_path, SAMPLE[name])
    split = manifest.load(str(tmp_path / "train"))
    text = told(split)
    assert text.startswith(f"{split.shard_url(0)}: ") and SAMPLE[name].words in text
    assert "sample clip-99" in text if name == "another key in the row" else f"sample {KEY}" in text
    keys, replaced = read(split, allowed=1)
    assert len(keys) == SAMPLES and len(replaced) == 1 and replaced[0] in (KEY, "clip-99")


@pytest.mark.parametrize("name", SIDECAR)
def test_a_bad_sidecar_ends_the_run_in_a_line(tmp_path: Path, name: str) -> None:
    before = hostile.make(tmp_path, SIDECAR[name])
    try:
        split = manifest.load(str(tmp_path / "train"))
    except UserError:  # the manifest repeats what is wrong; a run that goes on has an older one
        split = before
    text = told(split, allowed=SAMPLES)
    assert text.startswith(f"{split.sidecar_url(0)}: ") and SIDECAR[name].words in text


@pytest.mark.parametrize("name", MANIFEST)
def test_a_bad_manifest_is_one_line(tmp_path: Path, name: str) -> None:
    hostile.make(tmp_path, MANIFEST[name])
    with pytest.raises(UserError) as caught:
        manifest.load(str(tmp_path / "train"))
    text = str(caught.value)
    assert text.startswith(f"{tmp_path}/train/manifest.json: ") and MANIFEST[name].words in text
    assert "\n" not in text and len(text) < 800


def test_a_sidecar_with_other_classes_is_not_the_manifest_s(tmp_path: Path) -> None:
    hostile.make(tmp_path, Harm("", sidecar=hostile.in_recipe(classes=[*shards.CLASSES, "another"])))
    text = told(manifest.load(str(tmp_path / "train")))
    assert "not the sidecar that the manifest was made from" in text


def test_untouched_it_is_sound(tmp_path: Path) -> None:
    hostile.make(tmp_path, Harm(""))
    keys, replaced = read(manifest.load(str(tmp_path / "train")), allowed=None)
    assert sorted(keys) == [f"clip-{i}" for i in range(SAMPLES)] and replaced == []


def test_frames_of_one_pixel_are_no_mistake(tmp_path: Path) -> None:
    split = shards.make(tmp_path, [SAMPLES], frames=4, width=1, height=1)
    assert len(read(split, None)[0]) == SAMPLES


def test_frames_that_scaling_would_make_huge_end_an_evaluation_in_a_line(tmp_path: Path) -> None:
    split = shards.make(tmp_path, [2], frames=2, width=65500, height=1)
    tree = {"data": {"root": "unused", "size": 32, "short_side": 32}, "run": {"folder": "unused"}}
    for size in ("views.size=full", "views.size=32"):
        cutter = eval_cutter(config.override(tree, ["model.num_frames=2", size], "test"))
        stream = ClipStream(split, cutter, plan.Order(0, 1, 1), Passes(1), 0, 1)
        with pytest.raises(UserError, match=r"sample clip-\d, once scaled: 2096000x32 pixels; a side has"):
            next(batches(stream, 0))


LIMITED = """
import resource, sys
from pathlib import Path
from sharding.cli import main
from sharding.building.verify import Target, check_shard
from sharding.errors import UserError
from sharding.format import manifest, turbojpeg
from sharding.pages.inspect import look
from tests.unit.pipeline.data.test_hostile import read
from tests import hostile

def limit(spare):
    with open("/proc/self/status") as status:
        used = next(int(line.split()[1]) for line in status if line.startswith("VmData")) << 10
    resource.setrlimit(resource.RLIMIT_DATA, (used + spare,) * 2)

turbojpeg.available()
hostile.make(Path(sys.argv[1]) / "sound", hostile.Harm(""))
sound = manifest.load(f"{sys.argv[1]}/sound/train")
read(sound, None), look([sound.root], 8)  # what is reserved once
limit(300 << 20)
for number, harm in enumerate([*hostile.SAMPLE.values(), *hostile.HUGE.values()]):
    root = Path(sys.argv[1]) / str(number)
    hostile.make(root, harm)
    for turbo in (True, False):
        if not turbo:
            turbojpeg.available = lambda: False
        split = manifest.load(f"{root}/train")
        for allowed in (None, 8):
            try:
                read(split, allowed)
            except UserError:
                pass
    found = check_shard(Target(split.place(0), 8, split.shards[0]), lambda step: None)
    assert found, harm.words
    look([split.root], 8)
print("survived")
"""


def test_memory_is_bounded_by_what_is_there_and_not_by_what_is_claimed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=240
    )
    assert done.stdout.strip().endswith("survived"), done.stderr[-3000:]
