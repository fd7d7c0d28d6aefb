"""From batches to weights: one step, and what a run is made of between two.

May import `run` and what that may import.
"""
