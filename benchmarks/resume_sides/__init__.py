"""One loader each, for `benchmarks.resume_conformance`: how its documentation says that a run is saved and goes on.

Each runs with the Python of an environment of its own, so that none imports this project but the one that measures it.
"""
