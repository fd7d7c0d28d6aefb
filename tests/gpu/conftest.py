"""How the GPU computes in these tests."""

import pytest
import torch


@pytest.fixture(autouse=True)
def float32_is_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """TF32, which torch's convolutions take by default, is a thousandth away from what is expected of them."""
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
