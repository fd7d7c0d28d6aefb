"""A data set as it is downloaded: zips, tars and split tars of films, read without unpacking.

May import `storage`, and nothing of shards.
"""
