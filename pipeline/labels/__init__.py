"""The labels of videos as numbers, and what an answer costs and is worth: one label a video, or several.

May import nothing.
"""
