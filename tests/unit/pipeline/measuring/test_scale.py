"""The plan on paper: its figures are those of the plan carried out, at any size in seconds and little memory."""

import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import plan as program
from pipeline.measuring.scale import Scale, load_of
from pipeline.order import plan
from pipeline.order.plan import Order
from tests.processes import ROOT, environment

scales = st.builds(
    Scale,
    samples=st.integers(1, 200),
    samples_per_shard=st.integers(1, 30),
    bytes_per_sample=st.just(1000),
    ranks=st.integers(1, 4),
    workers=st.integers(1, 3),
    global_batch=st.integers(1, 40),
    order=st.builds(Order, seed=st.integers(0, 99), lanes=st.integers(1, 30), window=st.integers(1, 20)),
)


@settings(deadline=None)
@given(scales)
def test_the_load_is_what_readers_of_all_lanes_do(at: Scale) -> None:
    load, order = load_of(at), at.order
    first_numbers = min(at.global_batch, at.samples)
    for consumer in range(at.consumers):
        lanes = plan.lanes_of(consumer, at.consumers, order.lanes)
        pieces = [plan.lane_pieces(plan.raw_sequence(at.shard_samples, order, 0), lane) for lane in lanes]
        assert load.lanes[consumer] == len(lanes)
        assert load.shards[consumer] == sum(map(len, pieces))
        assert load.samples[consumer] == sum(piece.stop - piece.first for lane in pieces for piece in lane)
        held, first_batch = 0, 0
        for lane in lanes:
            length = plan.lane_length(at.samples, order.lanes, lane)
            sequence = plan.lane_order(length, order, 0, lane)
            read = np.maximum.accumulate(sequence) + 1  # until the sample at each position is there
            held += max(read - np.arange(length), default=0)
            first_batch += max(read[np.arange(length) * order.lanes + lane < first_numbers], default=0)
        assert held <= load.window[consumer]
        assert load.first_batch[consumer] == first_batch


def test_the_table_of_a_small_job(capsys: pytest.CaptureFixture[str]) -> None:
    job = ["--samples=1000", "--ranks=2", "--workers=2", "--lanes=8", "--samples-per-shard=50"]
    assert program.main([*job, "--bytes-per-sample=2000", "--window=1", "--global-batch=16"]) == 0
    lines = capsys.readouterr().out.splitlines()
    found = {cells[0]: cells[1:] for cells in (line.split("  ") for line in lines) if cells[0]}
    shown = {name: [cell.strip() for cell in cells if cell] for name, cells in found.items()}
    assert shown["data set"] == ["1,000 samples, 20 shards, 2.0 MB"]
    assert shown["consumers"] == ["4 (2 ranks x 2 workers)"]
    assert shown["lanes"] == ["8 of 125 to 125 samples, window 1"]
    assert shown["read in an epoch"] == ["1 times the data set"]
    assert shown["steps in an epoch"] == ["62 of 16 clips"]
    assert shown["lanes (= open files)"] == ["2.0", "2", "1.000"]
    assert shown["bytes read"] == ["500.0 kB", "500.0 kB", "1.000"]
    assert shown["window memory, at most"] == ["4.0 kB", "4.0 kB", "1.000"]
    assert shown["first-batch bytes"] == ["8.0 kB", "8.0 kB", "1.000"]
    assert shown["first batch, all workers"] == ["32.0 kB"]


def test_ten_million_samples_on_eighteen_thousand_workers_fit_in_500_mb() -> None:
    program = (
        "import pathlib, re, runpy, sys\n"
        "sys.argv = ['plan', '--samples=10000000', '--ranks=1536', '--workers=12']\n"
        "try: runpy.run_module('pipeline.plan', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        # not getrusage: its maximum begins with that of the process that started this one
        "most = re.search(r'VmHWM:\\s+(\\d+) kB', pathlib.Path('/proc/self/status').read_text())[1]\n"
        "print(most, 'torch' in sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    *table, last = done.stdout.splitlines()
    assert "18,432 (1,536 ranks x 12 workers)" in table[1]
    kilobytes, torch = last.split()
    assert int(kilobytes) < 500_000
    assert torch == "False"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--samples=0", "--ranks=1"], "--samples: must be at least 1"),
        (["--samples=100", "--ranks=3", "--global-batch=8"], "cannot be shared equally by 3 ranks"),
        (["--samples=7", "--ranks=1"], "--global-batch: 8 is more than the 7 samples"),
        (["--samples=1000000000000", "--ranks=8"], "--samples-per-shard: 7,812,500,000 shards are more than"),
        (["--samples=1000000000", "--ranks=1000000"], "--workers or --lanes: 4,000,000 lanes are more than"),
    ],
)
def test_a_mistake_is_one_line(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert program.main(options) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_a_lanes_plan_costs_memory_in_proportion_to_the_lane() -> None:
    def peak(samples: int, lanes: int) -> int:
        """Bytes that planning one lane takes at most; the shards are as many in each case."""
        sizes = np.full(100, samples // 100)
        order = Order(seed=0, lanes=lanes, window=256)
        tracemalloc.start()
        pieces = plan.lane_pieces(plan.raw_sequence(sizes, order, 0), lanes // 2)
        plan.lane_order(sum(piece.stop - piece.first for piece in pieces), order, 0, lanes // 2)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    peak(100_000, 100)  # what is made once
    small, long, many = peak(100_000, 100), peak(1_000_000, 100), peak(1_000_000, 1000)
    assert long > 5 * small  # ten times the lane
    assert many < 1.5 * small  # ten times the data in ten times the lanes: the lane is as long as it was
