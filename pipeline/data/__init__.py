"""From shards to batches of clips. May import `handover`, `labels`, `order` and `ranks`."""
