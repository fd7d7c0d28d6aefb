"""Where the time between two lines of metrics goes, rank by rank, and who holds up the others.

May import `data` and `ranks`.
"""
