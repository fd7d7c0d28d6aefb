"""Processes that share out work, their progress bars, and how they keep memory. May import no other room."""
