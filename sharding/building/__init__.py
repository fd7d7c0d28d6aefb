"""From videos to sound shards, in many processes and on many machines.

May import `sources`, `archives`, `workers`, `format`, `storage` and `pages`.
"""
