"""torchrun that ends as its processes ended: with their exit status, and without a traceback of its own.

    python -m pipeline.agent --standalone --nproc-per-node 2 -m pipeline.train --config ...

A process that fails has said why. torchrun would add its own stack and the status 1, whatever the reason.
"""

import logging
import os
import signal
import sys

from torch.distributed import run
from torch.distributed.elastic.multiprocessing import api
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

from pipeline.ranks.preemption import STATUS

MISTAKE = 2  # a user's mistake, which the process has told in one line


def main() -> int:
    """torchrun's command line. Returns the status of the process that failed first, 128 + n for signal n.

    Told to stop itself, it returns the status of a run that was told to stop.
    """
    # Told, torchrun prints no warning about its own choice of it.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    # Not its own choice of signals: SIGUSR1 would end it alone, and leave the processes running.
    os.environ.setdefault("PET_SIGNALS_TO_HANDLE", "SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1")
    # Started again, a process must not find the addresses of those before it (pytorch issue 135712).
    os.environ.setdefault("TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    logging.getLogger(api.__name__).setLevel(logging.CRITICAL)  # which process failed is said below
    try:
        run.main()
    except api.SignalException:
        return STATUS  # passed on to the processes, which have had the time for a checkpoint
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            how, status = f"with status {failure.exitcode}", failure.exitcode
        else:
            how, status = f"by {signal.Signals(-failure.exitcode).name}", 128 - failure.exitcode
        if status not in (MISTAKE, STATUS):
            print(
                f"error: rank {rank} (process {failure.pid}) ended {how}; the others were stopped",
                file=sys.stderr,
            )
        return status
    return 0


if __name__ == "__main__":
    sys.exit(main())
