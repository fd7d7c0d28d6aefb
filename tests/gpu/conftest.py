"""How the GPU computes in these tests, and which come last."""

from pathlib import Path

import pytest
import torch


@pytest.fixture(autouse=True)
def float32_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """TF32, which torch's convolutions take by default, is a thousandth away from what is expected of them."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that torch's compiler takes a minute for come last: whoever has little time has seen all else."""
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.parent == here and ("compile" in item.name or "trial" in item.name))
