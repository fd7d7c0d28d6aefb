"""A process without progress ends and tells where it stood."""

import subprocess
import sys

from tests.processes import ROOT

HANGS = """
import time
from pipeline.ranks.watchdog import Watchdog

def reads_a_silent_store():
    time.sleep(60)

with Watchdog(6.0) as watchdog:
    for _ in range(4):
        time.sleep(2.0)
        watchdog.beat()
    print("there was progress", flush=True)
    reads_a_silent_store()
"""


def test_a_hang_ends_the_process_with_its_stack() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.stdout == "there was progress\n"
    assert done.returncode == 1
    assert "reads_a_silent_store" in done.stderr


def test_after_its_block_it_ends_nothing() -> None:
    program = (
        "import time\nfrom pipeline.ranks.watchdog import Watchdog\nwith Watchdog(0.2): pass\ntime.sleep(1)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60).returncode == 0
