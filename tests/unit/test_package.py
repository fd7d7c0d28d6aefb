"""What an installation holds: every package, the configurations, the scripts, one version."""

import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import blvnet
import sharding

ROOT = Path(__file__).parents[2]
TRACKED = subprocess.run(
    ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=True,
).stdout.splitlines()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """The wheel of a copy of the tree: a build leaves folders where it runs."""
    folder = tmp_path_factory.mktemp("tree")
    for name in TRACKED:
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    options = [
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--quiet",
        "--wheel-dir",
        str(folder / "out"),
    ]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(folder)], check=True)
    (made,) = (folder / "out").glob("*.whl")
    return zipfile.ZipFile(made)


def test_the_wheel_has_every_module_and_every_configuration(wheel: zipfile.ZipFile) -> None:
    names = set(wheel.namelist())
    houses = ("sharding/", "blvnet/", "pipeline/", "launch/")
    for name in TRACKED:
        if name.startswith(houses) and (ROOT / name).is_file():
            assert name in names
        if name.startswith("configs/"):
            assert f"pipeline/{name}" in names
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {house.rstrip("/") for house in houses}


def test_a_shipped_configuration_is_found_by_its_name_without_a_clone(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    wheel.extractall(tmp_path)
    mine = tmp_path / "mine.yaml"
    mine.write_text("base: sthv2.yaml\ndata: {root: mine}\n")
    program = (
        "from pipeline import config\n"
        f"assert config.__file__.startswith({str(tmp_path)!r})\n"
        "print(config.load('blvnet-tam-50-f8x2-v2', []).run.folder)\n"
        f"print(config.load({str(mine)!r}, []).optim.lr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "runs/blvnet-tam-50-f8x2-v2\n0.01\n", done.stderr


def test_there_is_one_version() -> None:
    assert sharding.__version__ == blvnet.__version__ == metadata.version("blvnet-pipeline")
    assert f"## {sharding.__version__}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {sharding.__version__}\n" in (ROOT / "CITATION.cff").read_text()
