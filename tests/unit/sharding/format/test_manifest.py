import json
from pathlib import Path

import pytest

from sharding.errors import UserError
from sharding.format import manifest

SOUND = {
    "format": 1,
    "dataset": "sthv2",
    "split": "train",
    "samples": 3,
    "frames": 30,
    "bytes": 50000,
    "settings": {"quality": 90},
    "annotations": "0" * 64,
    "classes": ["a", "b"],
    "shards": [
        {"name": "shard-000000.tar", "bytes": 30000, "sha256": "1" * 64, "samples": 2, "frames": 20},
        {"name": "shard-000001.tar", "bytes": 20000, "sha256": "2" * 64, "samples": 1, "frames": 10},
    ],
    "failures": [{"key": "7", "reason": "no such file"}],
}


def write(folder: Path, content: object) -> str:
    (folder / "manifest.json").write_text(json.dumps(content))
    return str(folder)


@pytest.mark.parametrize("tail", ["", "/", "/manifest.json"])
def test_it_loads_from_the_folder_or_the_file(tmp_path: Path, tail: str) -> None:
    loaded = manifest.load(write(tmp_path, SOUND) + tail)
    assert (loaded.dataset, loaded.samples, loaded.frames, loaded.bytes) == ("sthv2", 3, 30, 50000)
    assert loaded.shard_url(1) == f"{tmp_path}/shard-000001.tar"
    assert loaded.sidecar_url(0) == f"{tmp_path}/shard-000000.json"
    assert [f.reason for f in loaded.failures] == ["no such file"]
    assert len(loaded.sha256) == 64


def test_its_hash_is_that_of_the_file(tmp_path: Path) -> None:
    first = manifest.load(write(tmp_path, SOUND)).sha256
    assert manifest.load(write(tmp_path, SOUND)).sha256 == first
    assert manifest.load(write(tmp_path, SOUND | {"split": "other"})).sha256 != first


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"samples": 4}, "its totals are not the sums of its shards"),
        ({"bytes": 49999}, "its totals are not the sums of its shards"),
        ({"shards": [{"name": "x"}]}, "not a manifest"),
        ({"format": 7}, "format version 7"),
        ({"failures": [{"no": 1}]}, "not a manifest"),
    ],
)
def test_a_malformed_manifest_is_named(tmp_path: Path, change: dict[str, object], says: str) -> None:
    url = write(tmp_path, SOUND | change)
    with pytest.raises(UserError, match=says) as caught:
        manifest.load(url)
    assert f"{url}/manifest.json" in str(caught.value)


def test_a_missing_manifest_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"manifest\.json: no such manifest; .*finalize"):
        manifest.load(str(tmp_path / "train"))


def test_an_empty_folder_has_nothing_to_finish(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no shards in it"):
        manifest.finalize(str(tmp_path))
