"""`blvnet-launch preflight`: the table of a cluster whose nodes are stand-ins, and of this machine."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from launch import cli, over_ssh, preflight, steps
from launch.steps import Line, Step
from pipeline import config as configuration
from pipeline.checking import verdict
from pipeline.checking.report import Report, of_line, to_line
from tests import shards
from tests.processes import ROOT, alive, wait_for
from tests.unit.launch.mistakes import assert_one_line
from tests.unit.launch.stubs import EXPECTED, stub

NODES = ["n1", "n2", "n3", "n4"]
VERSIONS = {"blvnet-pipeline": "0.2.0", "torch": "2.15.0"}
SOUND = Report(
    *("n1", "host-n1", 1000.0, 2, VERSIONS, ["H100"] * 2, 6, 8 * 10**9, 10**9),
    *(None, 0, 4000.0, 900.0, 400.0, {}),
)
Fault = Callable[[Report], Report]


class Cluster:
    """Nodes that answer with their reports, but for `silent` ones; `cut` ones exchange with nobody."""

    def __init__(self, faults: dict[str, Fault], silent: Sequence[str] = (), cut: Sequence[str] = ()) -> None:
        plain = {node: replace(SOUND, node=node, address=f"host-{node}") for node in NODES}
        self.reports = {node: faults.get(node, lambda r: r)(report) for node, report in plain.items()}
        self.silent, self.cut, self.limits = silent, cut, list[float]()

    def start(self, commands: Sequence[tuple[Sequence[str], Sequence[str]]], limit_s: float) -> list[Step]:
        self.limits.append(limit_s)
        return [self._step(nodes, list(words)) for nodes, words in commands]

    def _step(self, nodes: Sequence[str], words: list[str]) -> Step:
        if "node" in words:
            answers = [node for node in nodes if node not in self.silent]
            lines = [Line(f"{i}: {to_line(self.reports[node])}", 1000.5) for i, node in enumerate(answers)]
            return Step(0, [Line("warning: something else", 1000.0), *lines])
        first = words[words.index("exchange") + 1]
        assert first.startswith(f"--first=host-{nodes[0]}:")
        assert sorted(nodes) == list(nodes)
        if set(nodes) & set(self.cut):
            return Step(1, [Line("rank 0: Timed out", 1010.0)])
        return Step(0, [Line(f"{800.0 + i} MB/s", 1010.0) for i in range(len(nodes))])


def rows(cluster: Cluster) -> dict[str, verdict.Row]:
    config = configuration.load("tiny.yaml", [])
    found = preflight.look(config, ["tiny.yaml"], 2, NODES, cluster.start)
    return {row.check: row for row in found}


def test_sound_nodes_pass(config: Path) -> None:
    cluster = Cluster({})
    found = rows(cluster)
    assert {row.level for row in found.values()} == {"pass"}
    assert not verdict.failing(list(found.values()))
    assert found["all-reduce"].found == "right between 4 nodes, 800 MB/s"
    assert sum(cluster.limits) <= 60


def changed(**values: object) -> Fault:
    return lambda report: replace(report, **values)  # type: ignore[arg-type]


FAULTS: list[tuple[str, Fault, str, str]] = [
    ("versions", changed(versions={**VERSIONS, "torch": "2.14.0"}), "fail", "torch 2.14.0, not 2.15.0"),
    ("devices", changed(problems={"devices": "2 processes, and 1 GPUs"}), "fail", "and 1 GPUs"),
    ("cores", changed(cores=1), "warn", "1 cores, 6 are kept busy"),
    ("shared memory", changed(shared_free=64 * 10**6), "fail", "0.1 GB free, 1.0 GB needed"),
    ("disk", changed(cache_free=10**9, cache_needed=10**11), "warn", "1 GB free for data.cache_gb 100"),
    ("clock", changed(clock=1060.0), "warn", "+60 s"),
    ("clock", changed(clock=10.0), "fail", "-990 s"),
    ("decoding", changed(frames_per_s=1500.0), "fail", "1500 JPEGs/s a core, the median is 4000"),
    ("decoding", changed(frames_per_s=3000.0), "warn", "3000 JPEGs/s"),
    (
        "shards",
        changed(problems={"shards": "/data/train/manifest.json: no such manifest"}),
        "fail",
        "no such",
    ),
    ("store", changed(store_mb_per_s=30.0), "fail", "30 MB/s, loaders take up to 400; the median is 900"),
    ("store", changed(store_mb_per_s=390.0), "warn", "390 MB/s"),
    ("run folder", changed(problems={"run folder": "/runs/a: cannot write it"}), "fail", "cannot write it"),
]


@pytest.mark.parametrize(("check", "fault", "level", "said"), FAULTS)
def test_a_node_with_a_fault_is_named_with_the_remedy(
    check: str, fault: Fault, level: str, said: str, config: Path
) -> None:
    found = rows(Cluster({"n3": fault}))
    row = found.pop(check)
    assert (row.level, row.nodes) == (level, ("n3",))
    assert said in row.found
    assert row.remedy
    assert {other.level for other in found.values()} == {"pass"}
    assert verdict.failing([row]) == (["n3"] if level == "fail" else [])


def test_a_node_that_does_not_answer_is_named(config: Path) -> None:
    found = rows(Cluster({}, silent=["n2"]))
    assert (found["answers"].level, found["answers"].nodes) == ("fail", ("n2",))
    assert found["all-reduce"].found == "right between 3 nodes, 800 MB/s"


def test_where_nobody_answers_all_are_named(config: Path) -> None:
    found = rows(Cluster({}, silent=NODES))
    assert found["answers"].nodes == tuple(NODES)


def test_a_node_that_exchanges_with_nobody_is_found(config: Path) -> None:
    found = rows(Cluster({}, cut=["n4"]))
    assert (found["all-reduce"].level, found["all-reduce"].nodes) == ("fail", ("n4",))


def test_the_table_is_as_expected(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster({"n2": changed(frames_per_s=3000.0), "n3": FAULTS[3][1]}, cut=["n4"])
    monkeypatch.setattr(steps, "allocation", lambda: NODES)
    monkeypatch.setattr(steps, "run", cluster.start)
    assert cli.main(["preflight", "--config", "tiny.yaml", "--nproc", "2"]) == 1
    assert capsys.readouterr().out == (EXPECTED / "preflight.txt").read_text()
    assert Path("failing-nodes.txt").read_text() == "n3\nn4\n"
    # They are away now.
    monkeypatch.setattr(steps, "run", Cluster({}).start)
    assert cli.main(["preflight", "--config", "tiny.yaml", "--nproc", "2"]) == 0
    assert not Path("failing-nodes.txt").exists()


def test_a_report_survives_its_line() -> None:
    assert of_line(f"3: {to_line(SOUND)}") == SOUND
    assert of_line("3: something else") is None


def test_a_step_that_hangs_is_ended_and_what_it_said_is_kept() -> None:
    started = steps.Started(["bash", "-c", "echo one; sleep 60; echo two"], os.environ)
    wait_for(lambda: started.said(), 60)
    step = started.end(time.monotonic())
    assert [line.text for line in step.lines] == ["one"]
    assert step.status != 0


def test_ctrl_c_ends_what_was_started(tmp_path: Path) -> None:
    program = f"import os, time; open('{tmp_path}/pid', 'w').write(f'{{os.getpid()}}.'); time.sleep(60)"
    # What runs in a shell's background has SIGINT ignored from the start.
    outer = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    outer += f"from launch import steps; steps.run([([''], ['python', '-c', {program!r}])], 60.0)"
    with subprocess.Popen([sys.executable, "-c", outer], cwd=ROOT, stderr=subprocess.DEVNULL) as process:
        started = tmp_path / "pid"
        wait_for(lambda: started.exists() and started.read_text().endswith("."), 60)
        process.send_signal(signal.SIGINT)
        process.wait(timeout=60)
    assert not alive(int(started.read_text().rstrip(".")))


def test_srun_is_asked_for_one_task_a_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, queue: object
) -> None:
    stub(tmp_path / "bin", "srun", 'echo "$SRUN_CPUS_PER_TASK $*"')
    stub(tmp_path / "bin", "scontrol", 'test "$*" = "show hostnames n[1-2]" && printf "n1\\nn2\\n"')
    monkeypatch.setenv("SLURM_JOB_NODELIST", "n[1-2]")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    assert steps.allocation() == ["n1", "n2"]
    (step,) = steps.run([(["n1", "n2"], ["python", "-V"])], 20.0)
    expected = (
        "6 --overlap --kill-on-bad-exit=0 --nodes=2 --ntasks=2 --ntasks-per-node=1 --nodelist=n1,n2 python -V"
    )
    assert step.lines[0].text == expected


def test_hosts_are_asked_by_ssh_and_told_their_names_and_ranks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub(tmp_path / "bin", "ssh", 'echo "$*" | cut -d" " -f1-5; bash -c "${@: -1}"; test "$5" != b')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    program = "import os; print(*map(os.environ.get, ('BLVNET_NODE', 'RANK', 'WORLD_SIZE')), os.getcwd())"
    alone, both = over_ssh.run(
        [(["a"], ["python", "-c", program]), (["c", "b"], ["python", "-c", program])], 20.0
    )
    options = "-o BatchMode=yes -o ConnectTimeout=10"
    assert [line.text for line in alone.lines] == [f"{options} a", f"a 0 1 {Path.cwd()}"]
    assert [line.text for line in both.lines] == [
        *(f"{options} c", f"c 0 2 {Path.cwd()}"),
        *(f"{options} b", f"b 1 2 {Path.cwd()}"),
    ]
    assert (alone.status, both.status) == (0, 1)


def test_what_runs_on_a_host_ends_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # As where the connection has broken: the end of ssh is not the end of what it began.
    stub(tmp_path / "bin", "ssh", 'setsid bash -c "${@: -1}" & echo begun; wait')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    program = (
        f"import os, time; print(os.getpid(), file=open('{tmp_path}/pid', 'w'), flush=True); time.sleep(99)"
    )
    (step,) = over_ssh.run([(["a"], ["python", "-c", program])], 6.0)
    assert [line.text for line in step.lines] == ["begun"] and step.status != 0
    pid = int((tmp_path / "pid").read_text())
    deadline = time.monotonic() + 60
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_hosts_that_are_left_are_said(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(over_ssh, "run", Cluster({"n3": FAULTS[3][1]}).start)
    words = ["preflight", "--hosts", ",".join(NODES), "--config", "tiny.yaml", "--nproc", "2"]
    assert cli.main(words) == 1
    assert capsys.readouterr().out.endswith("1 of 4 nodes fail; without them: --hosts n1,n2,n4\n")


def test_this_machine_alone_is_looked_at(
    config: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    for name in ("SLURM_JOB_NODELIST", "SLURM_GPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    shards.make("shards", [20, 12])
    shards.make("shards", [4], split="validation")
    # The environment need not be active.
    monkeypatch.setenv("PATH", str(config.parent))
    status = cli.main(["preflight", "--config", "tiny.yaml", "run.device=cpu"])
    out = capfd.readouterr().out
    found = {line.split("  ")[1].strip(): line.split()[0] for line in out.splitlines() if "->" not in line}
    assert status == 0, out
    assert {found.pop(name) for name in ("answers", "versions", "devices", "shards", "run folder")} == {
        "pass"
    }, out
    assert {"cores", "shared memory", "disk", "clock", "decoding", "store", "all-reduce"} == set(found), out


def test_this_machine_is_not_to_be_left_out(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = replace(SOUND, shared_free=0)
    line = [Line(to_line(broken), 1000.0)]
    monkeypatch.setattr(steps, "allocation", lambda: [""])
    monkeypatch.setattr(steps, "run", lambda commands, limit_s: [Step(0, line)])
    assert cli.main(["preflight", "--config", "tiny.yaml"]) == 1
    out = capsys.readouterr().out
    assert "fail  shared memory  n1: 0.0 GB free" in out and "--exclude" not in out
    assert not Path("failing-nodes.txt").exists()


def test_each_node_counts_its_own_processes_where_nobody_says(config: Path) -> None:
    cluster = Cluster({"n3": changed(processes=8)})
    asked: list[str] = []

    def start(commands: Sequence[tuple[Sequence[str], Sequence[str]]], limit_s: float) -> list[Step]:
        asked.extend(word for _, words in commands for word in words)
        return cluster.start(commands, limit_s)

    found = {
        row.check: row
        for row in preflight.look(configuration.load("tiny.yaml", []), ["tiny.yaml"], None, NODES, start)
    }
    assert not [word for word in asked if word.startswith("--processes")]
    assert (found["cores"].nodes, found["cores"].found) == (("n3",), "6 cores, 24 are kept busy")


@pytest.mark.parametrize(
    ("variables", "words", "message"),
    [
        ({}, ["--hosts", "a,b"], "ssh is not on this machine's PATH"),
        ({"SLURM_JOB_NODELIST": "n[1-2]"}, [], "scontrol is not on this machine's PATH"),
        ({"PROCESSES": "two"}, ["--hosts", "a,b"], "PROCESSES=two: the variable is the number"),
    ],
)
def test_what_is_missing_is_one_line(
    variables: dict[str, str],
    words: list[str],
    message: str,
    config: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, value in {"PATH": str(config.parent), **variables}.items():
        monkeypatch.setenv(name, value)
    assert_one_line(["preflight", "--config", "tiny.yaml", *words], message, capsys)


def test_a_folder_that_cannot_have_the_list_is_said(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(over_ssh, "run", Cluster({"n3": FAULTS[3][1]}).start)
    Path("failing-nodes.txt").mkdir()
    assert cli.main(["preflight", "--hosts", ",".join(NODES), "--config", "tiny.yaml", "--nproc", "2"]) == 2
    assert "failing-nodes.txt: Is a directory; start this in a folder" in capsys.readouterr().err


def test_a_training_looks_first_if_it_is_told_to(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["slurm", "train", "--print", "--preflight", "--config", "tiny.yaml"]) == 0
    assert capsys.readouterr().out.endswith("train.sbatch \\\n    --preflight tiny.yaml\n")
