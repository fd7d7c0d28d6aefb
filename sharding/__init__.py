"""From labelled videos to shards, and what a shard is; no torch.

`cli` is the program; the rooms below are what it uses.
"""

__version__ = "0.2.0"
