"""From shards to batches of clips. May import `handover`, `order` and `ranks`."""
