"""What the folders of runs say, as a page. May import `evaluation`, `run`, `pace` and `order`."""
