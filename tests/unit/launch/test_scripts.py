"""The batch scripts, run with stand-ins for SLURM's commands that write down how they were called."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from launch import slurm, slurm_tasks
from tests.conftest import need
from tests.unit.launch.stubs import EXPECTED, stub

TRAIN_JOB = {"SLURM_JOB_ID": "41", "SLURM_JOB_NUM_NODES": "4", "SLURM_JOB_NODELIST": "n[1-4]"}


@pytest.fixture
def commands(tmp_path: Path) -> Path:
    """A folder for stand-ins; `calls` beside it is what they write."""
    folder = tmp_path / "bin"
    stub(folder, "hostname", "echo first-node")
    stub(folder, "date", "echo NOW")
    for name in ("scontrol", "scancel", "blvnet-shard", "blvnet-launch"):
        stub(folder, name, f'echo "{name} $*" >>{tmp_path}/calls')
    return folder


def environment(commands: Path, **variables: str) -> dict[str, str]:
    others = {k: v for k, v in os.environ.items() if not k.startswith("SLURM") and not k.startswith("TORCH")}
    return {**others, "PATH": f"{commands}:{os.environ['PATH']}", **variables}


def run(script: Path, *arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(script), *arguments], env=env, capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize("script", [slurm.TRAIN, slurm.SHARD], ids=lambda path: path.name)
def test_scripts_pass_shellcheck(script: Path) -> None:
    need(shutil.which("shellcheck"), "shellcheck is not installed")
    done = subprocess.run(["shellcheck", str(script)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_training_starts_one_agent_a_node_as_expected(commands: Path, tmp_path: Path) -> None:
    stub(commands, "srun", 'printf "%s\\n" srun "$@"; env | grep -E "^(SRUN|TORCH_ELASTIC)" | sort')
    env = environment(commands, **TRAIN_JOB, SLURM_GPUS_ON_NODE="8", SLURM_CPUS_PER_TASK="96")
    done = run(slurm.TRAIN, "a.yaml", "run.folder=s3://b/r", env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (EXPECTED / "train_agents.txt").read_text()


def test_training_fails_with_its_agents(commands: Path, tmp_path: Path) -> None:
    stub(commands, "srun", "exit 7")
    assert run(slurm.TRAIN, "a.yaml", env=environment(commands, **TRAIN_JOB)).returncode == 7
    assert not (tmp_path / "calls").exists()


def test_training_that_was_told_to_stop_is_requeued(commands: Path, tmp_path: Path) -> None:
    stub(commands, "srun", "exit 75")
    assert run(slurm.TRAIN, "a.yaml", env=environment(commands, **TRAIN_JOB)).returncode == 0
    assert (tmp_path / "calls").read_text() == "scontrol requeue 41\n"


@pytest.mark.parametrize(
    ("status", "then"), [(75, ["scontrol requeue 41"]), (137, ["scontrol requeue 41"]), (0, [])]
)
def test_before_the_time_limit_training_is_stopped_and_then_requeued_unless_it_is_done(
    commands: Path, tmp_path: Path, status: int, then: list[str]
) -> None:
    # The stand-in agents end after they have been signalled, and take a while to do so.
    wait_for_signal = f"while ! grep -q scancel {tmp_path}/calls; do sleep 0.1; done"
    stub(commands, "srun", f"echo started\n{wait_for_signal}\nsleep 0.5\necho ended\nexit {status}")
    (tmp_path / "calls").touch()
    env = environment(commands, **TRAIN_JOB)
    job = subprocess.Popen([str(slurm.TRAIN), "a.yaml"], env=env, stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    while job.stdout.readline() != "started\n":
        pass
    job.send_signal(signal.SIGUSR1)
    out, _ = job.communicate(timeout=100)
    assert job.returncode == 0
    assert "ended" in out.splitlines()
    assert (tmp_path / "calls").read_text().splitlines() == ["scancel --signal=TERM 41", *then]


@pytest.mark.parametrize(("variables", "workers"), [({}, 1), ({"SLURM_CPUS_PER_TASK": "16"}, 16)])
def test_a_build_takes_the_cores_of_its_task(
    commands: Path, tmp_path: Path, variables: dict[str, str], workers: int
) -> None:
    assert (
        run(slurm.SHARD, "build", "--out", "my shards", env=environment(commands, **variables)).returncode
        == 0
    )
    assert (tmp_path / "calls").read_text() == f"blvnet-shard build --workers {workers} --out my shards\n"


def test_a_prologue_changes_environment_program_and_step(commands: Path, tmp_path: Path) -> None:
    stub(commands, "srun", 'printf "%s\\n" "$@"; echo "MODULE=$MODULE"')
    lines = (
        "export MODULE=cuda$NOBODY_SETS_THIS\ncontainer=(apptainer exec b.sif)\nsrun_options=(--mpi=none)\n"
    )
    (tmp_path / "my setup.sh").write_text(lines)
    env = environment(commands, **TRAIN_JOB)
    done = run(slurm.TRAIN, "--prologue", str(tmp_path / "my setup.sh"), "a.yaml", "optim.epochs=3", env=env)
    assert done.returncode == 0, done.stderr
    words = done.stdout.splitlines()
    before = words.index("python")
    assert words[before - 4 : before + 3] == [
        "--mpi=none",
        "apptainer",
        "exec",
        "b.sif",
        "python",
        "-m",
        "pipeline.agent",
    ]
    assert words[-4:] == ["--config", "a.yaml", "optim.epochs=3", "MODULE=cuda"]


ODD = """\
echo "$#"
set +e +u +o pipefail
set -- others
true
"""


@pytest.mark.parametrize("script", [slurm.TRAIN, slurm.SHARD], ids=lambda path: path.name)
def test_a_prologue_gets_no_arguments_and_changes_none(script: Path, commands: Path, tmp_path: Path) -> None:
    # What is sourced without arguments sees those of the script: conda's activate would take them for its own.
    stub(commands, "srun", 'printf "%s\\n" "$@"; exit 7')
    stub(commands, "blvnet-shard", 'printf "%s\\n" "$@"; exit 7')
    (tmp_path / "odd ümlaut's $HOME.sh").write_text(ODD)
    words = ["build", "--out", "my $shards"] if script == slurm.SHARD else ["a b.yaml", "run.folder=my $run"]
    done = run(
        script,
        "--prologue",
        f"{tmp_path}/odd ümlaut's $HOME.sh",
        *words,
        env=environment(commands, **TRAIN_JOB),
    )
    assert done.returncode == 7, done.stderr
    assert done.stdout.startswith("0\n")
    assert done.stdout.splitlines()[-1] == words[-1]


def test_a_prologue_that_fails_ends_the_job(commands: Path, tmp_path: Path) -> None:
    stub(commands, "srun", f"echo srun >>{tmp_path}/calls")
    (tmp_path / "setup.sh").write_text("module_that_is_not_there load cuda\n")
    env = environment(commands, **TRAIN_JOB)
    done = run(slurm.TRAIN, "--prologue", str(tmp_path / "setup.sh"), "a.yaml", env=env)
    assert done.returncode != 0
    assert "module_that_is_not_there" in done.stderr
    assert not (tmp_path / "calls").exists()


def test_a_build_has_a_prologue_too(commands: Path, tmp_path: Path) -> None:
    (tmp_path / "setup.sh").write_text("container=(env -u NOTHING)\n")
    env = environment(commands, SLURM_CPUS_PER_TASK="2")
    assert run(slurm.SHARD, "--prologue", str(tmp_path / "setup.sh"), "build", env=env).returncode == 0
    assert (tmp_path / "calls").read_text() == "blvnet-shard build --workers 2\n"


ARRAY_TASK = {"SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_ID": "20"}


@pytest.mark.parametrize(
    ("ended", "restarts", "status", "requeued"),
    [
        (0, 0, 0, False),
        (1, 0, 0, True),  # it goes into the queue
        (137, 1, 0, True),
        (1, 2, 1, False),
        (2, 0, 2, False),
        (130, 0, 130, False),
    ],
)
def test_a_task_that_fails_is_tried_again_unless_it_was_a_mistake(
    ended: int, restarts: int, status: int, requeued: bool, commands: Path, tmp_path: Path
) -> None:
    stub(commands, "blvnet-shard", f"exit {ended}")
    env = environment(commands, **ARRAY_TASK, SLURM_RESTART_COUNT=str(restarts))
    done = run(slurm.SHARD, "build", env=env)
    assert done.returncode == status
    assert (tmp_path / "calls").exists() == requeued
    if requeued:
        assert (tmp_path / "calls").read_text() == "scontrol requeue 20\n"
    begins, ends = done.stdout.splitlines()
    assert begins == f"NOW task 3 begins, try {restarts + 1}, on first-node"
    assert ends == f"NOW task 3 ends with status {ended}"


def test_what_a_task_logs_is_what_the_table_reads(commands: Path, tmp_path: Path) -> None:
    stub(commands, "blvnet-shard", "echo 'error: disk full'; exit 1")
    env = environment(commands, **ARRAY_TASK, SLURM_RESTART_COUNT="2")
    log = tmp_path / "x_3.log"
    log.write_text(run(slurm.SHARD, "build", env=env).stdout)
    assert slurm_tasks.look(log, 3) == slurm_tasks.Task(3, "failed (1)", 3, "first-node", "error: disk full")


@pytest.mark.parametrize(("status", "calls"), [(0, 2), (1, 1)])
def test_manifests_are_written_only_after_all_tasks(
    status: int, calls: int, commands: Path, tmp_path: Path
) -> None:
    stub(commands, "blvnet-launch", f'echo "blvnet-launch $*" >>{tmp_path}/calls; exit {status}')
    words = ["--after", "my logs/x-17", "64", "finalize", "shards"]
    assert run(slurm.SHARD, *words, env=environment(commands)).returncode == status
    expected = ["blvnet-launch slurm tasks my logs/x-17 64", "blvnet-shard finalize shards"]
    assert (tmp_path / "calls").read_text().splitlines() == expected[:calls]


def test_a_build_is_told_that_the_array_is_its_own(commands: Path, tmp_path: Path) -> None:
    stub(commands, "blvnet-shard", f'echo "$BLVNET_SHARD_ARRAY" >{tmp_path}/array')
    assert run(slurm.SHARD, "build", env=environment(commands, SLURM_ARRAY_JOB_ID="17")).returncode == 0
    assert (tmp_path / "array").read_text() == "17\n"


def test_another_command_is_run_as_it_is(commands: Path, tmp_path: Path) -> None:
    assert run(slurm.SHARD, "finalize", "shards", env=environment(commands)).returncode == 0
    assert (tmp_path / "calls").read_text() == "blvnet-shard finalize shards\n"


@pytest.mark.parametrize(("status", "starts"), [(0, True), (1, False)])
def test_nodes_are_looked_at_first_if_that_is_asked_for(
    status: int, starts: bool, commands: Path, tmp_path: Path
) -> None:
    stub(commands, "blvnet-launch", f'echo "blvnet-launch $*" >>{tmp_path}/calls; exit {status}')
    stub(commands, "srun", f"echo srun >>{tmp_path}/calls")
    env = environment(commands, **TRAIN_JOB, SLURM_GPUS_ON_NODE="8")
    assert run(slurm.TRAIN, "--preflight", "a.yaml", "optim.epochs=3", env=env).returncode == status
    looked = "blvnet-launch preflight --nproc 8 --config a.yaml optim.epochs=3"
    assert (tmp_path / "calls").read_text().splitlines() == [looked, *["srun"] * starts]
