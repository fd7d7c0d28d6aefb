"""The device of a rank: GPUs that torch cannot use are an error, unless the CPU is asked for; and how GPUs compute."""

import os
from pathlib import Path

import pytest
import torch

from pipeline.config import Run
from pipeline.ranks.devices import local_device, settle
from sharding.errors import UserError


@pytest.fixture
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("CUDA_VISIBLE_DEVICES", "SLURM_GPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter([]))


def test_a_host_without_gpus_trains_on_the_cpu(no_cuda: None) -> None:
    assert local_device("auto") == torch.device("cpu")


@pytest.mark.parametrize(("name", "value"), [("SLURM_GPUS_ON_NODE", "8"), ("CUDA_VISIBLE_DEVICES", "0,1")])
def test_gpus_that_a_job_has_and_torch_cannot_use_are_an_error(
    no_cuda: None, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError) as caught:
        local_device("auto")
    assert f"{name}={value}" in str(caught.value) and "run.device=cpu" in str(caught.value)
    assert local_device("cpu") == torch.device("cpu")


def test_device_files_count(no_cuda: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Path, "glob", lambda self, pattern: iter([Path("/dev/nvidia0"), Path("/dev/nvidia1")])
    )
    with pytest.raises(
        UserError, match=r"this host has 2 NVIDIA GPUs \(/dev/nvidia0\), and torch .* cannot use them"
    ):
        local_device("auto")


@pytest.mark.parametrize("hidden", ["", "-1", "NoDevFiles"])
def test_gpus_that_are_hidden_on_purpose_do_not_count(
    no_cuda: None, monkeypatch: pytest.MonkeyPatch, hidden: str
) -> None:
    monkeypatch.setattr(Path, "glob", lambda self, pattern: iter([Path("/dev/nvidia0")]))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden)
    assert local_device("auto") == torch.device("cpu")


def test_more_processes_than_gpus_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setenv("LOCAL_RANK", "3")
    with pytest.raises(UserError, match="process 3 of this machine has no GPU of its own: there are 1"):
        local_device("auto")


@pytest.mark.parametrize("precision", ["bf16", "fp16", "tf32", "fp32"])
@pytest.mark.parametrize("deterministic", [False, True])
def test_gpus_compute_as_the_run_says(
    monkeypatch: pytest.MonkeyPatch, precision: str, deterministic: bool
) -> None:
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    before = cudnn.allow_tf32, matmul.allow_tf32
    try:
        settle(Run.model_validate({"folder": "x", "precision": precision, "deterministic": deterministic}))
        assert cudnn.allow_tf32 is matmul.allow_tf32 is (precision == "tf32")
        assert os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None) == (":4096:8" if deterministic else None)
    finally:
        cudnn.allow_tf32, matmul.allow_tf32 = before
