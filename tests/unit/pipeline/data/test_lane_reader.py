"""A lane: the planned order from any position on, each byte asked for once; what is not right is named."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as how
from hypothesis import strategies as st

from pipeline.data.lane_reader import LaneReader, epoch_of
from pipeline.data.samples import DamagedError, checked
from pipeline.order import mixture, plan
from sharding.errors import UserError
from sharding.format.manifest import Manifest
from sharding.format.rows import SampleRow
from sharding.format.sidecar import load_sidecar
from tests import shards
from tests.unit.pipeline.data.counting import Counting

SHARDS = [7, 5, 0, 9, 4, 6]  # 31 samples


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return shards.make(tmp_path_factory.mktemp("shards"), SHARDS, frames=3)


def planned(split: Manifest, order: plan.Order, epoch: int, lane: int) -> list[tuple[int, SampleRow]]:
    """The lane's samples by position, straight from the rule: shard and row."""
    pieces = mixture.lane(epoch_of(split, order, epoch), lane).strands[0].pieces
    rows = {p.shard: load_sidecar(split.sidecar_url(p.shard)).samples for p in pieces}
    raw = [(p.shard, rows[p.shard][i]) for p in pieces for i in range(p.first, p.stop)]
    return [raw[i] for i in plan.lane_order(len(raw), order, epoch, lane)]


sizes = st.lists(st.integers(0, 9), min_size=1, max_size=6).filter(any)


@how(deadline=None, max_examples=60)
@given(sizes, st.integers(1, 4), st.integers(1, 20), st.integers(0, 30), st.integers(1, 3), st.integers(0, 9))
def test_any_part_of_a_lane_comes_in_the_planned_order_and_each_sample_is_read_once(
    sizes: list[int], lanes: int, window: int, first: int, step: int, epoch: int
) -> None:
    order = plan.Order(seed=1, lanes=lanes, window=window)
    with tempfile.TemporaryDirectory() as folder:
        split = shards.make(folder, sizes, frames=1, width=16, height=16)
        for lane in range(lanes):
            store = Counting(split)
            spans = list(LaneReader(split, epoch_of(split, order, epoch), lane, first, step, store))
            expected = planned(split, order, epoch, lane)[first::step]
            assert [checked(span).row for span in spans] == [row for _, row in expected]
            for shard, row in expected:
                over = [
                    ask for ask in store.asked if ask[0] == shard and ask[1] < row.offset + row.bytes > ask[1]
                ]
                assert (
                    sum(offset <= row.offset and row.offset + row.bytes <= end for _, offset, end in over)
                    == 1
                )
            if step == 1:
                assert store.bytes() == sum(row.bytes for _, row in expected)


def test_a_whole_lane_is_one_read_a_shard(split: Manifest) -> None:
    store = Counting(split)
    order = plan.Order(seed=1, lanes=2, window=5)
    for lane in range(2):
        assert len(
            list(LaneReader(split, epoch_of(split, order, 0), lane, shards=store))
        ) == plan.lane_length(31, 2, lane)
    # five shards with samples, one of them shared by the two lanes; only that one is opened in the middle
    assert len(store.asked) == 6
    assert sum(offset > 0 for _, offset, _ in store.asked) == 1


@pytest.mark.parametrize("first", range(31))
def test_the_first_sample_after_a_resume_needs_no_other_one_that_was_passed(
    split: Manifest, first: int
) -> None:
    order = plan.Order(seed=1, lanes=1, window=20)
    positions = plan.lane_order(31, order, 0, 0)
    front = plan.front(positions[:first])
    store = Counting(split)
    span = next(iter(LaneReader(split, epoch_of(split, order, 0), 0, first, shards=store)))
    if positions[first] < front:
        assert [(offset, end) for _, offset, end in store.asked] == [
            (span.row.offset, span.row.offset + span.row.bytes)
        ]
    else:
        raw = [
            at for _, at in sorted(enumerate(planned(split, order, 0, 0)), key=lambda at: positions[at[0]])
        ]
        shard, row = raw[front]
        assert store.asked[0][:2] == (shard, row.offset)


@pytest.mark.parametrize("cut", [-1, 0, 700])
def test_a_truncated_shard_is_named(tmp_path: Path, cut: int) -> None:
    split = shards.make(tmp_path, [6])
    rows = [sample.row for sample in shards.samples(split, 0)]
    tar = Path(split.shard_url(0))
    # 0: at a member boundary, where tar readers see nothing wrong
    tar.write_bytes(tar.read_bytes()[: rows[4].offset + cut])
    problems = {}
    for span in LaneReader(split, epoch_of(split, plan.Order(0, 1, 1), 0), 0):
        try:
            checked(span)
        except DamagedError as error:
            problems[span.row.key] = str(error)
    assert list(problems) == [row.key for row in rows[3 if cut < 0 else 4 :]]
    if cut == 700:
        assert (
            f"shard-000000.tar: ends at byte {rows[4].offset + 700}, inside sample {rows[4].key}"
            in problems["clip-4"]
        )
    assert (
        f"shard-000000.tar: ends before sample {rows[5].key}, bytes {rows[5].offset} to" in problems["clip-5"]
    )


def test_a_missing_shard_and_a_strange_sidecar_are_named(tmp_path: Path) -> None:
    split = shards.make(tmp_path / "one", [3])
    reader = LaneReader(split, epoch_of(split, plan.Order(0, 1, 1), 0), 0)
    tar, sidecar = Path(split.shard_url(0)), Path(split.sidecar_url(0))
    tar.unlink()
    with pytest.raises(UserError, match=r"shard-000000\.tar: no such file"):
        list(reader)
    other = shards.make(tmp_path / "two", [4])
    sidecar.write_bytes(Path(other.sidecar_url(0)).read_bytes())
    reader = LaneReader(split, epoch_of(split, plan.Order(0, 1, 1), 0), 0)
    with pytest.raises(
        UserError, match=r"shard-000000\.json: not the sidecar that the manifest was made from"
    ):
        list(reader)
    sidecar.unlink()
    with pytest.raises(UserError, match=r"shard-000000\.json: no such file"):
        list(reader)
