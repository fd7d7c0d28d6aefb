"""The few exchanges of the ranks."""

import pytest
import torch

from pipeline.ranks.distributed import World


@pytest.mark.parametrize("dtypes", [(torch.float32, torch.int64), (torch.int64, torch.float32)])
def test_buffers_are_shared_in_one_exchange_a_dtype_in_their_own_order(
    monkeypatch: pytest.MonkeyPatch, dtypes: tuple[torch.dtype, ...]
) -> None:
    sent: list[torch.dtype] = []

    def broadcast(values: torch.Tensor, src: int) -> None:
        """As the main process's, in which all buffers are 7."""
        sent.append(values.dtype)
        values.fill_(7)

    monkeypatch.setattr(torch.distributed, "broadcast", broadcast)
    model = torch.nn.Module()
    for i in range(6):
        model.register_buffer(f"buffer{i}", torch.zeros([2, 3][: i % 3], dtype=dtypes[i % 2]))
    World(1, 2, torch.device("cpu")).share_buffers(model)
    assert sent == list(dtypes)
    assert all((buffer == 7).all() for buffer in model.buffers())
