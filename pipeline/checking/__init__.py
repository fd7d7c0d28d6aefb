"""Whether a training would begin: asked before it is queued. No torch. May import `run` and what that may import."""
