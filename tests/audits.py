"""What a run's audit logs say, for tests that compare runs."""

import re

from pipeline.run import journal
from sharding import storage

_LOG = re.compile(r"from-(\d+)\.rank-(\d+)\.jsonl")


def keys_by_step(folder: str) -> dict[int, list[str]]:
    """The keys of every global batch of a run in order of number, by steps done; restarts are joined."""
    used: dict[int, dict[int, str]] = {}
    for start, batch in _batches(storage.join(folder, "audit")):
        used = {step: keys for step, keys in used.items() if step <= start}
        used.update(batch)
    return {step: [keys[number] for number in sorted(keys)] for step, keys in sorted(used.items())}


def _batches(audit: str) -> list[tuple[int, dict[int, dict[int, str]]]]:
    """For each start of the run, in order: by steps done, the key of each sample number."""
    starts: dict[int, dict[int, dict[int, str]]] = {}
    for name in storage.list_names(audit):
        if match := _LOG.fullmatch(name):
            steps = starts.setdefault(int(match[1]), {})
            for line in journal.read(storage.join(audit, name)):
                keys = steps.setdefault(line["step"], {})
                keys.update(zip(line["numbers"], line["keys"], strict=True))
    return sorted(starts.items())
