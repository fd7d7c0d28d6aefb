"""The process group: who this process is, and the few exchanges that training needs."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from pipeline.config import Run
from pipeline.ranks import devices, launcher
from pipeline.ranks.mistakes import Mistakes, ToldElsewhere
from sharding.errors import MISTAKE, UserError

_TOGETHER_S = 120.0  # for ranks that only meet to tell of a mistake

MARGIN_S = 30.0
"""By which a collective operation's time limit is later than that of `pipeline.ranks.watchdog`, which tells more."""

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """This process among all: `rank` of `ranks`, and the device that it computes on."""

    rank: int
    ranks: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this is the process that writes and prints."""
        return self.rank == 0

    def mean(self, value: Tensor) -> Tensor:
        """`value` averaged over all ranks; every rank must call it."""
        if self.ranks > 1:
            dist.all_reduce(value)
            value /= self.ranks
        return value

    def largest(self, value: Tensor) -> Tensor:
        """The largest over all ranks of each element of `value`; every rank must call it."""
        if self.ranks > 1:
            dist.all_reduce(value, dist.ReduceOp.MAX)
        return value

    def gather(self, value: T) -> list[T]:
        """Every rank's picklable `value` in order of rank on the main process, [] on the others."""
        if self.ranks == 1:
            return [value]
        values: list[T | None] | None = [None] * self.ranks if self.main else None
        dist.gather_object(value, values)
        return values if self.main else []  # type: ignore[return-value]

    def share(self, value: T) -> T:
        """The main process's picklable `value`, on every rank."""
        values = [value]
        if self.ranks > 1:
            dist.broadcast_object_list(values)
        return values[0]

    def any(self, value: bool) -> bool:
        """Whether `value` holds on any rank; every rank must call it."""
        if self.ranks == 1:
            return value
        flag = torch.tensor(int(value))
        dist.all_reduce(flag, dist.ReduceOp.MAX)
        return bool(flag)

    def wait(self) -> None:
        """Until every rank is here."""
        if self.ranks > 1:
            dist.barrier()

    def share_buffers(self, model: nn.Module) -> None:
        """Give every rank the main process's buffers (batch-norm statistics), in one exchange for each dtype."""
        if self.ranks == 1:
            return
        # Not in the order of a set, which differs between processes.
        for dtype in dict.fromkeys(buffer.dtype for buffer in model.buffers()):
            buffers = [buffer.view(-1) for buffer in model.buffers() if buffer.dtype == dtype]
            values = torch.cat(buffers)
            dist.broadcast(values, src=0)
            torch._foreach_copy_(buffers, torch.split(values, [len(buffer) for buffer in buffers]))


class Vote:
    """Whether any rank has said yes. The answer is that of the call before: it is exchanged while a step runs.

    The flag is on the CPU, and so goes through gloo: the device is not waited for.
    """

    def __init__(self, world: World) -> None:
        self._alone = world.ranks == 1
        self._flag = torch.zeros(1, dtype=torch.int32)
        self._work: dist.Work | None = None

    def cast(self, yes: bool) -> bool:
        """Say `yes` or no; every rank must call it equally often, and gets the same answer."""
        if self._alone:
            return yes
        self.close()
        answer = bool(self._flag)
        self._flag = torch.tensor([int(yes)], dtype=torch.int32)
        self._work = dist.all_reduce(self._flag, dist.ReduceOp.MAX, async_op=True)
        return answer

    def close(self) -> None:
        """Wait for the exchange that is under way."""
        if self._work is not None:
            self._work.wait()
            self._work = None


@contextmanager
def joined(prepare: Callable[[], tuple[T, Run]]) -> Iterator[tuple[World, T]]:
    """Join the group that torchrun describes in the environment; without it, a world of one.

    `prepare` makes what this rank needs first, and says the time limit of an exchange and the kind of device. A
    `UserError` that it or the block raises on any rank ends all of them in one line: on the others it is
    `ToldElsewhere`.
    """
    prepared, device, mistake = _attempted(prepare)
    if int(os.environ.get("WORLD_SIZE", 1)) == 1:
        if mistake:
            raise mistake
        assert prepared
        yield World(0, 1, device), prepared[0]
        return
    timeout_s = prepared[1].timeout_s if prepared else _TOGETHER_S
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout_s + MARGIN_S))
    mistakes = Mistakes(dist.get_rank(), dist.get_world_size(), _leave)
    try:
        if mistake:
            raise mistake
        assert prepared
        yield World(dist.get_rank(), dist.get_world_size(), device), prepared[0]
        mistakes.close()
        # Not after an error: with NCCL it could wait for ranks that are in the middle of an exchange.
        dist.destroy_process_group()
    except UserError as error:
        if not mistakes.tell(error.status):
            raise ToldElsewhere(error.status) from None
        raise
    except Exception:
        if (status := mistakes.told()) is not None:  # it ends exchanges with an error of their own
            raise ToldElsewhere(status) from None
        raise


def _attempted(
    prepare: Callable[[], tuple[T, Run]],
) -> tuple[tuple[T, Run] | None, torch.device, UserError | None]:
    """What `prepare` makes and this rank's device, or the mistake that it met: the others are to hear of it."""
    try:
        prepared = prepare()
        return prepared, devices.device_for(prepared[1]), None
    except UserError as error:
        return None, torch.device("cpu"), error


def _leave(status: int) -> None:
    """End this process, wherever it stands, as one that has met the mistake itself."""
    launcher.ended(status)
    if status == MISTAKE:
        launcher.stop_all()
    os._exit(status)
