"""A checkpoint that one process has read is every rank's."""

from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.ranks.distributed import World
from pipeline.ranks.shared_state import share_state

CPU = torch.device("cpu")
STATE = {
    "model": {
        "weight": torch.arange(6.0).view(2, 3).t(),
        "count": torch.tensor(7),
        "none": torch.empty(0, 3),
    },
    "optimizer": {
        "state": {0: {"momentum": torch.ones(2, dtype=torch.bfloat16)}},
        "param_groups": [{"lr": 0.1}],
    },
    "lanes": [1, [torch.tensor([True, False])]],
    "classes": ["a", "b"],
    "missing": None,
}


def exchange(monkeypatch: pytest.MonkeyPatch, state: dict[str, Any] | None) -> tuple[Any, list[int]]:
    """What another rank gets of the main process's `state`, and the bytes of each tensor that was sent."""
    said: list[Any] = []
    sent: list[Tensor] = []
    monkeypatch.setattr(World, "share", lambda self, value: said.append(value) or value)
    monkeypatch.setattr(torch.distributed, "broadcast", lambda tensor, src: sent.append(tensor.clone()))
    assert share_state(World(0, 2, CPU), state) is state
    assert not any(isinstance(value, Tensor) for value in said[0][0].values()) if state else True
    coming = iter(sent)
    monkeypatch.setattr(World, "share", lambda self, value: said[0])
    monkeypatch.setattr(torch.distributed, "broadcast", lambda tensor, src: tensor.copy_(next(coming)))
    found = share_state(World(1, 2, CPU), None)
    assert next(coming, None) is None
    return found, [tensor.nbytes for tensor in sent]


def test_tensors_arrive_one_by_one_in_their_places(monkeypatch: pytest.MonkeyPatch) -> None:
    found, sizes = exchange(monkeypatch, STATE)
    torch.testing.assert_close(found["model"], STATE["model"])
    torch.testing.assert_close(found["optimizer"], STATE["optimizer"])
    assert torch.equal(found["lanes"][1][0], STATE["lanes"][1][0])  # type: ignore[index]
    assert found["lanes"][0] == 1 and found["classes"] == ["a", "b"] and found["missing"] is None
    assert sizes == [24, 8, 4, 2]


def test_nothing_is_shared_as_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert exchange(monkeypatch, None) == (None, [])


def test_one_process_keeps_what_it_has() -> None:
    assert share_state(World(0, 1, CPU), STATE) is STATE
