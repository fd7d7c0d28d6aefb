"""FLOPs of training, and the peaks that they are compared with."""

import pytest

from blvnet.zoo import ZOO
from pipeline import config
from pipeline.training.utilisation import peak_flops, training_flops


@pytest.mark.parametrize("name", ["blvnet-tam-50-f8x2-v2", "blvnet-tam-101-f16x2-v2"])
def test_flops_are_six_times_the_published_multiply_adds(name: str) -> None:
    settings = config.load(f"configs/{name}.yaml", [])
    # those of pooling, normalisation and blending are counted by neither
    assert training_flops(settings) == pytest.approx(6e9 * ZOO[name].gmacs, rel=0.01)


def test_the_peak_is_that_of_the_closest_name() -> None:
    assert peak_flops("NVIDIA H100 80GB HBM3", "bf16") == 989e12
    assert peak_flops("NVIDIA H100 PCIe", "bf16") == 756e12
    assert peak_flops("NVIDIA L40S", "fp16") == 362e12
    assert peak_flops("NVIDIA L40", "bf16") == 181e12
    assert peak_flops("NVIDIA A100-SXM4-80GB", "tf32") == 156e12
    assert peak_flops("NVIDIA RTX A1000 Laptop GPU", "bf16") is None
    assert peak_flops("NVIDIA H200 NVL", "bf16") == 835e12
    assert peak_flops("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bf16") is None
    assert peak_flops("GRID A100-10C", "bf16") is None
    assert peak_flops("NVIDIA H100 80GB HBM3", "fp32") is None
    assert peak_flops("Some GPU", "bf16") is None
