"""The programs of docs/examples/ do what they say, and the one that trains is killed and goes on at the sample."""

import ast
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.run.proof import prove
from pipeline.streaming import Stream, Video
from tests import processes, shards
from tests.audits import keys_by_step
from tests.unit.sharding.videos import write_video

EXAMPLES = processes.ROOT / "docs" / "examples"
PATH = {"PYTHONPATH": str(processes.ROOT)}


def test_the_network_learns_in_a_loop_of_one_s_own() -> None:
    done = processes.run([sys.executable, str(EXAMPLES / "network.py")], PATH, seconds=280)
    share = int(done.stdout.splitlines()[-1].partition("%")[0])
    assert share > 80, done.stdout


def test_a_csv_becomes_shards_and_batches(tmp_path: Path) -> None:
    rows = ["path,label,split"]
    for number in range(14):
        write_video(tmp_path / f"{number}.webm", 12, (96, 72))
        split = "train" if number < 9 else "validation"
        rows.append(f"{number}.webm,{'opening' if number % 2 else 'closing'} a door,{split}")
    (tmp_path / "videos.csv").write_text("\n".join(rows) + "\n")
    where = [str(tmp_path / "videos.csv"), str(tmp_path), str(tmp_path / "shards")]
    done = processes.run([sys.executable, str(EXAMPLES / "csv_to_batches.py"), *where], PATH)
    lines = done.stdout.splitlines()
    assert "14 videos in" in lines[0]
    keys = [key for line in lines[1:3] for key in ast.literal_eval(line.partition("]")[0] + "]")]
    assert len(set(keys)) == 8
    assert all("torch.Size([4, 4, 64, 64, 3])" in line for line in lines[1:3])
    assert lines[3] == "5 videos of ['closing a door', 'opening a door']"
    assert [line.partition("] ")[2] for line in lines[4:]] == ["torch.Size([3, 4])", "torch.Size([2, 4])"]


def key(video: Video, rng: np.random.Generator) -> Any:
    return int(video.key.removeprefix("clip-"))


def smaller(folder: Path) -> str:
    """The example, with clips that a test has time for; after the step HELD_AT it waits to be killed."""
    text = (EXAMPLES / "r3d18.py").read_text()
    clips, told = "FRAMES, SIZE = 16, 112\n", "flush=True)\n"
    assert (text.count(clips), text.count(told)) == (1, 1)
    held = "        while str(stream.done) == os.environ.get('HELD_AT'): __import__('time').sleep(1)\n"
    path = folder / "r3d18.py"
    path.write_text(text.replace(clips, "FRAMES, SIZE = 2, 32\n").replace(told, told + held))
    return str(path)


def test_the_example_that_trains_is_of_forty_lines() -> None:
    body = ast.parse((EXAMPLES / "r3d18.py").read_text()).body
    code = [node for node in body[1:] if not isinstance(node, ast.Import | ast.ImportFrom)]
    assert sum(1 + (node.end_lineno or 0) - node.lineno for node in code) <= 40


@pytest.mark.timeout(1500)  # three starts of torch, each with processes, on a machine that others use
def test_it_is_killed_in_mid_epoch_and_loses_and_doubles_nothing(tmp_path: Path) -> None:
    split = shards.make(tmp_path / "set", [15, 11], frames=4)  # 6 steps an epoch, and 2 samples left out
    program, file, log = smaller(tmp_path), tmp_path / "run.pt", tmp_path / "log"
    command = [program, split.root, str(file)]

    # Killed after the first epoch's step 5, two steps behind its checkpoint; then in the second epoch.
    for step in (5, 8):
        held = {**PATH, "HELD_AT": str(step)}
        with processes.started([sys.executable, *command], log, held) as process:
            processes.wait_until(lambda s=step: f"step {s}:" in log.read_text(), 400, process, log)
            processes.kill_tree(process)
    assert "step 4:" in log.read_text()  # of the second start, behind the checkpoint after step 3
    ranks = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = processes.run([*ranks, *command], PATH, seconds=600)
    assert "step 7:" in done.stdout
    assert "step 6:" not in done.stdout

    used = keys_by_step(f"{file}.audit")
    planned = Stream(split.root, key, global_batch=4, epochs=2)
    assert used == {
        step: [f"clip-{number}" for number in batch.data.tolist()] for step, batch in enumerate(planned, 1)
    }
    for steps in (range(1, 7), range(7, 13)):
        assert len({key for step in steps for key in used[step]}) == 24
    proof = prove(f"{file}.audit")
    assert (proof.findings, proof.steps, proof.samples, proof.restarts) == ([], 12, 48, [3, 6])
    assert not Path(f"{file}.new").exists()
