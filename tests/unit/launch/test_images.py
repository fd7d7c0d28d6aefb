"""The Containerfile and the SkyPilot task: what they name exists, and the programs know their commands."""

import configparser
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests import commands
from tests.conftest import need
from tests.unit.launch.stubs import stub

ROOT = Path(__file__).parents[3]
TASK = ROOT / "launch" / "skypilot.yaml"
STEPS = re.sub(r"\\\n", " ", (ROOT / "Containerfile").read_text())


def setup() -> configparser.ConfigParser:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    return parser


def step(pattern: str) -> str:
    """What the pattern's group finds in the Containerfile."""
    found = re.search(pattern, STEPS, re.MULTILINE)
    assert found, pattern
    return found[1]


def check_install(words: str) -> None:
    """The extras and the constraints of a pip install of this folder exist."""
    found = re.search(r"'\.\[([\w,]+)\]' --constraint (\S+)", words)
    assert found, words
    assert set(found[1].split(",")) <= set(setup()["options.extras_require"])
    assert (ROOT / found[2]).is_file()


def test_the_container_installs_what_there_is() -> None:
    check_install(step(r"^RUN (pip install .*)$"))
    least = setup()["options"]["python_requires"].removeprefix(">=")
    assert [*map(int, step(r"python:(\d+\.\d+)").split("."))] >= [*map(int, least.split("."))]
    program = json.loads(step(r"^CMD (.*)$"))[0]
    assert f"{program} =" in setup()["options.entry_points"]["console_scripts"]
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert not {"sharding", "blvnet", "pipeline", "launch", "configs", "constraints.txt"} & set(ignored)


def test_the_system_packages_of_the_container_exist() -> None:
    need(shutil.which("apt-cache"), "this is no Debian")
    names = step(r"--no-install-recommends (.*?) &&").split()
    assert names
    done = subprocess.run(["apt-cache", "show", *names], capture_output=True, text=True)
    need(done.stdout, "apt has no list of packages")
    assert done.returncode == 0, done.stderr


def test_the_system_packages_are_found_by_ci() -> None:
    script = (ROOT / ".ci" / "run").read_text()
    line = next(line for line in script.splitlines() if "--no-install-recommends \\(" in line)
    pattern = line.partition("$(")[2].rpartition(")")[0]
    found = subprocess.run(["bash", "-c", pattern], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == step(r"--no-install-recommends (.*?) &&")


FIELDS = {"name", "num_nodes", "workdir", "resources", "envs", "setup", "run"}
"""Of a task, as SkyPilot documents them; those that this one has."""


def test_the_task_has_fields_that_skypilot_knows() -> None:
    task = yaml.safe_load(TASK.read_text())
    assert set(task) == FIELDS
    assert set(task["resources"]) == {"accelerators", "cpus", "use_spot"}
    gpus = int(task["resources"]["accelerators"].partition(":")[2])
    assert task["resources"]["cpus"] == f"{gpus * 9}+"  # 8 workers of the shipped configuration
    check_install(task["setup"].replace("--quiet ", ""))
    required = {name for name, value in task["envs"].items() if value is None}
    assert required == {"DATA", "RUN"}


@pytest.mark.parametrize("rank", [0, 1])
def test_the_task_starts_an_agent_that_finds_the_others(rank: int, tmp_path: Path) -> None:
    task = yaml.safe_load(TASK.read_text())
    (tmp_path / "blvnet").mkdir()
    stub(tmp_path / "blvnet" / "bin", "python", 'printf "%s\\n" "$@"')
    env = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2\n",
        "SKYPILOT_NODE_RANK": str(rank),
        "SKYPILOT_NUM_NODES": "2",
        "SKYPILOT_NUM_GPUS_PER_NODE": "8",
        "SKYPILOT_TASK_ID": "sky-7",
        "CONFIG": task["envs"]["CONFIG"],
        "DATA": "s3://b/my set",
        "RUN": "s3://b/run",
    }
    done = subprocess.run(["bash", "-euc", task["run"]], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    words = done.stdout.splitlines()
    commands.check(["python", *words], tmp_path)
    assert {f"--local-addr=10.0.0.{rank + 1}", f"--rdzv-conf=is_host={int(rank == 0)}"} <= set(words)
    assert {"--rdzv-endpoint=10.0.0.1:29400", "data.root=s3://b/my set"} <= set(words)


def test_the_tasks_shell_is_sound(tmp_path: Path) -> None:
    need(shutil.which("shellcheck"), "shellcheck is not installed")
    for name in ("setup", "run"):
        done = subprocess.run(
            ["shellcheck", "--shell=bash", "-"],
            input=yaml.safe_load(TASK.read_text())[name],
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout
