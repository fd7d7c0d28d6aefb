"""Videos as people have them, decoded and resized. May import `format`."""
