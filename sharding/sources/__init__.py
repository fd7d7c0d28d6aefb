"""Annotations and videos as people have them: which there are, decoded and resized. May import `format`."""
