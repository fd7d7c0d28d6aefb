import json
import shutil
from pathlib import Path

import pytest

from sharding.building import build
from sharding.building.settings import Settings
from sharding.building.verify import verify
from sharding.errors import UserError
from sharding.format import manifest
from sharding.format.sidecar import load_sidecar
from tests import hostile
from tests.unit.sharding.videos import tree, write_set


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("set")
    write_set(folder, train=7, validation=1, test=0)
    return folder


def request(source: Path, out: Path, repair: bool = False) -> build.Request:
    settings = Settings(short_side=32, samples_per_shard=2)
    return build.Request(
        "sthv2",
        source / "annotations",
        source / "videos",
        str(out),
        settings,
        splits=["train"],
        repair=repair,
    )


@pytest.fixture(scope="module")
def built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built")
    build.build(request(source, out))
    return out


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """A copy of the built set, to be damaged."""
    return Path(shutil.copytree(built, tmp_path / "copy"))


def flip(file: Path, place: int) -> None:
    data = bytearray(file.read_bytes())
    data[place] ^= 1
    file.write_bytes(data)


def problems(out: Path) -> dict[str, list[str]]:
    report = verify(str(out / "train"), 1)
    assert report.lines()[0].endswith("damaged:" if report.problems else "all as built")
    assert len(report.lines()) == 1 + len(report.problems)
    return report.problems


def test_a_sound_set_has_no_problems(built: Path) -> None:
    report = verify(str(built / "train"), 2)
    assert (report.problems, report.shards, report.samples) == ({}, 4, 7)


def test_a_flipped_byte_names_shard_and_sample(copy: Path) -> None:
    row = load_sidecar(str(copy / "train" / "shard-000001.json")).samples[1]
    flip(copy / "train" / "shard-000001.tar", row.offset + row.bytes - 700)
    assert problems(copy) == {
        "shard-000001.tar": [f"sample {row.key}: its CRC-32 differs", "its SHA-256 differs"]
    }


def test_a_flipped_byte_behind_the_samples_is_found(copy: Path) -> None:
    tar = copy / "train" / "shard-000002.tar"
    flip(tar, tar.stat().st_size - 1)
    assert problems(copy) == {"shard-000002.tar": ["its SHA-256 differs"]}


def test_a_cut_shard_is_told(copy: Path) -> None:
    tar = copy / "train" / "shard-000000.tar"
    row = load_sidecar(str(tar.with_suffix(".json"))).samples[1]
    tar.write_bytes(tar.read_bytes()[: row.offset + 600])
    (found,) = problems(copy).values()
    assert found == [
        f"{row.offset + 600} bytes, should be {found[0].split()[-1]}",
        f"sample {row.key}: the shard ends inside it",
    ]


def test_missing_files_are_told(copy: Path) -> None:
    (copy / "train" / "shard-000000.tar").unlink()
    (copy / "train" / "shard-000003.json").unlink()
    found = problems(copy)
    assert set(found) == {"shard-000000.tar", "shard-000003.tar"}
    assert "no such file" in found["shard-000000.tar"][0]
    assert "its sidecar cannot be used" in found["shard-000003.tar"][0]


def test_a_sidecar_of_another_build_is_told(copy: Path) -> None:
    shutil.copy(copy / "train" / "shard-000001.json", copy / "train" / "shard-000000.json")
    assert problems(copy) == {
        "shard-000000.tar": ["its sidecar is not the one that the manifest was made from"]
    }


def test_a_changed_sidecar_row_is_told(copy: Path) -> None:
    file = copy / "train" / "shard-000000.json"
    row = load_sidecar(str(file)).samples[0]
    text = file.read_text()
    file.write_text(
        text.replace(f'"frames": {row.frames},', '"frames": 99,', 1).replace(
            f'"frames": {row.frames}\n', '"frames": 99\n', 1
        )
    )
    assert file.read_text() != text
    (found,) = problems(copy).values()
    assert found == [f"sample {row.key}: its JSON and the sidecar disagree on frames or label"]


def test_a_changed_failure_is_told_of_the_manifest(copy: Path) -> None:
    file = copy / "train" / "manifest.json"
    file.write_text(file.read_text().replace('"failures": []', '"failures": [{"key": "9", "reason": "x"}]'))
    assert problems(copy) == {
        "manifest.json": ["differs from what the sidecars say; run blvnet-shard finalize"]
    }


def test_a_shard_that_the_manifest_does_not_know_is_told(copy: Path) -> None:
    shutil.copy(copy / "train" / "shard-000000.tar", copy / "train" / "shard-000009.tar")
    assert problems(copy) == {"shard-000009.tar": ["not in the manifest"]}


def test_without_a_manifest_there_is_nothing_to_check_against(copy: Path) -> None:
    (copy / "train" / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"manifest\.json: no such manifest"):
        verify(str(copy / "train"), 1)


def test_repair_builds_only_what_is_damaged(source: Path, built: Path, copy: Path) -> None:
    flip(copy / "train" / "shard-000000.tar", 3000)
    flip(
        copy / "train" / "shard-000001.json",
        (copy / "train" / "shard-000001.json").read_bytes().index(b"crc32") + 9,
    )
    (copy / "train" / "shard-000002.json").write_text("{")
    untouched = (copy / "train" / "shard-000003.tar").stat().st_mtime_ns
    with pytest.raises(
        UserError,
        match=r"shard-000002\.json: not a shard's sidecar \(not JSON: .*\); run blvnet-shard build --repair",
    ):
        build.build(request(source, copy))
    assert build.build(request(source, copy, repair=True)).built == 3
    assert tree(copy) == tree(built)
    assert (copy / "train" / "shard-000003.tar").stat().st_mtime_ns == untouched
    assert problems(copy) == {}


@pytest.mark.parametrize(
    "name",
    [
        "JSON nested without end",
        "samples that are a text",
        "bytes of more than there is",
        "a label of no class",
        "a thousand million shards",
        "a key that leads out",
    ],
)
def test_repair_mends_a_hostile_sidecar(source: Path, built: Path, copy: Path, name: str) -> None:
    file, harm = copy / "train" / "shard-000001.json", hostile.SIDECAR[name]
    sidecar = json.loads(file.read_text())
    harm.row(sidecar["samples"][0])
    harm.sidecar(sidecar)
    file.write_text(sidecar.get("raw") or json.dumps(sidecar))
    with pytest.raises(UserError, match=r"shard-000001\.json: not a shard's sidecar"):
        build.build(request(source, copy))
    assert build.build(request(source, copy, repair=True)).built == 1
    assert tree(copy) == tree(built)


def test_repair_mends_a_sidecar_that_names_other_settings(source: Path, built: Path, copy: Path) -> None:
    file = copy / "train" / "shard-000001.json"
    file.write_text(file.read_text().replace('"quality": 90', '"quality": 91'))
    assert build.build(request(source, copy, repair=True)).built == 1
    assert tree(copy) == tree(built)


def test_repair_does_not_mix_two_builds(source: Path, copy: Path) -> None:
    other = build.Request(
        "sthv2",
        source / "annotations",
        source / "videos",
        str(copy),
        Settings(short_side=32, samples_per_shard=2, quality=50),
        splits=["train"],
        repair=True,
    )
    with pytest.raises(UserError, match="quality is 50 and was 90"):
        build.build(other)


def test_a_manifest_of_mixed_sidecars_is_refused(copy: Path) -> None:
    file = copy / "train" / "shard-000001.json"
    file.write_text(file.read_text().replace('"quality": 90', '"quality": 91'))
    with pytest.raises(
        UserError, match=r"shard-000001\.json: built from other things .* quality is 91 and was 90"
    ):
        manifest.finalize(str(copy / "train"))
