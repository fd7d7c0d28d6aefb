"""A training whose store is stopped for half a minute, three times.

    python -m benchmarks.outage > benchmarks/results/outage.md

Shards, run folder and audit lie in a SeaweedFS server of this machine, which is killed and started again on the same
port and folder. The same training without an outage stands beside it.
"""

import os
import platform
import sys
from datetime import date

from benchmarks.machine import cpu
from tests.outages import Outcome, train
from tests.stores import BUCKET, fresh_clients, seaweedfs

EPOCHS, OUTAGES, AWAY_S = 6, 3, 30.0


def report(calm: Outcome, stormy: Outcome, load: float) -> str:
    """The results file."""
    longer = stormy.seconds - calm.seconds
    return f"""# Outages: a training whose store goes away

{date.today()}, {os.cpu_count()}-core {cpu()} virtual machine, Python {platform.python_version()};
`python -m benchmarks.outage`. Load average before it: {load:.1f}.

Two ranks with two loader processes each train {calm.proof.steps} steps; shards, run folder and audit are in a bucket.
The server is killed {OUTAGES} times, and started again after {AWAY_S:.0f} s.

| | without | with outages |
|---|---|---|
| seconds that the store was away | 0 | {OUTAGES * AWAY_S:.0f} |
| exit status | {calm.status} | {stormy.status} |
| seconds from the first step to the end | {calm.seconds:.0f} | {stormy.seconds:.0f} |
| longer | | {longer:.0f} s |
| restarts | {len(calm.proof.restarts)} | {len(stormy.proof.restarts)} |
| samples trained on | {calm.proof.samples} | {stormy.proof.samples} |
| the audit against the plan | {_proven(calm)} | {_proven(stormy)} |

Aim: status 0, a proven audit, and no more seconds longer than the store was away and {OUTAGES} pauses of 10 s."""


def _proven(outcome: Outcome) -> str:
    return "; ".join(outcome.proof.findings) or "proven"


def main() -> int:
    load = os.getloadavg()[0]
    with seaweedfs() as server:
        os.environ.update(server.environment())
        with fresh_clients():
            calm = train(server.program, f"s3://{BUCKET}/calm", EPOCHS, 0, AWAY_S)
            stormy = train(server.program, f"s3://{BUCKET}/stormy", EPOCHS, OUTAGES, AWAY_S)
    print(report(calm, stormy, load))
    bad = [outcome for outcome in (calm, stormy) if outcome.status or outcome.proof.findings]
    for outcome in bad:
        print(outcome.output, file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    raise SystemExit(main())
