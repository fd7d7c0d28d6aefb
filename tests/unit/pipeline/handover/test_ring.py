"""The ring: memory that somebody can still read is never filled again, and nothing of it is left behind."""

import gc
import os
from pathlib import Path

import pytest
import torch

from pipeline.handover import ring, shared
from pipeline.handover.ring import Ring, Slots
from sharding.errors import UserError

COUNT = 10_000


def mapped() -> int:
    """Mappings of nameless shared files in this process."""
    return Path("/proc/self/maps").read_text().count("/dev/shm/")


def filled(some: Ring, slots: Slots, slot: int, value: int, count: int = COUNT) -> torch.Tensor:
    slots.memory(slot, count).fill_(value)
    return some.handed_out(slot, count)


def writing(some: Ring) -> Slots:
    return Slots(os.dup(some.file.fileno()), some.slots)


def test_what_one_side_writes_the_other_reads_without_a_copy() -> None:
    some = Ring(2)
    slots = writing(some)
    memory = filled(some, slots, 1, 7)
    assert memory.tolist() == [7] * COUNT
    slots.memory(1, COUNT)[3] = 9
    assert memory[3] == 9
    slots.close()
    some.close()


@pytest.mark.parametrize("keep", [lambda memory: memory[5:6], lambda memory: memory.view(2, -1).numpy()])
def test_a_slot_is_free_when_nothing_is_left_of_what_was_handed_out(keep: object) -> None:
    some = Ring(1)
    slots = writing(some)
    assert some.free() == 0 and some.free() is None
    memory = filled(some, slots, 0, 7)
    kept = keep(memory)  # type: ignore[operator]
    del memory
    gc.collect()
    assert some.free() is None
    del kept
    gc.collect()
    assert some.free() == 0
    slots.close()
    some.close()


def test_a_held_ring_gets_one_more_slot() -> None:
    some = Ring(1)
    slots = writing(some)
    assert some.free() == 0
    first = filled(some, slots, 0, 1)
    second = filled(some, slots, some.more(), 2)
    assert (first.unique().tolist(), second.unique().tolist()) == ([1], [2])
    slots.close()
    some.close()


def test_a_slot_grows_and_shrinks_with_its_batches() -> None:
    some = Ring(2)
    slots = writing(some)
    for value, count in enumerate([COUNT, 50 * COUNT, 3, 80 * COUNT]):
        memory = filled(some, slots, 0, value, count)
        assert len(memory) == count and memory.unique().tolist() == [value]
        del memory
    slots.close()
    some.close()


def test_a_batch_outlives_its_ring_and_then_nothing_is_left() -> None:
    before = mapped()
    some = Ring(3)
    slots = writing(some)
    memories = [filled(some, slots, slot, slot) for slot in range(3)]
    slots.close()
    some.close()
    assert [memory.unique().tolist() for memory in memories] == [[0], [1], [2]]
    del memories
    gc.collect()
    assert mapped() == before


def test_the_whole_ring_is_made_sure_of_with_its_first_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(shared.os, "posix_fallocate", lambda file, *where: asked.append(where))
    some = Ring(3)
    monkeypatch.setattr(ring, "_map", lambda file, slot, count: bytearray(count))
    slots = writing(some)
    slots.memory(0, COUNT)
    slots.memory(1, COUNT // 2)
    assert [count for _, count in asked] == [COUNT] * 3
    assert len({offset for offset, _ in asked}) == 3
    slots.close()
    some.close()


class Cudart:
    """What CUDA is asked to pin."""

    def __init__(self, error: int = 0) -> None:
        self.pinned: dict[int, int] = {}
        self.error = error

    def cudaHostRegister(self, address: int, count: int, flags: int) -> int:  # noqa: N802
        self.pinned[address] = count
        return self.error

    def cudaHostUnregister(self, address: int) -> None:  # noqa: N802
        del self.pinned[address]


def test_each_slot_is_pinned_once_and_let_go_when_nobody_reads_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cudart = Cudart()
    monkeypatch.setattr(ring, "_cudart", lambda: cudart)
    some = Ring(2, pin=True)
    slots = writing(some)
    for _ in range(3):
        memory = None
        memory = filled(some, slots, 0, 1)
        assert cudart.pinned == {memory.data_ptr(): COUNT}
    other = filled(some, slots, 1, 1)
    some.close()
    assert set(cudart.pinned) == {memory.data_ptr(), other.data_ptr()}  # a copy may be under way
    del other
    gc.collect()
    assert set(cudart.pinned) == {memory.data_ptr()}
    del memory
    gc.collect()
    assert not cudart.pinned
    slots.close()


def test_memory_that_is_not_pinned_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ring, "_cudart", lambda: Cudart(error=2))
    some = Ring(1, pin=True)
    slots = writing(some)
    with pytest.raises(UserError, match=r"does not pin 0\.0 MB .* \(CUDA error 2\)"):
        filled(some, slots, 0, 1)
    slots.close()
    some.close()
