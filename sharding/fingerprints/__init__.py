"""What is in a shard set, in one small file, and how two sets differ. May import `format` and `storage`."""
