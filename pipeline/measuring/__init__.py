"""What a machine, a store or a plan can do, in figures. May import `training`, `data` and what these may import."""
