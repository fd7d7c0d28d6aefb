"""`blvnet-launch slurm shard` and `slurm tasks`: two jobs, and how the tasks of the first one ended."""

import shlex
from pathlib import Path

import pytest

from launch import cli, slurm, slurm_tasks
from tests.unit.launch.mistakes import assert_one_line
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
    assert out[out.index("\njob 17: ") + 1 :] == (EXPECTED / "shard_said.txt").read_text()


def test_a_refused_array_has_no_finalize(
    queue: Queue, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    stub(queue.folder, "sbatch", f"echo called >>{tmp_path}/called; echo 'invalid account' >&2; exit 3")
    assert cli.main(["slurm", "shard", "--tasks", "3", *BUILD]) == 3
    assert "invalid account" in capfd.readouterr().err
    assert (tmp_path / "called").read_text() == "called\n"


def test_a_refused_finalize_leaves_no_unknown_array(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    refuse = '[[ "$*" == *--dependency=* ]] && { echo "too many jobs" >&2; exit 3; }; echo "17;east"'
    stub(queue.folder, "sbatch", refuse)
    assert cli.main(["slurm", "shard", "--tasks", "3", *BUILD]) == 3
    out, err = capfd.readouterr()
    assert "too many jobs" in err
    assert out.endswith(
        "job 17 builds; what is to write the manifests was refused: to stop the builds, scancel 17\n"
    )


def test_folders_and_names_may_have_spaces_and_signs(
    queue: Queue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my 100% $HOME löger's"
    folder.mkdir()
    monkeypatch.chdir(folder)
    assert cli.main(["slurm", "shard", "--tasks", "3", "--job-name", "a b", *BUILD]) == 0
    array, last = queue.calls()
    plain = str(folder).replace("%", "%%")
    assert f"--output={plain}/%x-%A_%a.log" in array
    assert f"--output={plain}/a b-17-finalize.log" in last
    assert last[last.index("--after") + 1] == f"{folder}/a b-17"
    look = next(line for line in capfd.readouterr().out.splitlines() if line.startswith("  look"))
    assert shlex.split(look)[-2:] == [f"{folder}/a b-17", "3"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sbatch", "--array=0-9%2"], "--sbatch --array: give --tasks"),
        (["--sbatch", "-o", "--sbatch", "x.log"], "--sbatch --output: both jobs"),
        (["--sbatch=-ox.log"], "--sbatch --output: both jobs"),
        (["--partition", ""], "an empty --partition; is a variable of the shell not set?"),
        (["--sbatch", " "], "an empty --sbatch"),
        (["--log="], "an empty --log"),
        (["--job-name=a/b"], "--job-name a/b: the logs are called by it"),
        (["--sbatch=-Ja/b"], "--job-name a/b"),
        (["--time", "24h"], "--time 24h: write minutes, hours:minutes:seconds, or days-hours"),
        (["--cpus", "two"], "--cpus: 'two' is no whole number"),
    ],
)
def test_a_mistake_ends_in_one_line(
    words: list[str], message: str, queue: Queue, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_line(["slurm", "shard", "--tasks", "3", *words, *BUILD], message, capsys)
    assert not queue.calls()


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


CANCELLED = "slurmstepd-n1: error: *** JOB 20 ON n1 CANCELLED AT 2026-11-25T13:09:00{} ***\n"
OUT_OF_MEMORY = (
    "slurmstepd: error: Detected 1 oom-kill event(s) in StepId=20.batch. Some of your processes may have been killed "
    "by the cgroup out-of-memory handler.\n"
)


@pytest.mark.parametrize(
    ("last", "state"),
    [
        (CANCELLED.format(" DUE TO TIME LIMIT") + ENDS.format(0, 130), "time limit"),
        (CANCELLED.format(" DUE TO TIME LIMIT"), "time limit"),
        (CANCELLED.format("") + ENDS.format(0, 130), "cancelled"),
        (CANCELLED.format(" DUE TO PREEMPTION"), "preempted"),
        (CANCELLED.format(" DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS"), "node lost"),
        (ENDS.format(0, 137) + OUT_OF_MEMORY, "out of memory"),
        ("Killed\n" + OUT_OF_MEMORY, "out of memory"),
        (ENDS.format(0, 1) + CANCELLED.format(" DUE TO JOB REQUEUE"), "failed (1)"),
        (ENDS.format(0, 0) + OUT_OF_MEMORY, "done"),
        (CANCELLED.format(" DUE TO TIME LIMIT") + BEGINS.format(0, 2, "n2"), "running, or cut off"),
    ],
)
def test_what_slurm_has_done_to_a_task_is_said(last: str, state: str, tmp_path: Path) -> None:
    log = tmp_path / "x_0.log"
    log.write_text(BEGINS.format(0, 1, "n1") + "build: 3 of 9 videos\n" + last)
    task = slurm_tasks.look(log, 0)
    assert task.state == state
    assert task.said in ("build: 3 of 9 videos", "Killed", "")


def test_when_all_tasks_are_done_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(2):
        text = BEGINS.format(number, 1, "n1") + ENDS.format(number, 0)
        (tmp_path / f"blvnet-shard-17_{number}.log").write_text(text)
    assert cli.main(["slurm", "tasks", f"{tmp_path}/blvnet-shard-17", "2"]) == 0
    assert capsys.readouterr().out == "2 of 2 tasks are done\n"
