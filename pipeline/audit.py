"""Which samples each rank trained on, step by step.

`audit/from-00000012.rank-001.jsonl` in the run folder is what rank 1 used since the run was last resumed after 12
steps, one line a step: `step` (steps done with this one), `epoch`, `numbers` and `keys` of the planned samples, and
those of the `keys` that were `replaced` by others because they are damaged.
"""

import re

from pipeline import journal
from pipeline.journal import Journal
from pipeline.loader import Batch
from sharding import storage

_NAME = re.compile(r"from-(\d+)\.rank-(\d+)\.jsonl")


def clear(folder: str, resumed_step: int) -> None:
    """Remove what a run that was cut off used after the checkpoint; the main process calls it first."""
    for start, _, url in _logs(folder):
        if start >= resumed_step:
            storage.remove(url)


class AuditLog:
    """Writes one rank's part."""

    def __init__(self, folder: str, rank: int, resumed_step: int) -> None:
        name = f"from-{resumed_step:08d}.rank-{rank:03d}.jsonl"
        self._journal = Journal(storage.join(folder, "audit", name), resumed_step=-1)

    def write(self, done: int, batch: Batch) -> None:
        """`batch` was used for the step after which `done` steps are done."""
        self._journal.write(
            {
                "step": done,
                "epoch": batch.epoch,
                "numbers": batch.numbers,
                "keys": batch.keys,
                "replaced": batch.replaced,
            }
        )

    def flush(self) -> None:
        """Nothing is held back after this."""
        self._journal.flush()


def keys_by_step(folder: str) -> dict[int, list[str]]:
    """The keys of every global batch of a run in order of number, by steps done; restarts are joined."""
    used: dict[int, dict[int, str]] = {}
    for start, batch in _batches(folder):
        used = {step: keys for step, keys in used.items() if step <= start}
        used.update(batch)
    return {step: [keys[number] for number in sorted(keys)] for step, keys in sorted(used.items())}


def _batches(folder: str) -> list[tuple[int, dict[int, dict[int, str]]]]:
    """For each start of the run, in order: by steps done, the key of each sample number."""
    starts: dict[int, dict[int, dict[int, str]]] = {}
    for start, _, url in _logs(folder):
        steps = starts.setdefault(start, {})
        for line in journal.read(url):
            keys = steps.setdefault(line["step"], {})
            keys.update(zip(line["numbers"], line["keys"], strict=True))
    return sorted(starts.items())


def _logs(folder: str) -> list[tuple[int, int, str]]:
    """(start, rank, URL) of every audit log in a run folder."""
    audit = storage.join(folder, "audit")
    matches = [(_NAME.fullmatch(name), name) for name in storage.list_names(audit)]
    return [(int(m[1]), int(m[2]), storage.join(audit, name)) for m, name in matches if m]
