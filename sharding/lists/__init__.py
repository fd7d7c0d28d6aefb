"""Which videos there are, as annotations say: a list a split, with keys and labels. May import `format`."""
