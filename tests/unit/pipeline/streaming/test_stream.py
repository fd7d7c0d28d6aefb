"""A stream for a loop of one's own: exact, resumable on any number of ranks and workers, and plain about mistakes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.handover.ring import Ring
from pipeline.order import plan
from pipeline.run.proof import prove
from pipeline.streaming import Batch, Stream
from sharding import storage
from sharding.errors import UserError
from sharding.format.manifest import Manifest
from tests import shards
from tests.unit.pipeline.streaming import transforms

SAMPLES = 40


@pytest.fixture(scope="module")
def split(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return shards.make(tmp_path_factory.mktemp("set"), [15, 5, 20])


def stream(split: Manifest, transform: Any = transforms.number, **settings: Any) -> Stream:
    return Stream(split.root, transform, **{"global_batch": 6, "window": 16, **settings})


def numbers(made: Iterator[Batch] | Stream) -> list[list[int]]:
    """The samples of each batch."""
    return [batch.data.tolist() for batch in made]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_those_of_the_plan(split: Manifest, workers: int) -> None:
    made = stream(split, workers=workers, epochs=2, seed=5)
    batches = list(made)
    order = plan.Order(5, 6, 3)
    for batch in batches:
        planned = plan.epoch_order(np.array([15, 5, 20]), order, batch.epoch)[batch.step * 6 :][:6]
        assert batch.data.tolist() == planned.tolist()
        assert batch.keys == [f"clip-{i}" for i in planned]
        assert batch.labels.tolist() == [i % 3 for i in planned]
    assert [(batch.epoch, batch.step) for batch in batches] == [(e, s) for e in (0, 1) for s in range(6)]
    assert (made.done, made.steps_in_epoch, made.samples) == (12, 6, 40)
    assert list(made) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_anything_of_a_fixed_form_is_handed_over(split: Manifest, workers: int) -> None:
    kept = list(stream(split, transforms.arrays, workers=workers, drop_last=False))
    assert [len(batch.keys) for batch in kept] == [6] * 6 + [4]
    for batch in kept:  # all at once: none was written over
        made = batch.data
        n = len(batch.keys)
        samples = [int(key.removeprefix("clip-")) for key in batch.keys]
        assert {name: (value.dtype, tuple(value.shape)) for name, value in made.items()} == {
            "frames": (torch.uint8, (n, 2, 40, 48, 3)),
            "mean": (torch.bfloat16, (n,)),
            "draw": (torch.float64, (n, 3)),
            "odd": (torch.uint8, (n, 3)),
            "long": (torch.bool, (n,)),
        }
        assert made["frames"][:, 1, 20, 20, 0].tolist() == pytest.approx(samples, abs=4)
        assert made["odd"].tolist() == [[1, 2, 3]] * n
        assert made["long"].all()
        for place, number in enumerate(batch.numbers):
            drawn = plan.augmentation_rng(0, batch.epoch, number).random(3)
            assert made["draw"][place].tolist() == drawn.tolist()


def test_a_rank_may_have_nothing_of_the_last_batch(split: Manifest) -> None:
    made = [
        stream(split, transforms.arrays, global_batch=39, drop_last=False, rank=r, ranks=3) for r in range(3)
    ]
    last = [list(one)[-1] for one in made]
    assert [batch.numbers for batch in last] == [[39], [], []]
    assert last[2].data["frames"].shape == (0, 2, 40, 48, 3)


def test_jpegs_come_as_they_lie_in_the_shard(split: Manifest) -> None:
    batch = next(iter(stream(split, transforms.sizes)))
    assert (batch.data.dtype, tuple(batch.data.shape)) == (torch.int64, (6, 2))
    assert batch.data.min() > 100


def test_it_goes_on_where_it_stood_on_other_ranks_and_workers(split: Manifest) -> None:
    expected = numbers(stream(split, epochs=2, lanes=12))
    begun = stream(split, epochs=2, lanes=12, workers=2)
    before = [batch.data.tolist() for _, batch in zip(range(4), begun, strict=False)]
    state = json.loads(json.dumps(begun.state_dict()))
    assert before == expected[:4]
    parts = []
    for rank in range(3):
        going_on = stream(split, epochs=2, rank=rank, ranks=3)
        going_on.load_state_dict(state)
        assert going_on.done == 4
        parts.append(list(going_on))
    for step, shares in enumerate(zip(*parts, strict=True), 4):
        found = {
            n: int(value) for share in shares for n, value in zip(share.numbers, share.data, strict=True)
        }
        assert [found[n] for n in sorted(found)] == expected[step]


def test_a_batch_that_nobody_keeps_is_filled_again(split: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    grown = []
    more = Ring.more
    monkeypatch.setattr(Ring, "more", lambda ring: grown.append(ring) or more(ring))
    for _ in stream(split, workers=1, epochs=3):
        pass
    assert not grown
    list(stream(split, workers=1, epochs=3))
    assert grown


def test_iterating_again_goes_on(split: Manifest) -> None:
    expected = numbers(stream(split))
    made = stream(split)
    found = []
    for batch in made:
        found.append(batch)
        if made.done == 2:
            break
    found += list(made)
    assert numbers(iter(found)) == expected


def test_a_loop_ends_where_the_stream_is_begun_anew(split: Manifest) -> None:
    made = stream(split)
    loop = iter(made)
    next(loop)
    made.load_state_dict(made.state_dict())
    with pytest.raises(RuntimeError, match="begun anew"):
        next(loop)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"seed": 1}, "seed was 0 when the state was made, and is 1"),
        ({"global_batch": 8}, "global_batch was 6 when the state was made, and is 8"),
        ({"lanes": 2}, "lanes was 6 when the state was made, and is 2"),
        ({"window": 640}, "window was 16 when the state was made, and is 640"),
        ({"drop_last": False}, "steps_in_epoch was 6 when the state was made, and is 7"),
    ],
)
def test_a_state_of_another_order_is_refused(split: Manifest, settings: dict[str, Any], says: str) -> None:
    state = stream(split).state_dict()
    with pytest.raises(UserError, match=says):
        stream(split, **settings).load_state_dict(state)


def test_a_state_of_other_shards_or_of_something_else_is_refused(split: Manifest, tmp_path: Path) -> None:
    other = stream(shards.make(tmp_path, [40]))
    with pytest.raises(UserError, match="of other shards"):
        other.load_state_dict(stream(split).state_dict())
    with pytest.raises(UserError, match=r"not the state of a stream: manifest, .* are missing"):
        other.load_state_dict({"epoch": 1})
    with pytest.raises(UserError, match="not the state of a stream"):
        other.load_state_dict(None)  # type: ignore[arg-type]


def test_a_state_is_of_plain_values_whatever_the_numbers_were_given_as(split: Manifest) -> None:
    given = {"global_batch": np.int64(6), "seed": np.int32(3), "window": np.uint8(16), "lanes": np.int64(2)}
    state = stream(split, **given).state_dict()
    assert {type(value) for value in json.loads(json.dumps(state)).values()} <= {int, str, type(None)}
    again = stream(split, seed=3, lanes=2)
    again.load_state_dict(json.loads(json.dumps(state)))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            {"global_batch": 7, "rank": 0, "ranks": 2},
            "global_batch: 7 clips cannot be shared equally by 2 ranks",
        ),
        ({"global_batch": 41}, "global_batch 41 is more than its 40 samples"),
        ({"global_batch": 0}, "global_batch: 0 is less than 1"),
        ({"global_batch": 2.5}, "global_batch: a whole number is wanted, not 2.5"),
        ({"epochs": -1}, "epochs: -1 is less than 0"),
        ({"workers": -1}, "workers: -1 is less than 0"),
        ({"lanes": 0}, "lanes: 0 is less than 1"),
        ({"window": 0}, "window: 0 is less than 1"),
        ({"seed": -1}, "seed: -1 is less than 0"),
        ({"corrupt_budget": 1.5}, "corrupt_budget: 1.5 is no share; give a number from 0 to 1"),
        ({"cache": "folder", "cache_gb": 0}, "cache_gb: 0 keeps no shard"),
        ({"device": "gpu"}, "device: torch knows no 'gpu'"),
        ({"device": "cuda:99"}, r"device: cuda:99, and torch finds (no|\d+) GPUs here"),
        ({"films": "jpeg"}, "films='jpeg' needs a folder for the shards of JPEGs: give cache"),
        ({"films": "jpegs", "cache": "folder"}, "films: 'jpegs' is neither 'decode' nor 'jpeg'"),
        ({"rank": 2, "ranks": 2}, "rank 2 of 2"),
        ({"audit": "folder", "drop_last": False}, "an audit is of whole batches"),
    ],
)
def test_mistakes_are_told_at_once(split: Manifest, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        stream(split, **settings)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_failing_transform_names_shard_and_key_in_one_line(split: Manifest, workers: int) -> None:
    url = split.shard_url(0)
    with pytest.raises(UserError) as raised:
        list(stream(split, transforms.failing, workers=workers))
    said = str(raised.value)
    assert said.startswith(f"{url}: sample clip-11: the transform failing failed: ZeroDivisionError: ")
    assert f"({transforms.__file__}, line " in said
    assert "\n" not in said


def test_another_form_than_the_first_sample_s_is_told(tmp_path: Path) -> None:
    split = shards.make(tmp_path, [3], wider=16)
    with pytest.raises(UserError) as raised:
        list(stream(split, transforms.whole, global_batch=3))
    assert f"{split.shard_url(0)}: sample clip-" in str(raised.value)
    assert "uint8 (12, 40, 48, 3) of the split's first sample; all must be alike" in str(raised.value)


def test_what_is_no_array_is_told_before_anything_is_read(split: Manifest) -> None:
    with pytest.raises(UserError, match="sample clip-0: the transform pair made a tuple; make an array"):
        stream(split, transforms.pair)


def test_a_transform_that_cannot_be_pickled_is_told_at_once(split: Manifest) -> None:
    with pytest.raises(UserError, match=r"the transform .*<lambda> cannot be sent to loader processes"):
        stream(split, lambda video, rng: 0, workers=1)
    assert len(list(stream(split, lambda video, rng: 0))) == 6


def test_a_transform_that_a_process_cannot_find_is_told(
    split: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = stream(split, transforms.Offset(3), workers=1)
    # As a function of a session or a notebook: the other process has no such name.
    monkeypatch.setattr(
        transforms, "Typed", type("Typed", (transforms.Offset,), {"__module__": transforms.__name__}), False
    )
    made = stream(split, transforms.Typed(3), workers=1)  # type: ignore[attr-defined]
    with pytest.raises(UserError, match="the transform Typed cannot be loaded in a loader process"):
        next(iter(made))


def test_an_object_may_be_a_transform(split: Manifest) -> None:
    plain, more = (numbers(stream(split, t, workers=1)) for t in (transforms.number, transforms.Offset(100)))
    assert more == [[n + 100 for n in batch] for batch in plain]


def damage(split: Manifest, key: str) -> None:
    """Change a byte of a sample."""
    for shard in range(len(split.shards)):
        for row in split.sidecar(shard).samples:
            if row.key == key:
                tar = bytearray(storage.read_bytes(split.shard_url(shard)))
                tar[row.offset + row.bytes // 2] ^= 255
                storage.write_bytes(split.shard_url(shard), bytes(tar))


def test_damaged_samples_end_the_stream_or_are_replaced(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    split = shards.make(tmp_path, [15, 5, 20])
    damage(split, "clip-0")  # the first one, which the transform would be tried on
    with pytest.raises(UserError, match=r"sample clip-0, .* damaged"):
        list(stream(split, drop_last=False))
    made = list(stream(split, corrupt_budget=0.05, drop_last=False, lanes=4))
    assert [key for batch in made for key in batch.replaced] == ["clip-0"]
    assert "is used in its place" in capfd.readouterr().err


@pytest.mark.parametrize("workers", [0, 3])
def test_the_budget_is_that_of_all_loader_processes_together(tmp_path: Path, workers: int) -> None:
    split = shards.make(tmp_path, [15, 5, 20])
    for key in ("clip-7", "clip-16", "clip-31"):
        damage(split, key)
    settings = {"drop_last": False, "workers": workers, "lanes": 6}
    made = list(stream(split, corrupt_budget=3 / 40, **settings))
    assert sum(len(batch.replaced) for batch in made) == 3
    with pytest.raises(UserError, match=r"3 damaged samples in this epoch, more than the 2"):
        list(stream(split, corrupt_budget=2 / 40, **settings))


def test_a_cache_keeps_the_shards(split: Manifest, tmp_path: Path) -> None:
    expected = numbers(stream(split, lanes=1))
    assert numbers(stream(split, lanes=1, cache=tmp_path / "cache", cache_gb=1)) == expected
    assert len(list((tmp_path / "cache").glob("*.kept"))) >= 3


def test_the_audit_proves_it_over_restarts(split: Manifest, tmp_path: Path) -> None:
    folder = str(tmp_path / "audited")
    made = stream(split, epochs=2, audit=folder)
    for _ in made:
        if made.done == 4:
            state = made.state_dict()
        if made.done == 5:
            break  # and what comes after the state is lost
    proof = prove(folder)
    assert (proof.findings, proof.steps) == ([], 5)
    made = stream(split, epochs=2, audit=folder, workers=1)
    made.load_state_dict(state)
    list(made)
    proof = prove(folder)
    assert (proof.findings, proof.steps, proof.samples, proof.restarts) == ([], 12, 72, [4])
    assert (proof.evaluations, proof.to_evaluate, proof.old_starts) == (0, None, 0)


def test_the_audit_refutes_what_was_tampered_with(split: Manifest, tmp_path: Path) -> None:
    first, *_, last = [key for batch in stream(split, audit=tmp_path) for key in batch.keys]
    log = tmp_path / "audit" / "from-00000000.rank-000.jsonl"
    log.write_text(log.read_text().replace(f'"{last}"', f'"{first}"'))
    assert any(f"{first} was used again" in finding for finding in prove(str(tmp_path)).findings)


def test_an_audit_of_several_ranks_needs_their_group(split: Manifest, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="init_process_group"):
        next(iter(stream(split, audit=tmp_path, rank=0, ranks=2)))


def test_ranks_are_those_of_the_launcher(split: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert next(iter(stream(split))).numbers == [1, 3, 5]


def test_several_labels_are_rows(tmp_path: Path) -> None:
    split = shards.make(tmp_path, [6], labels=lambda sample: (0, 2) if sample % 2 else (1,))
    batch = next(iter(stream(split)))
    assert batch.labels.dtype == torch.int8
    for key, row in zip(batch.keys, batch.labels.tolist(), strict=True):
        assert row == ([1, 0, 1] if int(key[5:]) % 2 else [0, 1, 0])
