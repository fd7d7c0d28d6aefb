"""Many films and pictures damaged at random, through builds by the real command.

    python -m benchmarks.mutated --files 17000 > benchmarks/results/mutated.md

A tenth of the inputs are whole, to see that these are built. A test does the same with fewer inputs, and other ones
(tests/unit/sharding/building/test_mutated.py).
"""

import argparse
import os
import platform
import sys
import tempfile
from collections import Counter
from datetime import date
from pathlib import Path

import av

from tests.mutations import WHOLE, Outcome, build, originals

BATCH, WORKERS = 1000, 2


def many(files: int, seed: int) -> Outcome:
    """Builds of so many inputs, a thousand in each."""
    total = Outcome()
    with tempfile.TemporaryDirectory() as folder:
        films = originals(Path(folder))
        for first in range(0, files, BATCH):
            with tempfile.TemporaryDirectory(dir=folder) as place:
                total.add(build(Path(place), films, seed, range(first, min(files, first + BATCH)), WORKERS))
            print(
                f"{first + BATCH} inputs, {total.seconds:.0f} s, {len(total.faults)} faults", file=sys.stderr
            )
    return total


def report(total: Outcome, seed: int, load: float) -> str:
    """The results file."""
    inputs, samples = total.inputs.total(), total.samples.total()
    lines = [
        "# Mutated films and pictures through builds",
        "",
        f"{date.today()}, {os.cpu_count()} cores, {platform.machine()}, PyAV {av.__version__} "
        f"(FFmpeg {av.ffmpeg_version_info}); `python -m benchmarks.mutated --files {inputs} --seed {seed}`. "
        f"Load average before it: {load:.1f}.",
        "",
        f"{inputs} inputs in {total.seconds:.0f} s, {inputs - total.inputs[WHOLE]} of them damaged: {samples} samples, "
        f"{inputs - samples} lines in failures.csv. The largest process had {total.peak_bytes / 1e6:.0f} MB. Crashes, "
        "hangs, tracebacks, wrong exit statuses, lost inputs, whole ones that were refused, damaged shards, processes "
        f"left: {len(total.faults)}.",
        "",
        "| damage | inputs | built all the same |",
        "|---|---|---|",
    ]
    lines += [f"| {kind} | {count} | {total.samples[kind]} |" for kind, count in sorted(total.inputs.items())]
    lines += ["", "| reason | inputs |", "|---|---|"]
    lines += [f"| {reason} | {count} |" for reason, count in _grouped(total.reasons).most_common()]
    lines += [f"\n- {fault}" for fault in total.faults]
    return "\n".join(lines)


def _grouped(reasons: Counter[str]) -> Counter[str]:
    """Those that are met fewer than three times as one."""
    rare = sum(count for count in reasons.values() if count < 3)
    return Counter({reason: count for reason, count in reasons.items() if count > 2} | {"others": rare})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--files", type=int, required=True, help="how many inputs")
    parser.add_argument("--seed", type=int, default=1, help="which ones (default: 1)")
    args = parser.parse_args()
    load = os.getloadavg()[0]
    total = many(args.files, args.seed)
    print(report(total, args.seed, load))
    return 1 if total.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
