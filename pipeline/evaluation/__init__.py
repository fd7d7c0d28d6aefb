"""What a network says of every video of a split, and how good that is.

May import `training` and what that may import.
"""
