"""Tests that need a GPU; `python -m benchmarks.gpu` runs them too, on machines whose torch nobody knows beforehand."""

import pytest
import torch

ON_GPU = [
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
    # What torch warns of goes by its version and the GPU, its compiler's and its debugging's notices among them.
    pytest.mark.filterwarnings("default"),
]
