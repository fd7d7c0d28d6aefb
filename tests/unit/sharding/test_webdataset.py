"""A pipeline of plain webdataset reads our shards with one line of ours."""

import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from webdataset.autodecode import DecodingError

from sharding import storage
from sharding.foreign.sample import Frames, of_any
from sharding.format import manifest, mjpeg
from sharding.format.manifest import Manifest
from sharding.format.rows import SampleRow
from sharding.format.shard import Meta
from sharding.format.sidecar import Sidecar
from sharding.format.turbojpeg import Region
from sharding.webdataset import frames, labelled
from tests import films, foreign, shards
from tests.unit.sharding.videos import write_set

# webdataset leaves the closing of files to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Here, where the warning is ignored, and not in whatever test comes next."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    split = shards.make(tmp_path_factory.mktemp("set"), [3, 4])
    return [split.shard_url(0), split.shard_url(1)]


def every_fourth(count: int) -> range:
    return range(0, count, 4)


def test_samples_are_labels_and_frames(urls: list[str]) -> None:
    dataset = webdataset.WebDataset(urls, shardshuffle=False).decode(frames()).map(labelled)
    for number, sample in enumerate(dataset):
        assert sample["__key__"] == f"clip-{number}"
        assert sample["label"] == number % 3
        assert (sample["width"], sample["height"], sample["fps"]) == (48, 40, 12.0)
        assert sample["frames"].shape == (12, 40, 48, 3)
        assert sample["frames"].dtype == np.uint8
        for i, frame in enumerate(sample["frames"]):
            assert abs(frame.astype(int) - shards.frame(number, i, 48, 40)).mean() < 3
    assert number == 6


@pytest.mark.parametrize("which", [[0, 4, 8], every_fourth])
def test_only_chosen_frames_are_decoded(urls: list[str], which: list[int]) -> None:
    dataset = webdataset.WebDataset(urls, shardshuffle=False).decode(frames(which))
    pictures, meta = next(iter(dataset.to_tuple("mjpeg", "json")))
    assert meta["label"] == 0
    assert pictures[:, 20, 20, 1].astype(int) == pytest.approx([0, 16, 32], abs=4)


def test_batches_come_from_the_processes_of_a_web_loader(urls: list[str]) -> None:
    dataset = webdataset.WebDataset(urls, shardshuffle=False).decode(frames(every_fourth))
    loader = webdataset.WebLoader(dataset.to_tuple("__key__", "mjpeg"), batch_size=None, num_workers=2)
    batches = list(loader.batched(2, partial=True))
    assert sorted(key for keys, _ in batches for key in keys) == [f"clip-{i}" for i in range(7)]
    assert all(pictures.shape[1:] == (3, 40, 48, 3) for _, pictures in batches)


def test_a_frame_that_is_not_there_is_an_error_with_the_key(urls: list[str]) -> None:
    with pytest.raises(DecodingError) as raised:
        next(iter(webdataset.WebDataset(urls, shardshuffle=False).decode(frames([12]))))
    assert raised.value.key == "clip-0"
    assert "the blob has 12" in str(raised.value.__cause__)


def test_frames_without_their_json_are_refused(urls: list[str]) -> None:
    dataset = webdataset.WebDataset(urls, shardshuffle=False).decode(frames(), only="mjpeg")
    with pytest.raises(DecodingError) as raised:
        next(iter(dataset))
    assert "not only='mjpeg'" in str(raised.value.__cause__)


def test_a_test_split_has_no_labels(tmp_path: Path) -> None:
    split = shards.make(tmp_path, [1], "test", labelled=False)
    dataset = webdataset.WebDataset(split.shard_url(0), shardshuffle=False).decode(frames([0])).map(labelled)
    assert next(iter(dataset))["label"] is None


@pytest.mark.parametrize("workers", [0, 2])
def test_films_are_decoded_as_our_own_readers_decode_them(tmp_path: Path, workers: int) -> None:
    write_set(tmp_path, train=5, validation=1, test=0)
    films.built(tmp_path, tmp_path / "films", films.settings())
    split = manifest.load(str(tmp_path / "films" / "train"))
    ours = {row.key: sample for sidecar in split.sidecars() for row, sample in samples(split, sidecar)}
    urls = [split.shard_url(i) for i in range(len(split.shards))]
    dataset = webdataset.WebDataset(urls, shardshuffle=False).decode(frames([0, 3]))
    dataset = dataset.map(with_more).map(labelled)
    found = {
        one["__key__"]: one for one in webdataset.WebLoader(dataset, batch_size=None, num_workers=workers)
    }
    assert found.keys() == ours.keys() and len(found) == 5
    for key, (meta, kept) in ours.items():
        size = meta.width, meta.height
        whole = kept.decode([0, 3], size, "RGB", Region(0, 0, *size), mjpeg.fresh)
        assert np.array_equal(found[key]["frames"], whole)
        assert (found[key]["label"], found[key]["fps"], found[key]["mine"]) == (meta.label, 12.0, key)
    with pytest.raises(DecodingError) as raised:
        next(iter(webdataset.WebDataset(urls, shardshuffle=False).decode(frames([99]))))
    assert "frames [99] asked for, the film has " in str(raised.value.__cause__)


def with_more(sample: dict[str, Any]) -> dict[str, Any]:
    return {**sample, "mine": sample["__key__"]}


def samples(split: Manifest, sidecar: Sidecar) -> Iterator[tuple[SampleRow, tuple[Meta, Frames]]]:
    tar = Path(storage.join(split.root, sidecar.name)).read_bytes()
    for row in sidecar.samples:
        yield row, of_any(row, tar[row.offset : row.offset + row.bytes])


def test_what_is_not_ours_is_left_to_webdataset(tmp_path: Path) -> None:
    tar = foreign.tar(tmp_path / "a.tar", [("a.json", b'{"frames": 3}'), ("a.txt", b"x"), ("a.mp4", b"y")])
    sample = next(iter(webdataset.WebDataset(str(tar), shardshuffle=False).decode(frames())))
    assert (sample["txt"], sample["mp4"]) == ("x", b"y")


def test_it_needs_neither_torch_nor_webdataset() -> None:
    program = (
        "import sys; sys.modules['torch'] = sys.modules['webdataset'] = None; import sharding.webdataset"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
