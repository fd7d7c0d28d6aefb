"""What is done to training clips behind crop and flip: pixels changed, clips mixed.

May import `data`, `order` and `ranks`.
"""
