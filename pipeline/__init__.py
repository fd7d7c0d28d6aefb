"""From shards to a trained and scored network. The modules here are the programs; the rooms below are what they use."""
