"""From videos to sound shards, in many processes and on many machines.

May import `lists`, `sources`, `archives`, `workers`, `format`, `storage` and `pages`.
"""
