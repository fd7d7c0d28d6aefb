"""From shards to batches of clips. May import `order` and `ranks`."""
