"""Tars that others made, in WebDataset's way: indexed where they lie, and read like our own shards.

May import `sources`, `workers`, `format` and `storage`. webdataset's own functions say what a sample is.
"""
