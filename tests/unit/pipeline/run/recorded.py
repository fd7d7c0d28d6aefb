"""What a run puts on record for its proof, written without training: real streams, and their keys."""

import json
from pathlib import Path

from pipeline import config
from pipeline.data.clips import eval_cutter
from pipeline.data.loader import batches
from pipeline.data.stream import ClipStream, Passes
from pipeline.order.position import Position
from pipeline.run import audit_log
from pipeline.run.audit_log import AuditLog, Settings, Start
from sharding.format import manifest
from sharding.format.manifest import Manifest

BATCH, STEPS = 6, 5  # of 31 samples


def record(
    folder: Path,
    split: Manifest,
    done: int,
    ranks: int,
    stop: int,
    seed: int = 3,
    epochs: int = 2,
    every: int = 1,
    budget: float = 0.1,
    old: bool = False,
    window: int = 8,
) -> None:
    """What a start behind step `done` on `ranks` ranks writes down until it ends after step `stop`."""
    validation = manifest.load(split.root.replace("train", "validation"))
    at = Position(split.sha256, seed, 4, window, BATCH, STEPS, done, run_window=None if old else 4 * window)
    settings = None if old else Settings(epochs, every, validation.root, validation.sha256, budget)
    audit_log.clear(str(folder), done)
    tree = {"data": {"root": "unused", "size": 32, "short_side": 32}, "run": {"folder": "unused"}}
    chosen = config.override(
        tree,
        [
            "model.num_frames=2",
            f"run.seed={seed}",
            f"data.window={4 * window}",
            f"optim.global_batch={BATCH}",
        ],
        "test",
    )
    (folder / "config.yaml").write_text(config.dump(chosen))
    audit_log.begin(str(folder), Start(at, ranks, split.root, settings))
    passes = Passes(BATCH, epochs=epochs, first_epoch=at.epoch, first_step=at.step)
    for rank in range(ranks):
        log = AuditLog(str(folder), rank, done)
        stream = ClipStream(split, eval_cutter(chosen), at.order, passes, rank, ranks)
        for step, batch in zip(range(done + 1, stop + 1), batches(stream, 0), strict=False):
            log.write(step, batch)
            epoch, left = divmod(step, STEPS)
            if rank == 0 and not left and (epoch % every == 0 or epoch == epochs):
                log.validation(step, validation, [f"clip-{n}" for n in range(7)])
        log.flush()


def checkpointed(folder: Path, step: int) -> None:
    (folder / "checkpoints").mkdir(exist_ok=True)
    (folder / "checkpoints" / "latest.json").write_text(json.dumps({"step": step}))
