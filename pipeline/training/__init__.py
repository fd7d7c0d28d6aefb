"""From batches to weights: one step, and what a run is made of between two.

May import `run`, `pace`, `augmentation` and what these may import.
"""
