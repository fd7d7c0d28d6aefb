"""Checkpoints written beside training: the state is copied, and a thread writes the copy."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from pipeline.run.checkpoint import Checkpoints, State


class BackgroundCheckpoints:
    """Saves through `checkpoints` in one thread, one at a time: training waits for the copy to host memory alone.

    An error of the writing is raised by the next call.
    """

    def __init__(self, checkpoints: Checkpoints) -> None:
        self._checkpoints = checkpoints
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None

    def save(self, step: int, state: State, top1: float | None) -> None:
        """Begin to write `state`, which may change from now on; waits for the one before."""
        self.finish()
        self._writing = self._thread.submit(self._checkpoints.save, step, copied(state), top1)

    def finish(self) -> None:
        """Wait until all that was begun is complete."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """Finish, and end the thread."""
        try:
            self.finish()
        finally:
            self._thread.shutdown()


def copied(state: Any) -> Any:
    """`state` with every tensor in it copied to host memory."""
    if isinstance(state, torch.Tensor):
        return state.detach().to("cpu", copy=True)
    if isinstance(state, dict):
        return {key: copied(value) for key, value in state.items()}
    if isinstance(state, list):
        return [copied(value) for value in state]
    return state
