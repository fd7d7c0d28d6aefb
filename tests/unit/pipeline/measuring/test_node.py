"""A node on paper: the slowest part holds the others up, and what is advised ends the wait."""

import json
import re
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import bench
from pipeline import plan as program
from pipeline.measuring.node import (
    DECODING,
    HANDOVER,
    NETWORK,
    STEP,
    Node,
    advice,
    kept_share,
    lines,
    outlook,
)
from pipeline.measuring.rates import Rates, load
from pipeline.order.plan import Order
from tests import shards

RATES = Rates(
    samples=100_000,
    sample_bytes=1e6,
    clips_a_sample=1,
    clip_bytes=2_400_000,
    worker_s=0.008,
    handover_s=0.00001,
    store_mb_s=900.0,
    worker_bytes=100_000_000,
    steps_ahead=4,
)
NODE = Node(
    gpus=8,
    cores=96,
    workers=8,
    store_mb_s=9000.0,
    step_rate=800.0,
    global_batch=64,
    order=Order(0, lanes=64, window=16),
)


def test_each_part_has_its_limit_and_the_lowest_holds() -> None:
    found = outlook(RATES, NODE)
    assert found.limits == pytest.approx({NETWORK: 9000, DECODING: 8000, HANDOVER: 800_000, STEP: 6400})
    assert (found.limit, found.data_wait) == (STEP, 0)
    slow = outlook(RATES, replace(NODE, store_mb_s=1600.0))
    assert (slow.limit, slow.rate, slow.data_wait) == (NETWORK, 1600, 0.75)
    few = outlook(RATES, replace(NODE, cores=40))
    assert (few.limit, few.rate) == (DECODING, pytest.approx(4000))
    old = outlook(replace(RATES, handover_s=0.002), NODE)
    assert (old.limit, old.rate, old.data_wait) == (HANDOVER, pytest.approx(4000), pytest.approx(0.375))


def test_what_is_read_goes_by_lanes_repeats_and_cache() -> None:
    twice = replace(NODE, workers=16)  # 128 consumers of 64 lanes
    assert outlook(RATES, twice).limits[NETWORK] == 4500
    assert outlook(replace(RATES, clips_a_sample=2), NODE).limits[NETWORK] == 18_000
    assert outlook(RATES, replace(NODE, cache_gb=100.0)).limits[NETWORK] == np.inf
    assert outlook(RATES, replace(NODE, cache_gb=50.0)).reads == pytest.approx(0.5 * (1 + np.log(2)))


def test_memory_is_that_of_processes_windows_and_clips_on_their_way() -> None:
    found = outlook(RATES, replace(NODE, memory_gb=7.0))
    assert found.memory == 64 * 100e6 + 1024 * 1e6 + 4 * 64 * 2.4e6
    assert advice(found, RATES, replace(NODE, memory_gb=7.0)).startswith("loading takes more than the 7 GB")


@given(
    st.floats(1e-3, 0.1),
    st.floats(10, 5000),
    st.floats(50, 2000),
    st.integers(1, 8),
    st.integers(1, 12),
    st.integers(4, 200),
)
def test_what_is_advised_ends_the_wait(
    worker_s: float, store: float, step: float, gpus: int, workers: int, cores: int
) -> None:
    rates = replace(RATES, worker_s=worker_s)
    node = replace(NODE, store_mb_s=store, step_rate=step, gpus=gpus, workers=workers, cores=cores)
    node = replace(node, order=Order(0, lanes=node.consumers, window=16))
    for _ in range(3):  # each limit once at most
        told = advice(outlook(rates, node), rates, node)
        if told.startswith("nothing"):
            break
        if found := re.search(r"needs ([\d,]+) MB/s", told):
            node = replace(node, store_mb_s=float(found[1].replace(",", "")) + 1)
        else:
            if found := re.match(r"(\d+) cores", told):
                node = replace(node, cores=int(found[1]))
            node = replace(node, workers=int(re.search(r"data\.workers=(\d+)", told)[1]))  # type: ignore[index]
            node = replace(node, order=Order(0, lanes=node.consumers, window=16))
    assert told.startswith("nothing")


@pytest.mark.parametrize(("nodes", "share"), [(1, 0.3), (1, 0.7), (1, 0.95), (2, 0.4), (4, 0.2), (4, 0.6)])
def test_a_cache_that_is_too_small_has_what_a_simulated_one_has(nodes: int, share: float) -> None:
    rng, count = np.random.default_rng(0), 400
    kept: OrderedDict[int, None] = OrderedDict()
    hits = asked = 0
    for epoch in range(40):
        for shard in rng.permutation(count)[: count // nodes].tolist():
            asked += epoch >= 10
            hits += epoch >= 10 and shard in kept
            kept[shard] = None
            kept.move_to_end(shard)
            if len(kept) > share * count:
                kept.popitem(last=False)
    assert kept_share(share * 1e11, RATES, nodes) == pytest.approx(hits / asked, abs=0.04)


def test_the_program_makes_a_node_of_what_the_bench_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shards.make(tmp_path / "set", [9, 6])
    file = str(tmp_path / "rates.json")
    small = ["data.size=32", "data.short_side=32", "model.num_frames=2", "optim.global_batch=4"]
    where = [f"data.root={tmp_path}/set", "run.folder=unused", "data.workers=1"]
    options = ["loader", "--config", "demo", "--seconds", "0.1", "--save", file]
    assert bench.main([*options, *where, *small]) == 0
    rates = load(file)
    tars = sum(path.stat().st_size for path in (tmp_path / "set" / "train").glob("*.tar"))
    assert (rates.samples, rates.sample_bytes, rates.clip_bytes) == (15, tars / 15, 2 * 3 * 32 * 32)
    assert rates.worker_s > rates.handover_s / 100
    assert rates.worker_bytes > 1e6
    capsys.readouterr()
    job = [f"--measured={file}", "--gpus=1", "--cores=2", "--step=1e9", "--workers=1"]
    assert program.main([*job, "--store=0.001"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^data wait +100% of the time; the limit is the network$", printed, re.MULTILINE)
    node = Node(1, 2, 1, 0.001, 1e9, 8, Order(0, 64, 16))
    assert printed.splitlines() == lines(rates, node)
    assert program.main([*job, "--store=0.001", "--samples=5000", "--cache-gb=0.001"]) == 0
    larger, node = replace(rates, samples=5000), replace(node, cache_gb=0.001)
    assert capsys.readouterr().out.splitlines() == lines(larger, node)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--measured={file}"], "--gpus, --cores, --step: must be given"),
        (["--gpus=8"], "--gpus: a node on paper needs --measured FILE"),
        ([], "--samples, --ranks: must be given"),
        (["--measured={file}", "--gpus=8", "--cores=9", "--step=0"], "--step: must be more than 0"),
        (
            ["--measured={file}", "--gpus=8", "--cores=9", "--step=inf"],
            "--step: must be more than 0 and finite",
        ),
        (
            ["--measured={file}", "--gpus=8", "--cores=9", "--step=9", "--ranks=12"],
            "no whole nodes of 8 GPUs",
        ),
        (["--measured={bad}", "--gpus=8", "--cores=9", "--step=9"], "not the rates of a machine (worker_s: "),
        (["--measured=/nowhere", "--gpus=8", "--cores=9", "--step=9"], "/nowhere: no such file"),
    ],
)
def test_a_mistake_is_one_line(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, bad = tmp_path / "rates.json", tmp_path / "bad.json"
    RATES.save(str(file))
    bad.write_text(json.dumps({**json.loads(file.read_text()), "worker_s": -1}))
    assert program.main([option.format(file=file, bad=bad) for option in options]) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
