"""verify, inspect and finalize on shards of people who mean harm: one line each, and no traceback."""

from pathlib import Path

import pytest

from sharding.building.verify import Target, check_shard
from sharding.cli import main
from sharding.errors import UserError
from sharding.format import manifest
from tests import hostile
from tests.hostile import KEY, MANIFEST, SAMPLE, SIDECAR

ALL = {
    f"{kind}: {name}": harm
    for kind, table in (("sample", SAMPLE), ("sidecar", SIDECAR), ("manifest", MANIFEST))
    for name, harm in table.items()
}


@pytest.mark.parametrize("name", SAMPLE)
def test_verify_names_a_bad_sample(tmp_path: Path, name: str) -> None:
    hostile.make(tmp_path, SAMPLE[name])
    split = manifest.load(str(tmp_path / "train"))
    (problem,) = check_shard(Target(split.place(0), 8, split.shards[0]), lambda step: None)
    key = "clip-99" if name == "another key in the row" else KEY
    assert problem.startswith(f"sample {key}: ") and SAMPLE[name].words in problem
    assert "\n" not in problem


@pytest.mark.parametrize("name", SIDECAR)
def test_verify_names_a_bad_sidecar(tmp_path: Path, name: str) -> None:
    split = hostile.make(tmp_path, SIDECAR[name])
    (problem,) = check_shard(Target(split.place(0), 8), lambda step: None)
    assert SIDECAR[name].words in problem and "shard-000000.json: " in problem
    assert "\n" not in problem


@pytest.mark.parametrize("name", ALL)
def test_inspect_shows_what_it_can_and_says_the_rest_in_a_line(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    hostile.make(tmp_path, ALL[name])
    status = main(
        ["inspect", str(tmp_path), "--samples", "8", "--every", "1", "--out", f"{tmp_path}/page.html"]
    )
    said, mistakes = capsys.readouterr()
    if name.startswith("sample: "):
        assert status == 1 and ALL[name].words in said and mistakes == ""
        assert (tmp_path / "page.html").read_text().count('class="bad">damaged') == 1
    else:
        assert status == 2 and mistakes.startswith("error: ") and mistakes.count("\n") == 1


@pytest.mark.parametrize("name", SIDECAR)
def test_finalize_refuses_a_bad_sidecar(
    tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    split = hostile.make(tmp_path, SIDECAR[name])
    Path(split.root, "manifest.json").unlink()
    assert main(["finalize", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and f"{split.sidecar_url(0)}: " in error
    with pytest.raises(UserError):
        manifest.load(split.root)
