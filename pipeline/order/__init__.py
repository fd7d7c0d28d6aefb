"""Which sample is when, and who reads it: integers, no I/O. May import no other room."""
