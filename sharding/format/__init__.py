"""What a shard, its sidecar, its manifest and its pictures are. May import `storage`."""
