"""A cloud's page: its commands shard, train and go on, on a server that speaks as the cloud's store does."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sharding.demo import demo
from tests import commands, documents
from tests.processes import ROOT, environment

STORES = {"aws": "s3", "google-cloud": "gs", "azure": "azure"}
"""By page, the fixture with a root in the cloud's store."""

VIDEOS = ["--short-side", "64", "--samples-per-shard", "5", "--workers", "1"]
SMALL = ["data.size=32", "data.short_side=32", "data.workers=0", "model.num_frames=4", "model.depth=26"]
SMALL += ["optim.global_batch=4", "optim.warmup_epochs=0", "run.precision=fp32", "run.audit=true"]
SMALL += ["init.reference=null"]


@pytest.mark.store
@pytest.mark.parametrize("page", STORES)
def test_the_commands_of_a_page_shard_train_and_go_on(
    page: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    root = request.getfixturevalue(STORES[page])
    (block,) = documents.read(ROOT / "docs" / f"{page}.md").blocks
    text, count = re.subn(r"\w+://my-\w+", root, block.text)
    assert count > 3
    text = re.sub(r"data\.cache=\S+", f"data.cache={tmp_path}/cache", text)
    demo.make(tmp_path, workers=1, classes=2, train=12, validation=4, test=2)
    (tmp_path / "labels").mkdir()
    for path in tmp_path.glob("*.json"):
        path.rename(tmp_path / "labels" / path.name)

    ours = [words for words in commands.commands(text) if words[0].startswith("blvnet-")]
    assert [words[:2] for words in ours] == [
        ["blvnet-shard", "build"],
        ["blvnet-shard", "inspect"],
        ["blvnet-launch", "local"],
    ]
    build, inspect, train = ours
    run([*build, *VIDEOS], tmp_path)
    run(inspect, tmp_path)
    run([*train, *SMALL, "optim.epochs=1"], tmp_path)
    folder = f"{root}/runs/50-f8x2"
    assert f"resuming {folder} after 3 steps" in run([*train, *SMALL, "optim.epochs=2"], tmp_path)
    assert any(path.is_file() for path in (tmp_path / "cache").rglob("*"))
    assert "proven" in run(["python", "-m", "pipeline.audit", folder], tmp_path)


def run(words: list[str], folder: Path) -> str:
    """What a command of this environment says, which must succeed."""
    program = str(Path(sys.executable).parent / words[0])
    done = subprocess.run(
        [program, *words[1:]],
        cwd=folder,
        env=environment({"PYTHONPATH": str(ROOT)}),
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr
