"""A ring of batches in shared memory, made once: loader processes write into it, training reads there.

A batch that is handed out is a tensor, and its slot is free again when the last tensor on that memory is gone, views
and arrays included. So nothing that somebody can still read is ever written over, whatever they keep.
"""

import mmap
import os
import weakref
from collections import deque
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.handover.shared import reserve, shared_file
from sharding.errors import UserError

_SPACING = 1 << 40
"""Bytes from one slot to the next in a file that has memory only where it is reserved: a slot can grow in its place."""


class Ring:
    """The reading side: `slots` batches, more if they are all held; pinned for `pin`.

    A copy from pinned memory that nobody waits for must hold on to the batch until it is done
    (`pipeline.data.prefetch`).
    """

    def __init__(self, slots: int, pin: bool = False) -> None:
        self.slots = slots
        self.file = shared_file()
        self._pin, self._closed = pin, False
        self._free = deque(range(slots))
        self._held: set[int] = set()
        self._maps: dict[int, mmap.mmap] = {}

    def free(self) -> int | None:
        """A slot to be filled, if one is free."""
        return self._free.popleft() if self._free else None

    def more(self) -> int:
        """A slot to be filled that was not there before."""
        self.slots += 1
        return self.slots - 1

    def handed_out(self, slot: int, count: int) -> Tensor:
        """The first `count` bytes of a slot that was filled; it is free again when they are gone."""
        memory = np.frombuffer(self._mapped(slot, count), np.uint8, count)
        self._held.add(slot)
        weakref.finalize(memory, self.let_go, slot).atexit = False
        return torch.from_numpy(memory)

    def let_go(self, slot: int) -> None:
        """The slot may be filled again."""
        # May run in the midst of anything, as a tensor's end does: each of these is one operation of the interpreter.
        self._held.discard(slot)
        if self._closed:
            self._forget(slot)
        else:
            self._free.append(slot)

    def close(self) -> None:
        """Give the memory back, of batches that are still held when they are gone."""
        self._closed = True
        self.file.close()
        for slot in set(self._maps) - self._held:
            self._forget(slot)

    def _mapped(self, slot: int, count: int) -> mmap.mmap:
        if slot not in self._maps or len(self._maps[slot]) < count:
            self._forget(slot)
            memory = _map(self.file.fileno(), slot, count)
            if self._pin:
                _pin(memory)
            self._maps[slot] = memory
        return self._maps[slot]

    def _forget(self, slot: int) -> None:
        memory = self._maps.pop(slot, None)
        if memory is not None and self._pin:
            _cudart().cudaHostUnregister(_address(memory))


class Slots:
    """The writing side, in a loader process: the ring's `file`, of `slots` batches at the start."""

    def __init__(self, file: int, slots: int) -> None:
        self._file, self._slots, self._reserved = file, slots, 0
        self._maps: dict[int, mmap.mmap] = {}

    def memory(self, slot: int, count: int) -> Tensor:
        """The first `count` bytes of a slot. Raises `UserError` where there is no room for them."""
        if count > self._reserved:
            # All at once: what does not fit is told with the first batch, or at the start.
            for each in range(self._slots):
                reserve(self._file, each * _SPACING, count)
            self._reserved = count
        if slot not in self._maps or len(self._maps[slot]) < count:
            if slot >= self._slots:
                reserve(self._file, slot * _SPACING, count)
            self._maps[slot] = _map(self._file, slot, count)
        return torch.frombuffer(self._maps[slot], dtype=torch.uint8, count=count)

    def close(self) -> None:
        """Let go of the memory."""
        self._maps.clear()
        os.close(self._file)


def _map(file: int, slot: int, count: int) -> mmap.mmap:
    return mmap.mmap(file, count, offset=slot * _SPACING)


def _address(memory: mmap.mmap) -> int:
    return int(np.frombuffer(memory, np.uint8).ctypes.data)


def _cudart() -> Any:
    return torch.cuda.cudart()  # type: ignore[no-untyped-call]


def _pin(memory: mmap.mmap) -> None:
    """Let the device copy from there while the host goes on."""
    error = _cudart().cudaHostRegister(_address(memory), len(memory), 0)
    if int(error):
        raise UserError(
            f"the driver does not pin {len(memory) / 1e6:,.1f} MB of shared memory for the GPU (CUDA error "
            f"{int(error)}); allow more locked memory (ulimit -l), or use data.workers=0"
        )
