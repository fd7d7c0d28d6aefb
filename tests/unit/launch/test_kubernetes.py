"""`blvnet-launch kubernetes`: objects that the published schemas take, and pods whose command finds the others."""

import importlib.util
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch import cli
from pipeline import config as configuration
from tests import commands, shards
from tests.conftest import need
from tests.unit.launch.mistakes import assert_one_line
from tests.unit.launch.stubs import EXPECTED, stub

TRAIN = [
    "kubernetes",
    "train",
    "--image",
    "registry/blvnet:1",
    "--nodes",
    "2",
    "--gpus",
    "4",
    "--config",
    "tiny.yaml",
]
TRAIN += ["--name", "f8x2", "--mem", "64Gi", "--secret", "bucket", "--volume", "sthv2:/data", "--unchecked"]
TRAIN += ["optim.epochs=3"]
BUILD = ["--dataset", "csv", "--annotations", "/data/a.csv", "--videos", "/data/v", "--out", "s3://b/x"]
SHARD = ["kubernetes", "shard", "--image", "registry/blvnet:1", "--tasks", "64", "--cpus", "8", *BUILD]
SHARD += ["--split", "train", "--volume", "videos:/data", "--service-account", "reader"]


def written(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main(words) == 0
    return capsys.readouterr().out


def objects(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """The objects by kind and name."""
    found = yaml.safe_load_all(written(words, capsys))
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in found}


@pytest.mark.parametrize(
    ("words", "file"), [(TRAIN, "kubernetes_train.yaml"), (SHARD, "kubernetes_shard.yaml")]
)
def test_files_are_as_expected(
    words: list[str], file: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = written(words, capsys)
    # All settings are in it; which there are is tested elsewhere.
    begin, end = text.find("    model:\n"), text.find("---\napiVersion: batch")
    if begin >= 0:
        text = f"{text[:begin]}    SETTINGS\n{text[end:]}"
    assert text == (EXPECTED / file).read_text()


@pytest.mark.parametrize("words", [TRAIN, SHARD], ids=["train", "shard"])
def test_the_published_schemas_take_them(
    words: list[str], config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    need(importlib.util.find_spec("kubernetes_validate"), "kubernetes-validate is not installed")
    import kubernetes_validate

    for one in objects(words, capsys).values():
        for version in ("1.31", "1.33"):
            kubernetes_validate.validate(one, version, strict=True)
        one["spec" if "spec" in one else "data"]["nothing"] = 1  # it can refuse
        if one["kind"] != "ConfigMap":
            with pytest.raises(kubernetes_validate.ValidationError):
                kubernetes_validate.validate(one, "1.33", strict=True)


@pytest.mark.parametrize("index", [0, 1])
def test_a_pod_starts_an_agent_that_finds_the_others(
    index: int, config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    found = objects(TRAIN, capsys)
    pod = found["Job/f8x2"]["spec"]["template"]["spec"]
    stub(tmp_path / "bin", "python", 'printf "%s\\n" "$@"')
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    env = {"PATH": path, "JOB_COMPLETION_INDEX": str(index)}
    done = subprocess.run(
        pod["containers"][0]["command"], env=env, capture_output=True, text=True, check=True
    )
    words = done.stdout.splitlines()
    commands.check(["python", *words], tmp_path)
    assert f"--rdzv-conf=is_host={int(index == 0)}" in words
    assert f"--local-addr=f8x2-{index}.f8x2" in words
    assert "--rdzv-endpoint=f8x2-0.f8x2:29400" in words
    # The service answers for these names, and the file is where the command looks.
    assert found["Service/f8x2"]["spec"]["selector"] == {"job-name": "f8x2"}
    assert pod["subdomain"] == "f8x2"
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert words[-1] == f"{mounts['config']}/{next(iter(found['ConfigMap/f8x2']['data']))}"
    assert {volume["name"] for volume in pod["volumes"]} == set(mounts)


def test_pods_may_come_and_go(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = objects([*TRAIN, "--nodes", "2:4"], capsys)["Job/f8x2"]["spec"]
    assert job["completions"] == job["parallelism"] == 4
    assert (
        "--nnodes=2:4 --nproc-per-node=4 --max-restarts=100"
        in job["template"]["spec"]["containers"][0]["command"][-1]
    )
    with pytest.raises(SystemExit):
        cli.main([*TRAIN, "--nodes", "4:2"])
    assert "write the fewest first, as in 2:4" in capsys.readouterr().err


def test_pods_train_what_was_configured(
    config: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    text = objects(TRAIN, capsys)["ConfigMap/f8x2"]["data"]["run.yaml"]
    (tmp_path / "run.yaml").write_text(text)
    expected = configuration.load("tiny.yaml", ["optim.epochs=3"])
    assert configuration.load(str(tmp_path / "run.yaml"), []) == expected


def test_tasks_are_those_of_one_build(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = objects(SHARD, capsys)
    spec = found["Job/blvnet-shard"]["spec"]
    words = spec["template"]["spec"]["containers"][0]["command"]
    commands.check([word.replace("$(JOB_COMPLETION_INDEX)", "3") for word in words], config.parent)
    assert spec["completions"] == 64 == int(words[words.index("--task-count") + 1])
    last = found["Job/blvnet-shard-finalize"]["spec"]
    assert last["suspend"]
    commands.check(last["template"]["spec"]["containers"][0]["command"], config.parent)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([*TRAIN, "optim.epoch=3"], "unknown key optim.epoch"),
        ([*TRAIN, "--name", "F8"], "--name: 'F8'"),
        ([*TRAIN, "--volume", "sthv2"], "write CLAIM:/PATH"),
        ([word for word in TRAIN if word != "--unchecked"], "manifest.json"),
        ([*SHARD, "--task-index", "3"], "--task-index: the array gives it"),
        ([*SHARD, "--nothing"], "--nothing"),
        ([*TRAIN, "--name", "a" * 53], "at most 52, a letter first"),
        ([*TRAIN, "--name", "8x"], "at most 52, a letter first"),
        ([*TRAIN, "--mem", "64GB"], "--mem: '64GB': write a number and Mi, Gi or Ti behind it, as in 64Gi"),
        ([*TRAIN, "--mem", ""], "--mem: ''"),
        ([*TRAIN, "--secret", "My_Keys"], "--secret: 'My_Keys': Kubernetes has names of small letters"),
        ([*SHARD, "--service-account", ""], "--service-account: ''"),
        ([*TRAIN, "--image", ""], "--image: '' is no image"),
        ([*TRAIN, "--volume", "Data:/x"], "write CLAIM:/PATH"),
        ([*TRAIN, "--volume", "x:/y:ro"], "write CLAIM:/PATH"),
        ([*TRAIN, "--volume", "other:/data/"], "--volume other:/data: another volume is mounted there"),
        ([*TRAIN, "--volume", "x:/dev/shm"], "--volume x:/dev/shm: another volume is mounted there"),
    ],
)
def test_a_mistake_ends_in_one_line(
    words: list[str], message: str, config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert_one_line(words, message, capsys)


def test_odd_claims_and_words_reach_the_pod_as_they_are(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    volumes = ["--volume", "shm:/a", "--volume", "set.v2:/b", "--volume", "shm:/ç c"]
    text = written([*TRAIN, *volumes, "run.folder=/ç c/$HOME $(date)"], capsys)
    found = {one["kind"]: one for one in yaml.safe_load_all(text)}
    assert yaml.safe_load(found["ConfigMap"]["data"]["run.yaml"])["run"]["folder"] == "/ç c/$HOME $(date)"
    pod = found["Job"]["spec"]["template"]["spec"]
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert list(claims.values()) == ["sthv2", "shm", "set.v2"]
    mounts = {m["mountPath"]: claims.get(m["name"]) for m in pod["containers"][0]["volumeMounts"]}
    others = {"/dev/shm": None, "/etc/blvnet": None}
    assert mounts == {"/data": "sthv2", "/a": "shm", "/b": "set.v2", "/ç c": "shm", **others}
    words = objects([*SHARD, "--out", "s3://b/$(date)$$"], capsys)["Job/blvnet-shard"]
    command = words["spec"]["template"]["spec"]["containers"][0]["command"]
    assert command[-1] == "s3://b/$$(date)$$$$" and "$(JOB_COMPLETION_INDEX)" in command


def test_a_batch_that_the_pods_cannot_share_is_said(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shards.make("shards", [40])
    shards.make("shards", [4], split="validation")
    words = [word for word in TRAIN if word != "--unchecked"]
    assert cli.main([*words, "optim.global_batch=12"]) == 2
    assert (
        "12 clips cannot be shared equally by 8 ranks; the nearest that can: 8 or 16"
        in capsys.readouterr().err
    )
