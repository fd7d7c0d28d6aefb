"""A training whose rank 1 is slow: `torchrun -m tests.slow_rank HOW`, and the arguments of `pipeline.train`.

HOW is "decoding", or the endpoint of a slow store.
"""

import os
import sys

if __name__ == "__main__":
    how, *arguments = sys.argv[1:]
    slow = os.environ["RANK"] == "1"
    if slow and how != "decoding":
        os.environ["AWS_ENDPOINT_URL_S3"] = how
    from pipeline.train import main
    from pipeline.training import feed
    from tests.slow_cutter import SlowCutter

    if slow and how == "decoding":
        cutter = feed.train_cutter
        feed.train_cutter = lambda config, classes: SlowCutter(**vars(cutter(config, classes)))
    raise SystemExit(main(arguments))
