"""Evaluation on several processes: every video once, with the same logits."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import config
from tests import networks, shards
from tests.processes import run, torchrun

SMALL = ["model.num_frames=4", "model.depth=26", "data.size=32", "data.short_side=36", "data.workers=2"]
VIEWS = ["views.clips=2", "views.crops=3", "run.precision=fp32"]


@pytest.mark.world(3)
def test_logits_of_every_video_do_not_depend_on_ranks_or_batch(tmp_path: Path) -> None:
    shards.make(tmp_path, [7, 4], split="validation")
    settings = config.override({"data": {"root": "unused"}, "run": {"folder": "unused"}}, SMALL, "test")
    checkpoint = networks.save(tmp_path / "network.pt", settings, shards.CLASSES, {})
    found: list[torch.Tensor] = []
    for ranks, batch in ((1, 16), (2, 4), (3, 64)):
        out = tmp_path / f"{ranks}"
        command = torchrun(ranks, "pipeline.evaluate", f"--checkpoint={checkpoint}", f"--out={out}")
        run([*command, f"--data={tmp_path}/validation", f"--batch={batch}", *VIEWS])
        with np.load(out / "predictions-validation.npz") as arrays:
            assert arrays["keys"].tolist() == sorted(f"clip-{i}" for i in range(11))
            found.append(torch.from_numpy(arrays["logits"]))
    for logits in found[1:]:
        torch.testing.assert_close(logits, found[0], rtol=0, atol=1e-5)
    assert found[0].std(0).min() > 1e-3  # videos differ
