"""Shards to batches, batches to a trained checkpoint, a checkpoint to scores."""
