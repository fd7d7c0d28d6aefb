"""Shards and figures for people: HTML pages that need nothing else. May import `format` and `storage`."""
