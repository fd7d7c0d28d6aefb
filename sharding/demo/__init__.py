"""A small labelled video set, drawn by a program. May import `storage` and `workers`."""
