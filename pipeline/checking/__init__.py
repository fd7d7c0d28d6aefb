"""Whether a training would begin: asked before it is queued, and of each node. May import `run` and what that may."""
