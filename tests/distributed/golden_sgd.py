"""The golden SGD run on every process of a torchrun job, each with the same whole batch; losses to `FOLDER/RANK.json`.

python -m torch.distributed.run ... -m tests.distributed.golden_sgd FOLDER
"""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from pipeline.config import Optim
from pipeline.training.optim import sgd
from tests.unit.blvnet.golden import CASES, SGD, golden_model, sgd_losses


def main() -> None:
    """Run with the training program's own optimiser."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    model = golden_model(SGD)
    settings = {key: value for key, value in CASES[SGD]["optimizer"].items() if key != "name"}
    cpu = torch.device("cpu")
    optimizer = sgd(model, Optim(decay_norms=True, **settings), cpu)
    losses = sgd_losses(DistributedDataParallel(model, gradient_as_bucket_view=True), optimizer)
    Path(sys.argv[1], f"{dist.get_rank()}.json").write_text(json.dumps(losses))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
