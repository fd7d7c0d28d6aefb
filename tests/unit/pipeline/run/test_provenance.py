"""What a run was started with is kept, each time; what changed since is told."""

import json
from pathlib import Path

import torch

import sharding
from pipeline import config
from pipeline.run import provenance


def settings(**optim: object) -> config.Config:
    return config.override({"data": {"root": "x"}, "optim": optim, "run": {"folder": "y"}}, [], "test")


def test_every_start_is_kept_with_its_configuration_versions_and_machines(tmp_path: Path) -> None:
    ranks = [provenance.this_rank(torch.device("cpu"))] * 2
    provenance.record(str(tmp_path), 0, settings(), ranks)
    provenance.record(str(tmp_path), 12, settings(lr=0.5), ranks)
    first, second = (json.loads(path.read_text()) for path in sorted((tmp_path / "starts").iterdir()))
    assert [first["after_steps"], second["after_steps"]] == [0, 12]
    assert [first["config"]["optim"]["lr"], second["config"]["optim"]["lr"]] == [0.01, 0.5]
    assert first["version"] == sharding.__version__ and first["torch"] == torch.__version__
    assert len(first["ranks"]) == 2 and first["ranks"][0]["device"] == "CPU" and first["ranks"][0]["host"]
    assert first["command"]


def test_changes_name_key_old_and_new_value() -> None:
    before = settings(lr=0.05, milestones=[3]).model_dump(mode="json", by_alias=True)
    now = settings(schedule="constant", milestones=[3, 4]).model_dump(mode="json", by_alias=True)
    assert provenance.changes(before, before) == []
    assert provenance.changes(before, now) == [
        "optim.lr 0.05 -> 0.01",
        "optim.milestones [3] -> [3, 4]",
        "optim.schedule cosine -> constant",
    ]


def test_a_setting_that_an_older_version_did_not_have_is_no_change() -> None:
    now = settings().model_dump(mode="json", by_alias=True)
    before = json.loads(json.dumps(now))
    del before["run"]["device"]
    assert provenance.changes(before, now) == []
