"""What a run leaves in its folder: checkpoints, metrics, the audit. May import `data` and what that may import."""
