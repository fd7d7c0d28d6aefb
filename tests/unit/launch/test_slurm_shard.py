"""`blvnet-launch slurm shard` and `slurm tasks`: two jobs, and how the tasks of the first one ended."""

from pathlib import Path

import pytest

from launch import cli, slurm
from tests.unit.launch.stubs import EXPECTED, Queue, stub

BUILD = ["--dataset", "sthv2", "--annotations", "my labels", "--videos", "20bn", "--out", "s3://b/sthv2"]
WORDS = ["--tasks", "64", "--cpus", "16", "--sbatch=--partition=cpu", "--log", "my logs"]


@pytest.mark.parametrize(
    "words", [[*WORDS, "--print", "--", *BUILD], [*WORDS, *BUILD, "--print"], [*BUILD, "--print", *WORDS]]
)
def test_commands_are_as_expected_wherever_the_options_of_the_build_stand(
    words: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["slurm", "shard", *words]) == 0
    out = capsys.readouterr().out.replace(str(slurm.SHARD), "shard.sbatch").replace(str(tmp_path), "/here")
    assert out == (EXPECTED / "shard_commands.txt").read_text()


def test_finalize_gets_the_splits_and_the_limit_of_the_build(capsys: pytest.CaptureFixture[str]) -> None:
    build = [*BUILD, "--split", "val", "--max-failures=5%", "--split=dev"]
    assert cli.main(["slurm", "shard", "--tasks", "2", "--print", *build]) == 0
    words = capsys.readouterr().out.replace("\\\n", " ").replace(")", " ").split()
    after = words[words.index("finalize") :]
    assert after[:8] == [
        "finalize",
        "s3://b/sthv2",
        "--split",
        "val",
        "--split",
        "dev",
        "--max-failures",
        "5%",
    ]


def test_both_jobs_are_submitted_and_said(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["slurm", "shard", "--tasks", "3", "--job-name", "ssv2", *BUILD]) == 0
    array, last = queue.calls()
    logs = f"{tmp_path}/ssv2-17"
    assert array == [
        *("--parsable", "--array=0-2", "--cpus-per-task=1", "--job-name=ssv2"),
        *(f"--output={tmp_path}/%x-%A_%a.log", str(slurm.SHARD), "build", *BUILD),
    ]
    assert last == [
        *("--parsable", "--job-name=ssv2", "--job-name=ssv2-finalize", "--dependency=afterany:17"),
        *(
            f"--output={logs}-finalize.log",
            str(slurm.SHARD),
            "--after",
            logs,
            "3",
            "finalize",
            "s3://b/sthv2",
        ),
    ]
    out = capfd.readouterr().out.replace(str(tmp_path), "HERE")
    assert out[out.index("echo $job $last\n") + 16 :] == (EXPECTED / "shard_said.txt").read_text()


def test_a_refused_array_has_no_finalize(
    queue: Queue, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stub(queue.folder, "sbatch", f"echo called >>{tmp_path}/called; echo 'invalid account' >&2; exit 3")
    assert cli.main(["slurm", "shard", "--tasks", "3", *BUILD]) == 3
    assert "invalid account" in capfd.readouterr().err
    assert (tmp_path / "called").read_text() == "called\n"


BEGINS = "2026-11-25T13:00:00 task {} begins, try {}, on {}\n"
ENDS = "2026-11-25T13:09:00 task {} ends with status {}\n"


def test_tasks_that_are_not_done_are_one_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs = {
        0: BEGINS.format(0, 1, "n1") + "built 3 shards\n" + ENDS.format(0, 0),
        1: BEGINS.format(1, 1, "n1") + "Traceback\nKilled\n" + ENDS.format(1, 1)
        + BEGINS.format(1, 2, "n2") + "built\n" + ENDS.format(1, 0),
        2: BEGINS.format(2, 1, "n1") + "error: labels/train.json: no such file\nbye\n" + ENDS.format(2, 2),
        3: BEGINS.format(3, 1, "n1") + ENDS.format(3, 1) + BEGINS.format(3, 2, "n22") + "OSError: disk\n"
        + ENDS.format(3, 1) + "requeued\n",
        4: BEGINS.format(4, 1, "n1") + "build: 30 of 90 videos\n",
        6: BEGINS.format(6, 1, "n3") + "interrupted; run the same command again to go on\n" + ENDS.format(6, 130),
    }  # fmt: skip
    for number, text in logs.items():
        (tmp_path / f"blvnet-shard-17_{number}.log").write_text(text)
    assert cli.main(["slurm", "tasks", f"{tmp_path}/blvnet-shard-17", "7"]) == 1
    assert capsys.readouterr().out == (EXPECTED / "tasks.txt").read_text()


def test_when_all_tasks_are_done_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        text = BEGINS.format(number, 1, "n1") + ENDS.format(number, 0)
        (tmp_path / f"blvnet-shard-17_{number}.log").write_text(text)
    assert cli.main(["slurm", "tasks", f"{tmp_path}/blvnet-shard-17", "2"]) == 0
    assert capsys.readouterr().out == "2 of 2 tasks are done\n"
