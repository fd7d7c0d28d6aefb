"""The processes of a run: their group, the signals that stop them, what becomes of hangs. May import no other room."""
