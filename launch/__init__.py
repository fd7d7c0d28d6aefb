"""Starts the pipeline on many machines: torchrun and SLURM. Imports no torch."""
