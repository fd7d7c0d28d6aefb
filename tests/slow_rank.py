"""A training whose rank 1 reads through a slow store: `torchrun -m tests.slow_rank ENDPOINT` and its arguments."""

import os
import sys

if __name__ == "__main__":
    endpoint, *arguments = sys.argv[1:]
    if os.environ["RANK"] == "1":
        os.environ["AWS_ENDPOINT_URL_S3"] = endpoint
    from pipeline.train import main

    raise SystemExit(main(arguments))
