"""Loader processes, and the shared memory that they fill; what with, they are told. May import `ranks`."""
