"""Buffers that are put back."""

import math

import pytest
import torch
from torch import nn

from pipeline.training.buffers import Buffers
from tests.kernels import Calls


def norms(count: int) -> nn.Module:
    """Batch norms that have seen a batch, so that no statistic is what it began as."""
    model = nn.Sequential(*(nn.BatchNorm2d(2 + i % 3) for i in range(count)))
    for norm in model:
        norm(torch.randn(3, norm.num_features, 4, 4))
    return model


@pytest.mark.parametrize("unfit", [True, False])
@pytest.mark.parametrize("value", [7.0, math.nan])
def test_what_an_unfit_step_left_is_put_back_whatever_it_is(unfit: bool, value: float) -> None:
    model = norms(4)
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    buffers = Buffers(model)
    kept = buffers.copied()
    for norm in model:
        norm.running_mean.fill_(value)
        norm.num_batches_tracked += 1
    after = before if unfit else {name: buffer.clone() for name, buffer in model.named_buffers()}
    buffers.put_back(kept, torch.tensor(unfit))
    torch.testing.assert_close(dict(model.named_buffers()), after, rtol=0, atol=0, equal_nan=True)


def test_the_number_of_kernels_does_not_grow_with_the_number_of_norms() -> None:
    found = []
    for count in (2, 20):
        buffers = Buffers(norms(count))
        with Calls() as calls:
            buffers.put_back(buffers.copied(), torch.tensor(False))
        found.append(+calls.names)
    assert found[0] == found[1]
