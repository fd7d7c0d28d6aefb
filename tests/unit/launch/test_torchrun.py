"""`blvnet-launch torchrun`: the command of each host."""

from pathlib import Path

import pytest
from torch.distributed.elastic.rendezvous.utils import parse_rendezvous_endpoint as torch_endpoint

from launch import cli, torchrun
from tests import commands, shards
from tests.unit.launch.mistakes import assert_one_line
from tests.unit.launch.stubs import EXPECTED

WORDS = ["torchrun", "--hosts", "node-a,10.0.0.2", "--nproc", "8", "--config", "tiny.yaml"]
BATCH = "optim.global_batch=32"


@pytest.fixture
def printed(config: Path, capsys: pytest.CaptureFixture[str]) -> str:
    shards.make(config.parent / "shards", [40])
    shards.make(config.parent / "shards", [4], split="validation")
    assert cli.main([*WORDS, BATCH, "run.folder=s3://b/runs/f8 x2/", "--unchecked"]) == 0
    return capsys.readouterr().out


def test_commands_are_as_expected(printed: str) -> None:
    assert printed == (EXPECTED / "torchrun.txt").read_text()


def test_the_commands_are_ones_that_the_programs_know(printed: str, config: Path) -> None:
    found = commands.commands(printed)
    assert len(found) == 2
    for command in found:
        commands.check(command, config.parent)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "8 clips cannot be shared equally by 16 ranks; the nearest that can: 16"),
        ([BATCH, "data.root=elsewhere"], "elsewhere/train/manifest.json"),
        ([BATCH, "--port", "80"], "--port: must be 1024 to 65535"),
        ([BATCH, "--hosts", "a,a"], "a host stands there twice"),
        ([BATCH, "--hosts", "a, b"], "' b' is no host"),
        ([BATCH, "--hosts", "me@a,b"], "'me@a' is no host; write --hosts first,second: names or addresses"),
        ([BATCH, "--hosts", "a:22,b"], "'a:22' is no host"),
        ([BATCH, "--hosts", "[fd00::1],b"], "'[fd00::1]' is no host"),
        ([BATCH, "--hosts", "a,b,"], "'' is no host"),
        ([BATCH, "--nproc", "gpu"], "--nproc: 'gpu' is no whole number"),
        ([BATCH, "--hosts", ""], "'' is no host"),
    ],
)
def test_a_mistake_ends_in_one_line(
    words: list[str], message: str, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_line([*WORDS, *words], message, capsys)


def test_hosts_may_be_addresses_of_either_kind(printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*WORDS, BATCH, "--hosts", "fd00::1,node_2"]) == 0
    first, second = commands.commands(capsys.readouterr().out)
    assert {"--rdzv-endpoint=fd00::1:29400", "--local-addr=fd00::1"} <= set(first)
    assert {"--rdzv-endpoint=fd00::1:29400", "--local-addr=node_2"} <= set(second)
    assert torch_endpoint("fd00::1:29400", default_port=1) == ("fd00::1", 29400)


def test_what_there_is_to_train_on_is_said(printed: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([*WORDS, BATCH]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert first == "# shards/train: 40 videos, 3 classes; 4 videos to validate"


@pytest.mark.parametrize(
    ("folder", "name"), [("runs/a", "a"), ("s3://b/runs/f8 x2/", "f8-x2"), ("/", "run"), ("run", "run")]
)
def test_a_run_is_called_by_its_folder(folder: str, name: str) -> None:
    assert torchrun.run_name(folder) == name


def test_hosts_may_be_lost_down_to_a_number(
    printed: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*WORDS, BATCH, "--min-hosts", "1"]) == 0
    said = capsys.readouterr().out
    found = commands.commands(said)
    assert len(found) == 2
    for command in found:
        commands.check(command, config.parent)
        assert {"--nnodes=1:2", "--max-restarts=100", "--rdzv-endpoint=10.0.0.2:29400"} <= set(command)
    # The first by name: there the first rank is, and all meet.
    assert "--rdzv-conf=is_host=1,hosts=10.0.0.2/node-a" in found[0] and "--local-addr=10.0.0.2" in found[0]
    assert "# It starts when 1 are there, and needs 10.0.0.2; the others may be lost, and return." in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--min-hosts", "3", BATCH], "--min-hosts 3: there are 2 hosts"),
        (
            ["--hosts", "a,b,c,d", "--min-hosts", "1", BATCH],
            "32 clips cannot be shared equally by 24 ranks, which the run may come to have as hosts come and go; "
            "choose a multiple of 96",
        ),
        (
            ["--min-hosts", "1", "augment.mixup=0.2", "optim.global_batch=8"],
            "8 clips cannot be shared equally in pairs (augment.mixup) by 8 or 16 ranks",
        ),
    ],
)
def test_every_number_of_hosts_must_share_the_batch(
    words: list[str], message: str, printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*WORDS, *words]) == 2
    assert message in capsys.readouterr().err
