"""Videos to WebDataset shards, and what a shard is (format, manifest, storage). Imports no torch."""
